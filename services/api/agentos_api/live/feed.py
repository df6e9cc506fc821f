"""The live end of one stream: its latest frames, shared by all its clients, each of which is only a cursor.

A frame enters by its ``stream_seq`` alone. The next one is taken, one that is known is dropped, one further ahead only
tells that something in between is still to be read from the store. So it does not matter who brings a frame, how often,
or in which order.
"""

import asyncio
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from agentos_api.live.client import Client
    from agentos_api.live.history import Page

StreamKey: TypeAlias = tuple[str, str]

#: What one write carries at most, unless a single frame is larger. About what a socket takes at once: more would only
#: lie in the server's buffers, once per slow client.
CHUNK_BYTES: Final = 64 * 1024
#: How far a client may fall behind.
BEHIND_EVENTS: Final = 10_000
BEHIND_BYTES: Final = 8 * 1024 * 1024
#: What is kept while nobody lags: enough for those who reconnect at once.
TAIL_EVENTS: Final = 256
TAIL_BYTES: Final = 256 * 1024


class Chunk(NamedTuple):
    """Some frames in a row, as one write; ``last`` is the sequence of the last one."""

    body: bytes
    last: int


def chunks(frames: Sequence[bytes], after: int, start: int = 0) -> Iterator[Chunk]:
    """Frames from ``start`` on as writes; ``after`` is the sequence before the first frame."""
    while start < len(frames):
        size = 0
        end = start
        while end < len(frames) and (size == 0 or size + len(frames[end]) <= CHUNK_BYTES):
            size += len(frames[end])
            end += 1
        yield Chunk(b"".join(frames[start:end]), after + end)
        start = end


class Feed:
    """Frames ``base + 1 .. head`` of a stream, of which ``.. flushed`` were written to the live clients.

    ``head`` is None until somebody has found out where the stream ends.
    """

    __slots__ = (
        "_frames",
        "_last_chunk",
        "base",
        "clients",
        "filler",
        "flush",
        "flushed",
        "head",
        "key",
        "live",
        "pause_until",
        "reading",
        "size",
        "traces",
        "wanted",
    )

    def __init__(self, key: StreamKey) -> None:
        self.key = key
        self.base = 0
        self.head: int | None = None
        self.flushed = 0
        #: The highest sequence that is known to exist.
        self.wanted = 0
        self.size = 0
        self.clients: set[Client] = set()
        #: Clients that have everything up to ``flushed`` and wait for more.
        self.live: set[Client] = set()
        #: Traces of events that are not flushed yet, while tracing is on.
        self.traces: dict[int, str] = {}
        self.filler: asyncio.Task[None] | None = None
        self.reading: dict[int, asyncio.Task[Page]] = {}
        self.flush: asyncio.Handle | None = None
        self.pause_until = 0.0
        self._frames: list[bytes] = []
        self._last_chunk: tuple[int, Chunk] | None = None

    @property
    def behind(self) -> bool:
        """Whether the stream is known to go on beyond the head."""
        return self.head is not None and self.wanted > self.head

    def offer(self, seq: int, frame: bytes) -> bool:
        """Take a frame if it is the next one. Returns whether it was taken."""
        if self.head is None:
            self.base = self.flushed = seq - 1
        elif seq != self.head + 1:
            self.wanted = max(self.wanted, seq)  # no news when it is known already
            return False
        self.head = seq
        self.wanted = max(self.wanted, seq)
        self._frames.append(frame)
        self.size += len(frame)
        return True

    def settle(self, seq: int) -> None:
        """The store had nothing after ``seq``: the stream ended there, if its end was not known already."""
        if self.head is None:
            self.base = self.head = self.flushed = seq

    def chunk(self, cursor: int) -> Chunk | None:
        """What follows a cursor, None when that is no longer (or not yet) here. Empty at the head."""
        if self.head is None or not self.base <= cursor <= self.head:
            return None
        if self._last_chunk is not None and self._last_chunk[0] == cursor:
            return self._last_chunk[1]
        chunk = next(self._chunks(cursor), Chunk(b"", cursor))
        if chunk.last > cursor:
            self._last_chunk = (cursor, chunk)  # clients that block together go on together
        return chunk

    def unflushed(self) -> Iterator[Chunk]:
        """What the live clients do not have yet; ``flushed`` moves along."""
        for chunk in self._chunks(self.flushed):
            self.flushed = chunk.last
            yield chunk

    def _chunks(self, cursor: int) -> Iterator[Chunk]:
        return chunks(self._frames, self.base, cursor - self.base)

    def trim(self, *, tail_only: bool) -> None:
        """Drop the oldest frames that were flushed and exceed what is kept."""
        most, most_bytes = (TAIL_EVENTS, TAIL_BYTES) if tail_only else (BEHIND_EVENTS, BEHIND_BYTES)
        drop = 0
        droppable = self.flushed - self.base
        count = len(self._frames)
        while drop < droppable and (count - drop > most or self.size > most_bytes):
            self.size -= len(self._frames[drop])
            drop += 1
        if drop:
            del self._frames[:drop]
            self.base += drop
            self._last_chunk = None

    def take_traces(self) -> list[str]:
        """Traces of what is about to be flushed, in order."""
        if not self.traces:
            return []
        head = self.head or 0
        taken = [self.traces[seq] for seq in sorted(self.traces) if seq <= head]
        self.traces = {seq: trace for seq, trace in self.traces.items() if seq > head}
        return taken

    def end(self) -> None:
        """Nobody is here any more."""
        if self.flush is not None:
            self.flush.cancel()
            self.flush = None
        if self.filler is not None:
            self.filler.cancel()
        for reading in list(self.reading.values()):
            reading.cancel()
