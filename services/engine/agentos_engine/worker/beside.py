"""Runs the embedded worker as a child of the engine service: started again when it ends, ended with its parent."""

import asyncio
import sys
from contextlib import suppress
from typing import Final

import structlog

from agentos_engine.worker.settings import without_passwords
from agentos_shared.host.lifecycle import Backoff, Clock, Rng

log = structlog.get_logger("agentos.engine")

COMMAND: Final = (sys.executable, "-P", "-m", "agentos_engine.worker")
#: A worker that ran for so long has not failed at its start.
LONG_S: Final = 30.0
#: From SIGTERM to SIGKILL; below the budget of the service's tasks.
STOP_S: Final = 4.0


async def run(clock: Clock, rng: Rng) -> None:
    """Until cancelled: then the worker gives back what it holds, and ends."""
    backoff = Backoff(1.0, 30.0, rng=rng)
    while True:
        began = clock.monotonic()
        # It ends when its input does, so that it never outlives this process, however that ends.
        worker = await asyncio.create_subprocess_exec(*COMMAND, stdin=asyncio.subprocess.PIPE, env=without_passwords())
        log.info("worker_started", pid=worker.pid)
        try:
            code = await worker.wait()
        finally:
            if worker.returncode is None:
                await _end(worker)
        log.warning("worker_ended", code=code)
        if clock.monotonic() - began > LONG_S:
            backoff.reset()
        await clock.sleep(backoff.next_s())


async def _end(worker: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        worker.terminate()
    try:
        await asyncio.wait_for(worker.wait(), STOP_S)
    except TimeoutError:
        log.warning("worker_killed", after_s=STOP_S)
        worker.kill()
        await worker.wait()
