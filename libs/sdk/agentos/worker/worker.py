"""The worker: claims runs whose ``input["handler"]`` names one of its handlers, and works on several at once.

    worker = agentos.Worker("summariser")

    @worker.run("summarise")
    async def summarise(run):
        async with run.step("fetch") as step:
            page = await step.tool("http.get", url=run.input["url"])
        return {"words": len(page.split())}

    worker.serve()

A handler that is a plain function runs in a thread of its own, with the blocking form of the same run. An asynchronous
one must not block: heartbeats are sent from the same loop, and a lease whose heartbeats are late is lost.
"""

import asyncio
import logging
import signal
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, TypeVar

from agentos import settings
from agentos.aio.client import AsyncClient
from agentos.errors import APIError, Unreachable
from agentos.models import ClaimedRun
from agentos.retry import Retry
from agentos.sync.client import Client
from agentos.tools import Tools
from agentos.worker.execution import CLEANUP_S, RELEASE_PATIENCE_S, Execution

log: Final = logging.getLogger("agentos.worker")

F = TypeVar("F", bound=Callable[..., Any])

#: Between claims while the API is away: no patience is ever used up.
CLAIM_RETRY: Final = Retry(patience_s=float("inf"), first_s=0.2, longest_s=10.0)
#: On top of the bounds of its parts.
STOP_MARGIN_S: Final = 1.0


