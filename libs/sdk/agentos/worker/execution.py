"""One claimed run, from its claim until it is out of our hands. Heartbeats go on beside the handler.

the handler returned                             -> run.completed with its result
it raised                                        -> run.failed with {type, message, traceback}
it raised TryAgain, or the API was away          -> given back while attempts are left, else run.failed
the lease was lost, the run was cancelled        -> handler cancelled, nothing written: the run is not ours any more
a kill switch asks the run to stop               -> handler cancelled, given back: it waits until it may go on
the worker stops                                 -> handler cancelled, given back
"""

import asyncio
import inspect
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from agentos.aio.client import AsyncClient
from agentos.aio.context import AsyncRunContext
from agentos.errors import AgentOSError, APIError, LeaseLost, TryAgain, Unavailable, Unreachable
from agentos.holding import LOST, Holding
from agentos.models import ClaimedRun
from agentos.sync.client import Client
from agentos.sync.context import RunContext
from agentos.tools import Tools, error_of, in_thread, message_of, object_of

log: Final = logging.getLogger("agentos.worker")

#: Heartbeats come at this part of the TTL, so that two in a row may be lost.
HEARTBEAT_PART: Final = 3
#: Seconds between heartbeats at most, however long the lease: they are how a handler learns that its run was cancelled.
HEARTBEAT_S: Final = 2.0
#: How long giving a run back is tried; after that its lease runs out by itself.
RELEASE_PATIENCE_S: Final = 2.0
#: How long a cancelled handler may clean up.
CLEANUP_S: Final = 3.0
STOPPING: Final = "stopping"
STOPPED: Final = "stop_requested"


class Execution:
    """One run in this worker.

    Args:
        blocking: the client of handlers that block.
        claimed: where it was answered late or twice, we ask whether it still holds before anything is done.
    """

    def __init__(
        self,
        client: AsyncClient,
        blocking: Client,
        handler: Callable[..., Any],
        claimed: ClaimedRun,
        tools: Tools,
    ) -> None:
        self._client = client
        self._blocking = blocking
        self._handler = handler
        self._claimed = claimed
        self._tools = tools
        self._lost = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._holding = Holding(claimed, self._tell_lost)
        self._summary: Callable[[], str | None] = lambda: None
        self._why: str | None = None

    async def run(self) -> None:
        """Until the run is out of our hands. What goes wrong is logged."""
        if self._claimed.replayed and not await self._beat():
            log.warning("run %s: this claim holds no longer", self._claimed.run_id)
            return
        beating = asyncio.create_task(self._keep(), name=f"heartbeats of {self._claimed.run_id}")
        working = asyncio.create_task(self._handle(), name=f"run {self._claimed.run_id}")
        try:
            await self._until_done_or_lost(working)
            await self._settle(working)
        except AgentOSError as error:
            log.error("run %s: %s; its lease runs out by itself", self._claimed.run_id, error)
        finally:
            beating.cancel()
            working.cancel()

    def stop(self) -> None:
        """The worker stops: cancel the handler, and give the run back."""
        self._holding.lose(STOPPING)

    def _tell_lost(self) -> None:
        self._loop.call_soon_threadsafe(self._lost.set)

    async def _handle(self) -> Any:
        context: AsyncRunContext | RunContext
        try:
            if inspect.iscoroutinefunction(self._handler):
                context = AsyncRunContext(self._client, self._holding, self._tools)
                self._summary = lambda: context.summary
                return await self._handler(context)
            context = RunContext(self._blocking, self._holding, self._tools)
            self._summary = lambda: context.summary
            return await in_thread(lambda: self._handler(context))
        except SystemExit as error:  # a handler may end its run, not the worker
            raise RuntimeError(f"The handler called sys.exit({error.code!r}).") from error

    async def _until_done_or_lost(self, working: "asyncio.Task[Any]") -> None:
        lost = asyncio.create_task(self._lost.wait())
        try:
            await asyncio.wait({working, lost}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            lost.cancel()
        if self._holding.lost is None:
            return
        working.cancel()
        done, _ = await asyncio.wait({working}, timeout=CLEANUP_S)
        if not done:
            log.error("run %s: the handler does not end; it is left behind", self._claimed.run_id)

    async def _settle(self, working: "asyncio.Task[Any]") -> None:
        lost = self._holding.lost
        if lost == STOPPED and not working.done():
            return  # it goes on, and nobody is told otherwise: its lease runs out
        if lost in (STOPPING, STOPPED):
            await self._give_back("the worker stops" if lost == STOPPING else f"kill switch, {self._why}")
        elif lost is not None:
            log.warning("run %s: lease lost (%s) in attempt %d", self._claimed.run_id, lost, self._claimed.attempt_no)
        else:
            with suppress(LeaseLost):
                await self._report(working)

    async def _report(self, working: "asyncio.Task[Any]") -> None:
        try:
            output = object_of(working.result())
        except (TryAgain, Unreachable, Unavailable) as error:
            if self._claimed.attempt_no < self._claimed.max_attempts:
                await self._give_back(str(error))
            else:
                await self._fail(error)
        except (Exception, asyncio.CancelledError) as error:
            await self._fail(error)
        else:
            try:
                await self._complete(output)
            except APIError as refusal:  # such as an output that is too large
                await self._fail(refusal)

    async def _complete(self, output: dict[str, Any]) -> None:
        run, token = self._claimed.run_id, self._claimed.claim_token
        with self._holding.writing():
            await self._client.runs.complete(run, summary=self._summary(), output=output, claim_token=token)

    async def _fail(self, error: BaseException) -> None:
        run, token = self._claimed.run_id, self._claimed.claim_token
        log.error("run %s failed in attempt %d", run, self._claimed.attempt_no, exc_info=error)
        with self._holding.writing():
            await self._client.runs.fail(run, message=message_of(error), error=error_of(error), claim_token=token)

    async def _give_back(self, why: str) -> None:
        run, token = self._claimed.run_id, self._claimed.claim_token
        log.warning("run %s is given back in attempt %d: %s", run, self._claimed.attempt_no, why)
        await self._client.runs.release(run, token, patience_s=RELEASE_PATIENCE_S)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(min(self._claimed.lease_ttl_s / HEARTBEAT_PART, HEARTBEAT_S))
            if not await self._beat():
                return

    async def _beat(self) -> bool:
        """One heartbeat, tried until it is heard or the lease has ended. False: it is lost."""
        run, token = self._claimed.run_id, self._claimed.claim_token
        while (remaining_s := self._holding.remaining_s) > 0:
            asked_at = time.monotonic()
            try:
                lease = await self._client.runs.heartbeat(
                    run, token, patience_s=remaining_s / 2, timeout_s=remaining_s / 2
                )
            except Unreachable:
                continue
            except APIError as refusal:
                if refusal.code in LOST or not refusal.transient:
                    self._holding.lose(refusal.code)
                    return False
                continue
            self._holding.extended(asked_at)
            if lease.stop:
                self._why = lease.stop_reason
                self._holding.lose(STOPPED)
                return False
            return True
        self._holding.lose("unreachable")
        return False
