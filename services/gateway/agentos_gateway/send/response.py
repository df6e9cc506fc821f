"""An answer, as the caller of the sender has it."""

from collections.abc import AsyncIterator, Iterator

from agentos_gateway.send.coding import CodingProblem, Decoder
from agentos_gateway.send.exchange import Exchange, Head
from agentos_gateway.send.failures import SendFailed
from agentos_gateway.send.headers import Header, values
from agentos_gateway.send.link import Link
from agentos_gateway.send.request import Limits


class Body(AsyncIterator[bytes]):
    """The body, piece by piece; the other side is read no faster than it is taken.

    Raises (while it is iterated):
        SendFailed: it breaks off, or goes beyond its limits.
    """

    def __init__(self, exchange: Exchange, decoder: Decoder | None, problem: SendFailed | None = None) -> None:
        self._exchange = exchange
        self._decoder = decoder
        self._problem = problem
        self._unfolded: Iterator[bytes] = iter(())

    async def __anext__(self) -> bytes:
        if self._problem is not None:
            raise self._problem
        if self._decoder is None:
            piece = await self._exchange.take()
            if piece is None:
                raise StopAsyncIteration
            return piece
        return await self._decoded(self._decoder)

    async def _decoded(self, decoder: Decoder) -> bytes:
        try:
            while True:
                for piece in self._unfolded:
                    return piece
                raw = await self._exchange.take()
                if raw is None:
                    decoder.end()
                    raise StopAsyncIteration
                self._unfolded = decoder.feed(raw)
        except CodingProblem as error:
            self._problem = SendFailed("body", error.code, error.detail, bytes_sent=True)
            raise self._problem from error

    async def read(self, most: int) -> tuple[bytes, bool]:
        """Up to ``most`` bytes, and whether that is all of it; the rest can be iterated."""
        pieces: list[bytes] = []
        size = 0
        async for piece in self:
            pieces.append(piece)
            size += len(piece)
            if size > most:
                joined = b"".join(pieces)
                self._unfolded = _then(joined[most:], self._unfolded)
                self._decoder = self._decoder or Decoder("identity", most=2**62, ratio=2**31)
                return joined[:most], False
        return b"".join(pieces), True


class Response:
    """Status and fields of an answer whose body is still coming.

    Attributes:
        status: 200 to 599, or 101 where an upgrade was asked for.
        headers: as they came, Latin-1, in order. Where the body is decoded they still tell of the encoded one.
        address: where the answer comes from.
        ttfb_ms: from the last byte of a short request to the head of the answer.
        body: an iterator of bytes.
    """

    def __init__(
        self, head: Head, exchange: Exchange, link: Link, *, decode: bool, limits: Limits, ttfb_ms: float
    ) -> None:
        self.status = head.status
        self.reason = head.reason
        self.headers: tuple[Header, ...] = head.headers
        self.address = link.address
        self.ttfb_ms = ttfb_ms
        self._exchange = exchange
        self._link = link
        decoder, problem = _decoder(head, limits) if decode else (None, None)
        self.decoded = decoder is not None
        self.body = Body(exchange, decoder, problem)

    @property
    def bytes_in(self) -> int:
        """Bytes of the body that have come so far, as they were sent."""
        return self._exchange.body_bytes

    @property
    def link(self) -> Link:
        """The connection, to be detached after 101."""
        return self._link

    @property
    def leftover(self) -> bytes:
        """After 101: what came behind the head."""
        return self._exchange.leftover

    async def aclose(self) -> None:
        """Leaves the answer. What has not come yet is given up, together with the connection."""
        self._link.leave(self._exchange)

    async def __aenter__(self) -> "Response":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def _decoder(head: Head, limits: Limits) -> tuple[Decoder | None, SendFailed | None]:
    codings = [coding for value in values(head.headers, "content-encoding") for coding in value.split(",") if coding]
    if not codings:
        return None, None
    try:
        if len(codings) > 1:
            raise CodingProblem("coding_unsupported", "several content codings on top of each other")
        return Decoder(codings[0], most=limits.decoded_bytes, ratio=limits.decoded_ratio), None
    except CodingProblem as error:
        return None, SendFailed("body", error.code, error.detail, bytes_sent=True)


def _then(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest
