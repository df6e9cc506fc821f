"""The embedded worker's program: one worker per workspace, with the handlers that the settings allow."""

import asyncio
import os
import sys
from contextlib import suppress
from typing import Final

import structlog

import agentos
from agentos_engine.worker import echo, http, shell
from agentos_engine.worker.settings import WorkerSettings
from agentos_shared.host.lifecycle import Shutdown

log = structlog.get_logger("agentos.worker")

NAME: Final = "embedded-worker"
#: Of one claim. A run may be granted to a worker that was killed meanwhile, and waits for a TTL then.
WAIT_S: Final = 5


async def serve(settings: WorkerSettings, shutdown: Shutdown) -> None:
    """Work until asked to stop, or until the parent is gone."""
    workspaces = [name.strip() for name in settings.worker_workspaces.split(",") if name.strip()]
    workers = [await _worker(settings, workspace_id) for workspace_id in workspaces]
    watching = asyncio.create_task(_watch_parent(shutdown))
    try:
        async with asyncio.TaskGroup() as group:
            for worker in workers:
                group.create_task(worker.serve_async())
            await shutdown.wait()
            for worker in workers:
                worker.stop(hurry=True)  # who would grant a claim is stopping as well
    finally:
        watching.cancel()


async def _worker(settings: WorkerSettings, workspace_id: str) -> agentos.Worker:
    engine_id, engine_token = None, None
    if settings.auth == "enforced" and settings.local_token_file is not None:
        local_token = settings.local_token_file.read_text(encoding="ascii").strip()
        engine_id, engine_token = await _register(settings.url, workspace_id, local_token)
    worker = agentos.Worker(
        NAME,
        url=settings.url,
        workspace_id=workspace_id,
        engine_id=engine_id,
        engine_token=engine_token,
        concurrency=settings.worker_concurrency,
        wait_s=WAIT_S,
    )
    echo.add(worker)
    if settings.worker_shell_commands:
        await shell.add(worker, settings)
    http.add(worker)
    return worker


async def _register(url: str, workspace_id: str, token: str) -> tuple[str, str | None]:
    """Register this process's engine, as the local user; from then on it is that engine and nothing more.

    Each start has a token of its own; those before it are revoked.
    """
    forever = agentos.Retry(patience_s=float("inf"))
    async with agentos.AsyncClient(url, workspace_id=workspace_id, token=token, retry=forever) as client:
        registered = await client.engines.register(NAME, token_label=f"pid {os.getpid()}")
        engine_id = registered.engine.engine_id
        async for old in client.engines.tokens(engine_id, min_position=registered):
            if old.revoked_at is None and old.token_id != registered.token.token_id:
                await client.engines.revoke_token(engine_id, old.token_id, reason="replaced")
        return engine_id, registered.token.engine_token


async def _watch_parent(shutdown: Shutdown) -> None:
    """Our input is a pipe that the engine service holds open for as long as it lives."""
    if sys.stdin is None or sys.stdin.isatty():
        return
    reader = asyncio.StreamReader()
    with suppress(ValueError, OSError):  # neither a pipe nor a socket: nobody holds it for us
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        await reader.read()
        shutdown.request("the engine service is gone")
