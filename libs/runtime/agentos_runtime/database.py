"""The owner's connection for commands that work on the database itself, whether the stack runs or not."""

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from agentos_runtime import postgres, probe
from agentos_runtime.datadir import DataDir, Lock
from agentos_runtime.errors import RuntimeFailure, Unreachable
from agentos_runtime.settings import Settings
from agentos_runtime.supervisor import read_status

START_TIMEOUT_S = 60.0


@asynccontextmanager
async def owner_url(settings: Settings) -> AsyncIterator[str]:
    """``AGENTOS_POSTGRES_URL``, else that of the running stack, else of the embedded server, started for this command.

    Raises:
        RuntimeFailure: the data directory holds no database.
        Unreachable: its server does not start.
    """
    data = DataDir(settings.data_dir)
    running = read_status(data)
    if settings.postgres_url is not None:
        yield settings.postgres_url
    elif running is not None:
        yield str(running["postgres_url"])
    elif not (data.postgres / "PG_VERSION").is_file():
        raise RuntimeFailure(f"{data.root} holds no database. Name another with --data-dir or AGENTOS_POSTGRES_URL.")
    else:
        with Lock(data):
            async with _started(data) as url:
                yield url


@asynccontextmanager
async def _started(data: DataDir) -> AsyncIterator[str]:
    port = data.ports(["postgres"])["postgres"]
    password = data.passwords([postgres.OWNER])[postgres.OWNER]
    await postgres.clear_leftovers(data.postgres)
    postgres.configure(data.postgres, port)
    log = data.logs / "postgres.log"
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        process = subprocess.Popen(  # noqa: ASYNC220 - one fork; the command does nothing else meanwhile
            postgres.server_command(data.postgres),
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            env=dict(postgres.ENVIRONMENT),
            start_new_session=True,
        )
    finally:
        os.close(descriptor)
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            while (await probe.postgres(postgres.HOST, port)).answer is not probe.Answer.READY:
                if process.poll() is not None:
                    raise Unreachable(f"Postgres did not start: see the end of {log}")
                await asyncio.sleep(0.05)
        yield postgres.url(password, port)
    except TimeoutError as error:
        raise Unreachable(f"Postgres was not ready after {START_TIMEOUT_S:.0f} s: see the end of {log}") from error
    finally:
        process.send_signal(signal.SIGINT)
        try:
            await asyncio.to_thread(process.wait, 30)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGQUIT)
            await asyncio.to_thread(process.wait, 10)
