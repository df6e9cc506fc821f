"""Reading streams from the store for the live feed."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Protocol

import asyncpg

from agentos_api.live import frames
from agentos_api.live.feed import Chunk, StreamKey, chunks
from agentos_shared.store import statements
from agentos_shared.store.reader import event_of

SQL: Final = statements.load("agentos_api.live", "live.sql")

PAGE_EVENTS: Final = 500
PAGE_BYTES: Final = 256 * 1024
READ_TIMEOUT_S: Final = 10.0

#: What a database that is away, or going away, raises.
UNAVAILABLE: Final = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)


@dataclass(frozen=True, slots=True)
class StreamHead:
    """Where a stream ends, and whose it is."""

    workspace_id: str
    seq: int


class Page:
    """Frames after a place, in order without a gap. Clients at the same place share one."""

    def __init__(self, after: int, page: Sequence[bytes]) -> None:
        self.after = after
        self.frames = page

    @cached_property
    def chunks(self) -> Sequence[Chunk]:
        """The same as writes."""
        return list(chunks(self.frames, self.after))


class History(Protocol):
    """What the hub asks of the event store. Every call may raise one of :data:`UNAVAILABLE`."""

    async def page(self, key: StreamKey, after: int) -> Page:
        """What follows a place; an empty page at the head."""
        ...

    async def head(self, key: StreamKey) -> StreamHead | None:
        """The head of a stream, or None when nothing was ever appended to it."""
        ...

    async def heads(self, keys: Sequence[StreamKey]) -> dict[StreamKey, int]:
        """The heads of several streams."""
        ...


class StoreHistory:
    """The event store, as the live feed reads it."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool

    async def page(self, key: StreamKey, after: int) -> Page:
        rows = await self._pool.fetch(SQL["page"], *key, after, PAGE_EVENTS, PAGE_BYTES, timeout=READ_TIMEOUT_S)
        return Page(after, [frames.event(row["stream_seq"], event_of(row).envelope_json()) for row in rows])

    async def head(self, key: StreamKey) -> StreamHead | None:
        row = await self._pool.fetchrow(SQL["head"], *key, timeout=READ_TIMEOUT_S)
        return None if row is None else StreamHead(row["workspace_id"], row["seq"])

    async def heads(self, keys: Sequence[StreamKey]) -> dict[StreamKey, int]:
        rows = await self._pool.fetch(
            SQL["heads"], [key[0] for key in keys], [key[1] for key in keys], timeout=READ_TIMEOUT_S
        )
        return {(row["stream_type"], row["stream_id"]): row["seq"] for row in rows}
