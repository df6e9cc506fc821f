"""One answer, from its first byte to its last: read by llhttp, bounded by us.

llhttp is the parser of Node.js: it refuses repeated lengths, a length beside a transfer coding, bare LF, folded lines,
spaces before colons and broken chunk sizes. What it leaves open is closed here: transfer codings but ``chunked``,
versions, status codes, numbers and sizes of fields, 1xx without end, trailers and chunk extensions without end, and
bytes after the end of the answer, which make the connection unusable but not the answer.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import httptools

from agentos_gateway.send.failures import Phase, SendFailed
from agentos_gateway.send.headers import BadFraming, Header, body_framing, values
from agentos_gateway.send.request import OutboundRequest

HIGH_WATER: Final = 256 * 1024
LOW_WATER: Final = 64 * 1024
_MAX_TRAILERS: Final = 64
_FREE_FRAMING: Final = 64 * 1024
# Chunks of a few bytes are what streams of tokens look like: "1f\r\n…\r\n". Extensions without end are not.
_FRAMING_PER_BYTE: Final = 8


@dataclass(frozen=True, slots=True)
class Head:
    """Status line and fields of the final answer (or of 101)."""

    status: int
    reason: str
    headers: tuple[Header, ...]


class Exchange:
    """What comes back for one request. The connection feeds it; the caller takes pieces out.

    Args:
        request: what was asked for, with its limits.
        pause, resume: stop and continue reading from the connection.
        ended: called when the answer is complete or failed.
    """

    def __init__(
        self,
        request: OutboundRequest,
        *,
        pause: Callable[[], None],
        resume: Callable[[], None],
        ended: Callable[["Exchange"], None],
    ) -> None:
        self._limits = request.limits
        self.between_bytes_s = request.timeouts.between_bytes_s
        self._no_body = request.method == "HEAD"
        self._upgrade = request.upgrade
        self._pause = pause
        self._resume = resume
        self._ended = ended
        self._parser = httptools.HttpResponseParser(self)
        self.head: asyncio.Future[Head] = asyncio.get_running_loop().create_future()
        self._fields: list[tuple[bytes, bytes]] = []
        self._reason = b""
        self._field_bytes = 0
        self._interim = 0
        self._trailers = 0
        self._unframed = 0
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._paused = False
        self._waiter: asyncio.Future[None] | None = None
        self._problem: SendFailed | None = None
        self.failure: SendFailed | None = None
        self.sent = False
        self.complete = False
        self.reusable = False
        self.until_close = False
        self.switched = False
        self.leftover = b""
        self.body_bytes = 0

    # What the connection calls.

    def feed(self, data: bytes) -> None:
        """Bytes from the other side, in any pieces."""
        headless = not self.head.done()
        if headless:
            self._unframed += len(data)
        before = self.body_bytes
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self.leftover = data[int(upgrade.args[0]) :]
            self._end()
        except httptools.HttpParserError as error:
            if self.complete:
                self.reusable = False
            else:
                self.fail(self._problem or self._failed("protocol_error", f"the answer is not HTTP/1.1: {error}"))
        if self.complete:
            self._ended(self)
        elif self.failure is None:
            self._bound_framing(headless, len(data), self.body_bytes - before)

    def _bound_framing(self, headless: bool, fed: int, body: int) -> None:
        """What is neither a bounded head nor body: half a head, chunk lines, extensions, trailers."""
        if not self.head.done():
            if self._unframed > self._limits.head_bytes * (1 + self._interim):
                self.fail(self._failed("headers_too_large", f"over {self._limits.head_bytes} bytes of header fields"))
        elif not headless:
            self._unframed += fed - body
            if self._unframed > _FREE_FRAMING + self._limits.head_bytes + _FRAMING_PER_BYTE * self.body_bytes:
                self.fail(self._failed("framing_too_large", "more chunk lines and extensions than body"))
        else:
            self._unframed = 0

    def eof(self, *, reset: bool = False) -> None:
        """The other side sends no more."""
        if self.complete or self.failure is not None:
            return
        if self.until_close and not reset:
            self._end()
            self._ended(self)
            return
        code = "connection_reset" if reset else "connection_closed"
        self.fail(self._failed(code, "the connection ended before the answer did"))

    def fail(self, failure: SendFailed) -> None:
        """No more comes; pieces that are there can still be taken before the failure is raised."""
        if self.complete or self.failure is not None:
            return
        self.failure = failure
        if not self.head.done():
            self.head.set_exception(failure)
            self.head.exception()  # the caller may be gone
        self._wake()
        self._ended(self)

    @property
    def phase(self) -> Phase:
        return "body" if self.head.done() else "first_byte"

    @property
    def paused(self) -> bool:
        """Reading rests because the caller is slower than the other side."""
        return self._paused

    # What the caller of the sender calls.

    async def take(self) -> bytes | None:
        """The next piece of the body; None at its end.

        Raises:
            SendFailed: it broke off, or is larger than the limits.
        """
        while not self._pieces:
            if self.failure is not None:
                raise self.failure
            if self.complete:
                return None
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        piece = self._pieces.popleft()
        self._held -= len(piece)
        if self._paused and self._held <= LOW_WATER:
            self._paused = False
            if not self.complete:
                self._resume()
        return piece

    # What llhttp calls. An exception in here stops it; the problem tells why.

    def on_status(self, reason: bytes) -> None:
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.complete:
            return
        self._field_bytes += len(name) + len(value) + 4
        if self.head.done():
            self._trailers += 1
            if self._trailers > _MAX_TRAILERS or self._field_bytes > self._limits.head_bytes:
                raise self._stop("trailers_too_large", "too many fields after the body")
            return
        if len(self._fields) >= self._limits.headers:
            raise self._stop("too_many_headers", f"over {self._limits.headers} header fields")
        if self._field_bytes > self._limits.head_bytes:
            raise self._stop("headers_too_large", f"over {self._limits.head_bytes} bytes of header fields")
        self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        if self.complete or self.head.done():
            self.reusable = False
            raise self._stop("protocol_error", "bytes after the end of the answer")
        status = self._parser.get_status_code()
        version = self._parser.get_http_version()
        if version not in ("1.1", "1.0") or not 100 <= status <= 599:
            raise self._stop("protocol_error", "the answer is not HTTP/1.1")
        if status < 200 and not (status == 101 and self._upgrade is not None):
            self._interim_answer(status)
            return
        headers = tuple((n.decode("latin-1"), v.decode("latin-1").strip(" \t")) for n, v in self._fields)
        try:
            framing = body_framing(headers, http_1_0=version == "1.0")
        except BadFraming as error:
            raise self._stop("protocol_error", str(error)) from error
        if status == 101 and not self._switches(headers):
            raise self._stop("protocol_error", "the other side switches to another protocol than was asked for")
        bodiless = self._no_body or status in (101, 204, 304)
        self.switched = status == 101
        self.until_close = framing is None and not bodiless
        self.reusable = (
            self._parser.should_keep_alive()
            and not self.until_close
            and not self.switched
            and not (bodiless and framing == "chunked")
        )
        self._field_bytes = 0
        if not self.head.done():
            self.head.set_result(Head(status, self._reason.decode("latin-1"), headers))
        if self._no_body and not self.switched:
            self._end()

    def on_body(self, data: bytes) -> None:
        if self.complete:
            self.reusable = False
            return
        self.body_bytes += len(data)
        most = self._limits.body_bytes
        if most is not None and self.body_bytes > most:
            raise self._stop("response_too_large", f"the body is over {most} bytes")
        self._pieces.append(data)
        self._held += len(data)
        if self._held >= HIGH_WATER and not self._paused:
            self._paused = True
            self._pause()
        self._wake()

    def on_message_begin(self) -> None:
        if self.complete:
            self.reusable = False

    def on_message_complete(self) -> None:
        if self.head.done() and not self.switched and not self.complete:
            self._end()

    def _interim_answer(self, status: int) -> None:
        self._interim += 1
        if status == 101:
            raise self._stop("protocol_error", "the other side switches protocols unasked")
        if self._interim > self._limits.interim:
            raise self._stop("too_many_interim", f"over {self._limits.interim} interim answers")
        self._fields.clear()
        self._field_bytes = 0
        self._reason = b""

    def _switches(self, headers: tuple[Header, ...]) -> bool:
        """What llhttp takes for the end of HTTP, and to the protocol that was asked for."""
        options = {option.strip().lower() for value in values(headers, "connection") for option in value.split(",")}
        protocols = [value.lower() for value in values(headers, "upgrade")]
        return self._upgrade is not None and "upgrade" in options and protocols == [self._upgrade.lower()]

    def _stop(self, code: str, detail: str) -> SendFailed:
        self._problem = self._failed(code, detail)
        return self._problem

    def _failed(self, code: str, detail: str) -> SendFailed:
        return SendFailed(self.phase, code, detail, bytes_sent=self.sent)

    def _end(self) -> None:
        self.complete = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
