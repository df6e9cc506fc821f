"""One connection to a judged address: one exchange at a time, watched by one timer."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final, cast

from agentos_gateway.address import Pinned
from agentos_gateway.send.exchange import Exchange, Head
from agentos_gateway.send.failures import Phase, SendFailed
from agentos_gateway.send.request import OutboundRequest

_AT_ONCE: Final = 64 * 1024


class Link(asyncio.Protocol):
    """A connection. It reads no faster than its exchange is emptied, and writes no faster than the other side reads.

    Args:
        released: called when an exchange is over and the connection can take another.
        lost: called when the connection is gone.

    Attributes:
        address: where it leads; judged anew before each request.
        uses: how many requests went through.
    """

    def __init__(
        self, pinned: Pinned, address: str, *, released: Callable[["Link"], None], lost: Callable[["Link"], None]
    ) -> None:
        self.origin = pinned.target.origin
        self.host = pinned.target.host
        self.address = address
        self.uses = 0
        self.idle_since = 0.0
        self._released = released
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        self._upload: asyncio.Task[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._write_full = False
        self._timer: asyncio.TimerHandle | None = None
        self._due: tuple[float, Phase, str] | None = None
        self._whole_due: float | None = None

    @property
    def alive(self) -> bool:
        """Whether a request can be written."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, head: bytes, request: OutboundRequest) -> Exchange:
        """Writes the request, or begins to; the answer comes through the exchange."""
        assert self._transport is not None
        assert self._exchange is None
        exchange = Exchange(
            request,
            pause=self._transport.pause_reading,
            resume=self._resume,
            ended=self._over,
        )
        self._exchange = exchange
        self.uses += 1
        times = request.timeouts
        self._whole_due = None if times.whole_s is None else self._loop.time() + times.whole_s
        exchange.sent = True
        body = request.body
        if isinstance(body, bytes) and len(body) <= _AT_ONCE:
            self._transport.write(head + body)
            self._watch(times.first_byte_s, "first_byte", "first_byte_timeout")
        else:
            self._transport.write(head)
            pieces = _sliced(body) if isinstance(body, bytes) else body
            self._upload = self._loop.create_task(self._write_body(exchange, pieces, request))
            self._set_timer()
        return exchange

    async def answered(self, exchange: Exchange) -> Head:
        """The head of the answer.

        Raises:
            SendFailed: none came.
        """
        try:
            return await exchange.head
        except asyncio.CancelledError:
            self.abort()
            raise

    def abort(self) -> None:
        """Ends the connection at once; an exchange in it fails."""
        if self._transport is not None:
            self._transport.abort()
        if self._exchange is not None:
            failed = SendFailed(self._exchange.phase, "cut", "the request was stopped", bytes_sent=self._exchange.sent)
            self._exchange.fail(failed)

    def leave(self, exchange: Exchange) -> None:
        """The caller takes no more of the answer: what is still to come is worth less than a new connection."""
        if self._exchange is exchange:
            self.abort()

    def detach(self, protocol: asyncio.Protocol) -> asyncio.Transport:
        """Gives the connection away after 101; what follows is another protocol's."""
        assert self._transport is not None
        transport, self._transport = self._transport, None
        self._exchange = None
        self._forget()
        transport.set_protocol(protocol)
        self._lost(self)
        return transport

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but its class

    def data_received(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None:
            # Nobody asked: an answer in store for a later request would be a poisoned one.
            self.abort()
            return
        if exchange.switched:
            exchange.leftover += data
            return
        exchange.feed(data)
        if self._exchange is exchange and exchange.head.done():
            self._watch_body()

    def eof_received(self) -> bool:
        if self._exchange is not None:
            self._exchange.eof()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._forget()
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        if self._exchange is not None:
            self._exchange.eof(reset=error is not None)
        self._lost(self)

    def pause_writing(self) -> None:
        self._write_full = True

    def resume_writing(self) -> None:
        self._write_full = False
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    # The exchange's life.

    def _over(self, exchange: Exchange) -> None:
        if self._exchange is not exchange:
            return
        uploaded = self._upload is None or self._upload.done()
        if not uploaded and self._upload is not None and self._upload is not asyncio.current_task():
            self._upload.cancel()
        self._upload = None
        if exchange.switched and exchange.complete:
            self._forget()
            if self._transport is not None:
                self._transport.pause_reading()
            return
        self._exchange = None
        self._due = self._whole_due = None
        if exchange.failure is None and exchange.reusable and uploaded and self.alive:
            self._transport_resume()
            self._released(self)
        elif self._transport is not None:
            self._transport.abort()

    def _resume(self) -> None:
        self._transport_resume()
        self._watch_body()

    def _transport_resume(self) -> None:
        if self._transport is not None and not self._transport.is_closing() and not self._transport.is_reading():
            self._transport.resume_reading()

    async def _write_body(self, exchange: Exchange, pieces: AsyncIterator[bytes], request: OutboundRequest) -> None:
        left = len(request.body) if isinstance(request.body, bytes) else request.content_length
        try:
            async for piece in pieces:
                if not piece:
                    continue
                if left is not None and (left := left - len(piece)) < 0:
                    break
                await self._write(b"%x\r\n%b\r\n" % (len(piece), piece) if left is None else piece, request)
                if not self.alive:
                    return  # connection_lost tells the exchange; a body that never waits must let it
        except Exception as error:
            self._fail_upload(exchange, "request_body_failed", "the body could not be read to its end", error)
            return
        if left:
            self._fail_upload(exchange, "length_mismatch", "the body is not as long as was said", None)
            return
        if left is None:
            await self._write(b"0\r\n\r\n", request)
        if self._exchange is exchange:
            self._upload = None
            if exchange.head.done():
                self._watch_body()
            else:
                self._watch(request.timeouts.first_byte_s, "first_byte", "first_byte_timeout")

    async def _write(self, data: bytes, request: OutboundRequest) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.write(data)
        if self._write_full:
            self._watch(request.timeouts.write_s, "request", "write_timeout")
            self._writable = self._loop.create_future()
            await self._writable
            self._due = None

    def _fail_upload(self, exchange: Exchange, code: str, detail: str, error: Exception | None) -> None:
        failed = SendFailed("request", code, detail, bytes_sent=True)
        failed.__cause__ = error
        exchange.fail(failed)

    # One timer for all phases: a deadline is a number, and the timer looks at it when it fires. So a request costs no
    # timer of its own.

    def _watch_body(self) -> None:
        exchange = self._exchange
        if exchange is None or self._upload is not None:
            return
        if exchange.paused:
            self._due = None  # the caller is slow, not the other side
        else:
            self._watch(exchange.between_bytes_s, "body", "between_bytes_timeout")

    def _watch(self, seconds: float, phase: Phase, code: str) -> None:
        self._due = (self._loop.time() + seconds, phase, code)
        self._set_timer()

    def _set_timer(self) -> None:
        moments = [moment for moment in (self._due and self._due[0], self._whole_due) if moment is not None]
        if not moments:
            return
        at = min(moments)
        if self._timer is not None:
            if self._timer.when() <= at:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self._tick)

    def _tick(self) -> None:
        self._timer = None
        exchange = self._exchange
        if exchange is None:
            return
        now = self._loop.time()
        if self._whole_due is not None and now >= self._whole_due:
            self._expire(exchange, exchange.phase, "whole_timeout")
        elif self._due is not None and now >= self._due[0]:
            self._expire(exchange, self._due[1], self._due[2])
        else:
            self._set_timer()

    def _expire(self, exchange: Exchange, phase: Phase, code: str) -> None:
        exchange.fail(SendFailed(phase, code, "the other side was too slow", bytes_sent=exchange.sent))

    def _forget(self) -> None:
        self._due = self._whole_due = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


async def _sliced(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), _AT_ONCE):
        yield body[start : start + _AT_ONCE]