class Worker:
    """An engine.

    Args:
        name: the actor of its claims and writes in open mode (a service).
        url, workspace_id, token, engine_id, engine_token: as for a client.
        room_id, tags: only runs of this room, with all of these tags.
        concurrency: how many runs at once.
        lease_ttl_s: 5 to 600. Longer ones cost time after a crash, shorter ones bear less absence of the API.
        wait_s: how long one claim waits for a run, at most 30. Also how long stopping an idle worker may take, since a
            claim that is given up half-way may have been granted.
        grace_s: how long runs may go on once the worker stops; then they are given back.
    """

    def __init__(
        self,
        name: str,
        *,
        url: str | None = None,
        workspace_id: str | None = None,
        token: str | None = None,
        engine_id: str | None = None,
        engine_token: str | None = None,
        room_id: str | None = None,
        tags: Sequence[str] = (),
        concurrency: int = 4,
        lease_ttl_s: int = 30,
        wait_s: int = 5,
        grace_s: float = 5.0,
    ) -> None:
        if concurrency < 1:
            raise ValueError("concurrency must be at least 1.")
        self.name = name
        self.grace_s = grace_s
        self._target = settings.load(url, workspace_id, token, engine_id, engine_token)
        self._room_id = room_id
        self._tags = tags
        self._concurrency = concurrency
        self._lease_ttl_s = lease_ttl_s
        self._wait_s = wait_s
        self._handlers: dict[str, Callable[..., Any]] = {}
        self._tools = Tools()
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running: dict[asyncio.Task[None], Execution] = {}

    def run(self, name: str) -> Callable[[F], F]:
        """Decorator: the handler of runs whose ``input["handler"]`` is ``name``. It takes the run; what it returns is
        the run's output: an object as it is, anything else as ``{"result": ...}``."""
        return lambda function: _register(self._handlers, "handler", name, function)

    def tool(self, name: str) -> Callable[[F], F]:
        """Decorator: a function that ``step.tool(name, ...)`` calls by keyword arguments."""
        return lambda function: _register(self._tools.by_name, "tool", name, function)

    def serve(self) -> None:
        """Work until SIGTERM or SIGINT; a second one spares the grace. Must be called in the main thread."""

        async def main() -> None:
            loop = asyncio.get_running_loop()

            def told(*_: object) -> None:
                loop.call_soon_threadsafe(self._on_signal)

            # Not the loop's own handlers, which not every platform has.
            before = {number: signal.signal(number, told) for number in (signal.SIGTERM, signal.SIGINT)}
            try:
                await self.serve_async()
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)

        asyncio.run(main())

    async def serve_async(self) -> None:
        """Work until :meth:`stop`.

        Raises:
            APIError: the API refuses this worker's claims.
        """
        if not self._handlers:
            raise ValueError(f"Worker {self.name!r} has no handlers: register one with @worker.run(name).")
        self._loop = self._tools.loop = asyncio.get_running_loop()
        with Client.of(self._target, actor=("service", self.name)) as blocking:
            async with AsyncClient.of(self._target, actor=("service", self.name)) as client:
                log.info("worker %s: %s at %s", self.name, ", ".join(sorted(self._handlers)), client.url)
                try:
                    await self._claim_and_run(client, blocking)
                finally:
                    await self._give_back_all()

    def stop(self, *, hurry: bool = False) -> None:
        """Ask it to stop, from any thread: no more claims; what runs may end within the grace, or is given back.

        Args:
            hurry: no grace, and a claim under way is given up: if it is granted after all, its run waits for a TTL.
        """
        if self._loop is None:
            self._begin_stop(hurry)
        else:
            with suppress(RuntimeError):  # its loop is closed: it has stopped
                self._loop.call_soon_threadsafe(self._begin_stop, hurry)

    def _begin_stop(self, hurry: bool) -> None:
        log.info("worker %s: stopping", self.name)
        self._stopping.set()
        if hurry:
            self._hurry.set()

    def _on_signal(self) -> None:
        self._begin_stop(hurry=self._stopping.is_set())

    async def _claim_and_run(self, client: AsyncClient, blocking: Client) -> None:
        slots = asyncio.Semaphore(self._concurrency)

        def ended(task: "asyncio.Task[None]") -> None:
            del self._running[task]
            slots.release()
            if not task.cancelled() and (error := task.exception()):
                log.error("a run could not be worked on", exc_info=error)

        while await self._before_stopping(slots.acquire()):
            claimed = await self._claim(client)
            if claimed is None:
                slots.release()
                continue
            handler = self._handlers[str(claimed.input.get("handler"))]
            execution = Execution(client, blocking, handler, claimed, self._tools)
            task = asyncio.create_task(execution.run(), name=f"execution of {claimed.run_id}")
            self._running[task] = execution
            task.add_done_callback(ended)

    async def _claim(self, client: AsyncClient) -> ClaimedRun | None:
        """The next run. None: there is none, or the worker stops."""
        key = str(uuid.uuid4())
        pauses = CLAIM_RETRY.pauses()
        tried = False
        while True:
            asked_s: float | None = None
            try:
                claimed = await self._asked_unless_hurried(client, key)
                return claimed.model_copy(update={"replayed": True}) if claimed is not None and tried else claimed
            except Unreachable as error:
                reason = str(error)
            except APIError as refusal:
                if not refusal.transient:
                    raise
                reason, asked_s = str(refusal), refusal.retry_after_s
            if not tried:
                log.warning("worker %s: no claim (%s); still trying", self.name, reason)
            tried = True
            pause_s = pauses.next_s(asked_s)
            if not await self._before_stopping(asyncio.sleep(pause_s or 0)):
                return None

    async def _asked_unless_hurried(self, client: AsyncClient, key: str) -> ClaimedRun | None:
        asking = asyncio.create_task(
            client.runs.claim(
                actor_id=self.name,
                room_id=self._room_id,
                tags=self._tags,
                handlers=sorted(self._handlers),
                lease_ttl_s=self._lease_ttl_s,
                wait_s=self._wait_s,
                idempotency_key=key,
                patience_s=0,
            )
        )
        return asking.result() if await _first(asking, self._hurry) else None

    async def _before_stopping(self, waiting: Any) -> bool:
        """Await something; False when the worker is to stop instead."""
        return await _first(asyncio.ensure_future(waiting), self._stopping) and not self._stopping.is_set()

    async def _give_back_all(self) -> None:
        if self._running:
            await _first(asyncio.ensure_future(asyncio.wait(set(self._running), timeout=self.grace_s)), self._hurry)
        for execution in self._running.values():
            execution.stop()
        if self._running:
            _, late = await asyncio.wait(set(self._running), timeout=CLEANUP_S + RELEASE_PATIENCE_S + STOP_MARGIN_S)
            for task in late:
                task.cancel()


def _register(found: dict[str, Callable[..., Any]], what: str, name: str, function: F) -> F:
    if not name or name in found:
        raise ValueError(f"There is a {what} {name!r} already." if name else f"A {what} needs a name.")
    found[name] = function
    return function


async def _first(task: "asyncio.Future[Any]", event: asyncio.Event) -> bool:
    """Wait for the task or the event. True when the task is done; else it was cancelled."""
    waiting = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        return task.done()
    finally:
        waiting.cancel()
        task.cancel()
