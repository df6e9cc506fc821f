"""One SSE client.

While it keeps up it is live: whoever has news drives its ``send`` to the end right there, without a task or a switch.
Only one that must wait (for history, or for a socket that is full) gets a task, which ends when it is live again. So an
idle client costs its connection and this object.
"""

import asyncio
from collections.abc import Callable, Coroutine, Generator, Mapping
from typing import TYPE_CHECKING, Any, Final

import structlog
from starlette.types import Send

from agentos_api.live import frames
from agentos_api.live.feed import Feed

if TYPE_CHECKING:
    from agentos_api.live.hub import Hub

log = structlog.get_logger()

WRITE_TIMEOUT_S: Final = 30.0
GOODBYE_TIMEOUT_S: Final = 2.0


class _Begun:
    """Awaits a coroutine that was already driven up to its first suspension."""

    __slots__ = ("_coroutine", "_suspended_on")

    def __init__(self, coroutine: Coroutine[Any, Any, None], suspended_on: Any) -> None:
        self._coroutine = coroutine
        self._suspended_on = suspended_on

    def __await__(self) -> Generator[Any, Any, None]:
        suspended_on = self._suspended_on
        while True:
            value: Any = None
            thrown: BaseException | None = None
            try:
                value = yield suspended_on
            except BaseException as error:  # a cancellation or a timeout: the coroutine's to handle
                thrown = error
            try:
                suspended_on = self._coroutine.send(value) if thrown is None else self._coroutine.throw(thrown)
            except StopIteration:
                return


class Client:
    """A cursor into a feed, and the way to its socket.

    Args:
        send: ASGI's.
        abort: closes the connection at once, dropping what is buffered.
        cursor: the client has everything up to here.
    """

    __slots__ = ("__weakref__", "_abort", "_closed", "_hub", "_send", "_task", "caught_up", "cursor", "feed")

    def __init__(self, hub: "Hub", feed: Feed, send: Send, abort: Callable[[], None], cursor: int) -> None:
        self._hub = hub
        self._send = send
        self._abort = abort
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self.feed = feed
        self.cursor = cursor
        self.caught_up = False

    def start(self, greeting: bytes) -> None:
        """Write the greeting, then history, then go live."""
        self._task = asyncio.get_running_loop().create_task(self._go_on(greeting, None))

    def push(self, message: Mapping[str, Any], last: int) -> bool:
        """Write to a live client. False when its socket is full: it is no longer live then, and ``last`` its cursor."""
        coroutine = self._send(message)  # type: ignore[arg-type]
        try:
            suspended_on = coroutine.send(None)  # type: ignore[attr-defined]
        except StopIteration:
            return True
        except Exception as error:
            log.debug("sse_write_failed", error=f"{type(error).__name__}: {error}")
            self.close()
            return False
        self.cursor = last
        begun = _Begun(coroutine, suspended_on)  # type: ignore[arg-type]
        self._task = asyncio.get_running_loop().create_task(self._go_on(b"", begun))
        return False

    def say_goodbye(self, reason: str) -> None:
        """Tell the client to come back, and end its response; drop the connection when that does not work soon."""
        if self._closed:
            return
        self._end_task()
        self._task = asyncio.get_running_loop().create_task(self._goodbye(reason))

    def close(self) -> None:
        """The client is gone, or is to be: free everything."""
        if self._closed:
            return
        self._closed = True
        self._end_task()
        self._hub.forget(self)

    def _end_task(self) -> None:
        task, self._task = self._task, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    async def _go_on(self, greeting: bytes, begun: _Begun | None) -> None:
        """Finish a write that was begun, then write what the client lacks, until it is live."""
        try:
            if begun is not None:
                async with asyncio.timeout(WRITE_TIMEOUT_S):
                    await begun
            if greeting:
                await self._write(greeting)
            while not await self._step():
                pass
        except TimeoutError:
            self._hub.count_gone("stalled")
            self._cut()
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("sse_client_failed")
            self._cut()
        else:
            self._task = None

    async def _step(self) -> bool:
        """Write the next piece. True when the client is live."""
        feed = self.feed
        chunk = feed.chunk(self.cursor)
        if chunk is None:
            if self.caught_up and feed.head is not None and self.cursor < feed.base:
                self._hub.count_gone("slow")
                await self._goodbye("slow")
                return True
            await self._read_store()
        elif chunk.last > self.cursor:
            await self._write(chunk.body)
            self._hub.count_deliveries(chunk.last - self.cursor)
            self.cursor = chunk.last
        elif not self.caught_up:
            self.caught_up = True
            await self._write(frames.caught_up(self.cursor))
        else:
            self._hub.go_live(self)
            return True
        return False

    async def _read_store(self) -> None:
        """Write a page of history; at its end, tell the feed where that is."""
        if self.feed.head is not None and self.cursor > self.feed.head:
            await self._hub.fill(self.feed, self.cursor)
            return
        page = await self._hub.page(self.feed, self.cursor)
        if not page.frames:
            self._hub.settle(self.feed, self.cursor)
        for chunk in page.chunks:
            await self._write(chunk.body)
            self._hub.count_deliveries(chunk.last - self.cursor)
            self.cursor = chunk.last

    async def _write(self, body: bytes) -> None:
        async with asyncio.timeout(WRITE_TIMEOUT_S):
            await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def _goodbye(self, reason: str) -> None:
        try:
            async with asyncio.timeout(GOODBYE_TIMEOUT_S):
                await self._send({"type": "http.response.body", "body": frames.gone(reason), "more_body": False})
        except Exception as error:
            log.debug("sse_goodbye_failed", error=f"{type(error).__name__}: {error}")
            self._cut()
        else:
            self.close()

    def _cut(self) -> None:
        """Drop the connection with whatever its buffers hold: a client that does not read would hold them for ever."""
        self._abort()
        self.close()
