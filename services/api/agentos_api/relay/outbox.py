"""What waits for publication: this process's own commits, straight from memory, and everybody's, from the table.

The table is the truth and memory a shortcut. So memory may be dropped at any moment (when it is full, when JetStream
surprised us) and the table is read instead.
"""

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import asyncpg

from agentos_api.append.appender import Committed
from agentos_shared.domain.envelope import Event
from agentos_shared.host import metrics
from agentos_shared.store import statements
from agentos_shared.store.reader import event_of

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
StreamKey: TypeAlias = tuple[str, str]
Position: TypeAlias = tuple[StreamKey, int]

SQL: Final = statements.load("agentos_api.relay", "relay.sql")
DEPTH: Final = metrics.gauge("outbox_depth", "Events that wait for JetStream (of 10,000 appends; leader only).")
AGE_SECONDS: Final = metrics.gauge("outbox_age_seconds", "How long the oldest of them has waited (leader only).")

MAX_REMEMBERED: Final = 10_000
MAX_REMEMBERED_BYTES: Final = 32 * 1024 * 1024
PAGE: Final = 1000
COUNT_LIMIT: Final = 10_000


@dataclass(frozen=True, slots=True)
class Due:
    """An event that is to be in JetStream. ``committed`` holds it, when it came through memory.

    ``position`` and ``event_id`` name its place in the outbox, where that is known.
    """

    key: StreamKey
    seq: int
    position: int | None = None
    event_id: str | None = None
    traceparent: str | None = None
    committed: Committed | None = None


class Rows:
    """Which events of each row of the outbox JetStream has not acknowledged yet. A row is done when none is left."""

    def __init__(self) -> None:
        self._left: dict[int, set[str]] = {}

    def note(self, position: int, event_ids: Iterable[str]) -> None:
        """Learn what a row holds; what is known of it already stays."""
        if position not in self._left:
            self._left[position] = set(event_ids)

    def acknowledged(self, position: int, event_id: str) -> bool:
        """Whether the row is done with this event."""
        left = self._left.get(position)
        if left is None:
            return False
        left.discard(event_id)
        if left:
            return False
        del self._left[position]
        return True

    def clear(self) -> None:
        """Forget everything: the table is read again."""
        self._left.clear()


class Memory:
    """Commits of this process that wait to be published. Bounded: beyond that it empties itself and says so.

    A batch is one append, and so one row of the outbox.
    """

    def __init__(self, max_events: int = MAX_REMEMBERED, max_bytes: int = MAX_REMEMBERED_BYTES) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._queue: deque[Committed] = deque()
        self._bytes = 0
        #: How many events of a row are here.
        self.positions: Counter[int] = Counter()
        #: What is left of each row that came through here or was read from the table.
        self.rows = Rows()

    def __len__(self) -> int:
        return len(self._queue)

    def offer(self, batch: Sequence[Committed]) -> bool:
        """Remember a batch; False when it would not fit, and then nothing is remembered any more."""
        if len(self._queue) + len(batch) > self._max_events or self._bytes > self._max_bytes:
            self.clear()
            return False
        self._queue.extend(batch)
        self.rows.note(batch[0].position, (committed.event.event_id for committed in batch))
        for committed in batch:
            self.positions[committed.position] += 1
            self._bytes += len(committed.json)
        return True

    def take(self, limit: int) -> list[Due]:
        """The oldest commits, at most ``limit``."""
        due: list[Due] = []
        while self._queue and len(due) < limit:
            committed = self._queue.popleft()
            self.positions[committed.position] -= 1
            if not self.positions[committed.position]:
                del self.positions[committed.position]
            self._bytes -= len(committed.json)
            event = committed.event
            due.append(
                Due(
                    (event.stream_type, event.stream_id),
                    event.stream_seq,
                    committed.position,
                    event.event_id,
                    committed.traceparent,
                    committed,
                )
            )
        return due

    def clear(self) -> None:
        """Forget everything; it is all in the table."""
        self._queue.clear()
        self.positions.clear()  # the rows stay: some of their events may be on their way
        self._bytes = 0


class Table:
    """``evt_outbox`` and the events behind it, on the leader's own connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def waiting(self, limit: int) -> list[Due]:
        """The events of the first rows, by position: whole rows, at least ``limit`` events where there are as many."""
        return [
            Due(
                (row["stream_type"], row["stream_id"]),
                row["stream_seq"],
                row["position"],
                str(row["event_id"]),
                row["traceparent"],
            )
            for row in await self._connection.fetch(SQL["waiting"], limit)
        ]

    async def events(self, places: Sequence[Position]) -> dict[Position, Event]:
        """Events by place."""
        rows = await self._connection.fetch(
            SQL["events"],
            [key[0] for key, _ in places],
            [key[1] for key, _ in places],
            [seq for _, seq in places],
        )
        return {((row["stream_type"], row["stream_id"]), row["stream_seq"]): event_of(row) for row in rows}

    async def stretch(self, key: StreamKey, after: int, upto: int, limit: int) -> list[Event]:
        """Events of one stream with ``after < stream_seq <= upto``, in order, at most ``limit``."""
        return [event_of(row) for row in await self._connection.fetch(SQL["stretch"], *key, after, upto, limit)]

    async def forget(self, positions: Sequence[int]) -> None:
        """Delete rows all of whose events JetStream has acknowledged."""
        await self._connection.execute(SQL["forget"], positions)

    async def measure(self) -> None:
        """Set the gauges of depth and age."""
        row = await self._connection.fetchrow(SQL["backlog"], COUNT_LIMIT)
        if row is not None:
            DEPTH.set(row["depth"])
            AGE_SECONDS.set(max(0.0, row["age_s"]))
