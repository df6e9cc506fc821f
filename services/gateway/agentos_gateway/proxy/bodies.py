"""The body of a request as its client sends it, read no faster than it is taken."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from typing import Final, Literal

PIECE: Final = 64 * 1024
#: Seconds that a client may be silent in the middle of a body.
SILENT_S: Final = 60.0
MAX_CHUNK_LINE: Final = 1024
MAX_TRAILERS: Final = 64
_SIZE: Final = re.compile(rb"[0-9A-Fa-f]{1,15}")


class BodyBroken(Exception):
    """It does not come to its end as its head said."""


class ClientBody(AsyncIterator[bytes]):
    """The body.

    Args:
        framing: bytes, or ``chunked``; what is between the chunks is read strictly, and trailers are dropped.
        ask: called before the first byte is read, where the client waits for that.

    Attributes:
        size: bytes so far. complete: whether that is all.
    """

    def __init__(
        self, reader: asyncio.StreamReader, framing: int | Literal["chunked"], ask: Callable[[], None] | None
    ) -> None:
        self._reader = reader
        self._ask = ask
        self._chunked = framing == "chunked"
        self._left = 0 if framing == "chunked" else framing
        self._in_chunk = False
        self.size = 0
        self.complete = framing == 0

    async def __anext__(self) -> bytes:
        if self._ask is not None:
            self._ask()
            self._ask = None
        if self.complete:
            raise StopAsyncIteration
        try:
            async with asyncio.timeout(SILENT_S):
                piece = await self._next()
        except TimeoutError:
            raise BodyBroken("the client was silent for too long") from None
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError) as error:
            raise BodyBroken("the client's body broke off") from error
        if not piece:
            raise StopAsyncIteration
        self.size += len(piece)
        return piece

    async def whole(self) -> bytes:
        """All of it. Raises BodyBroken."""
        return b"".join([piece async for piece in self])

    async def _next(self) -> bytes:
        if self._chunked and self._left == 0 and not await self._next_chunk():
            self.complete = True
            return b""
        piece = await self._reader.read(min(self._left, PIECE))
        if not piece:
            raise BodyBroken("the client's body broke off")
        self._left -= len(piece)
        self.complete = self._left == 0 and not self._chunked
        return piece

    async def _next_chunk(self) -> bool:
        if self._in_chunk and await self._reader.readexactly(2) != b"\r\n":
            raise BodyBroken("a chunk is not as long as it says")
        line = await self._line()
        size, _, _ = line.partition(b";")
        if not _SIZE.fullmatch(size):
            raise BodyBroken("a chunk has no size")
        self._left = int(size, 16)
        self._in_chunk = True
        if self._left:
            return True
        for _ in range(MAX_TRAILERS):
            if not await self._line():
                return False
        raise BodyBroken("there are trailers without end")

    async def _line(self) -> bytes:
        line = (await self._reader.readuntil(b"\r\n"))[:-2]
        if len(line) > MAX_CHUNK_LINE or b"\n" in line or b"\r" in line:
            raise BodyBroken("a line between chunks is not one")
        return line
