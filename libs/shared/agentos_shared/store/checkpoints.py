"""How far a consumer has come, kept in its own tables so that effects and progress commit together.

One row per stream, locked for the time of a batch: two consumers of the same name share the work by stream, and neither
applies an event twice. A stream whose next event cannot be applied is parked: it stops there, the others go on.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg

from agentos_shared.contracts.positions import Range, StreamKey
from agentos_shared.store import sqlstate, statements
from agentos_shared.store.reader import Connection

_MAX_ERROR: Final = 2000


@dataclass(frozen=True, slots=True)
class Parked:
    """A stream that stopped, and why. ``stream_seq`` is the event that could not be applied."""

    key: StreamKey
    stream_seq: int
    event_id: UUID | None
    event_type: str | None
    sqlstate: str | None
    error: str
    attempts: int
    since: datetime
    last_tried: datetime


class Checkpoints:
    """The statements over one consumer's ``<prefix>_checkpoints`` and ``<prefix>_parked``."""

    def __init__(self, prefix: str, suffix: str = "") -> None:
        self.checkpoints: Final = f"{prefix}_checkpoints{suffix}"
        self.parked: Final = f"{prefix}_parked{suffix}"
        self._sql: Final = {
            name: text.replace("{checkpoints}", self.checkpoints).replace("{parked}", self.parked)
            for name, text in statements.load("agentos_shared.store", "checkpoints.sql").items()
        }

    def is_poison(self, error: BaseException) -> bool:
        """True when trying the same events again cannot succeed."""
        return sqlstate.is_poison(error)

    async def create_tables(self, connection: Connection) -> None:
        """Make both tables where they do not exist."""
        await connection.execute(self._sql["tables"])

    async def begin(self, connection: Connection, streams: Sequence[StreamKey]) -> None:
        """Give streams that are new to the consumer a checkpoint at 0."""
        await connection.execute(self._sql["begin_streams"], *_columns(streams))

    async def claim(
        self,
        connection: Connection,
        wanted: Sequence[Range],
        *,
        parked_too: bool = False,
    ) -> list[Range]:
        """Lock the streams of ``wanted`` that can move, until the transaction ends, each from its checkpoint on.

        ``wanted[i].after`` is not looked at. What another consumer did meanwhile is left out.
        """
        rows = await connection.fetch(
            self._sql["claim"],
            *_columns([w.key for w in wanted]),
            [w.upto for w in wanted],
            parked_too,
        )
        return [_range(row) for row in rows]

    async def advance(self, connection: Connection, done: Sequence[Range]) -> None:
        """Move the checkpoints of claimed ranges to their ends.

        Raises:
            RuntimeError: a checkpoint was not where the claim left it, so nothing may commit.
        """
        status = await connection.execute(
            self._sql["advance"],
            *_columns([r.key for r in done]),
            [r.after for r in done],
            [r.upto for r in done],
        )
        if int(status.rpartition(" ")[2]) != len(done):
            raise asyncpg.exceptions.SerializationError("a checkpoint moved under its lock")

    async def unpark(self, connection: Connection, done: Sequence[Range]) -> None:
        """Forget that these streams were parked, where ``done`` includes the event that stopped them."""
        await connection.execute(
            self._sql["unpark"],
            *_columns([r.key for r in done]),
            [r.upto for r in done],
        )

    async def park(self, connection: Connection, at: Range, error: BaseException) -> Parked:
        """Stop a stream before the one event of ``at``."""
        row = await connection.fetchrow(
            self._sql["park"],
            at.key.stream_type,
            at.key.stream_id,
            at.upto,
            sqlstate.sqlstate(error),
            f"{type(error).__name__}: {error}"[:_MAX_ERROR],
        )
        assert row is not None
        return _parked(row)

    async def list_parked(self, connection: Connection, limit: int = 1000) -> list[Parked]:
        """The parked streams, longest first."""
        return [_parked(row) for row in await connection.fetch(self._sql["list_parked"], limit)]

    async def count_parked(self, connection: Connection) -> int:
        count: int = await connection.fetchval(self._sql["count_parked"])
        return count

    async def behind(self, connection: Connection, after: StreamKey, limit: int) -> list[Range]:
        """A page of the streams that the store has taken further than the consumer, without the parked ones."""
        return [_range(row) for row in await connection.fetch(self._sql["behind"], *after, limit)]

    async def oldest_waiting(self, connection: Connection, waiting: Sequence[Range]) -> datetime | None:
        """``recorded_at`` of the oldest event right after these checkpoints."""
        oldest: datetime | None = await connection.fetchval(
            self._sql["oldest_waiting"],
            *_columns([w.key for w in waiting]),
            [w.after for w in waiting],
        )
        return oldest


class PoolStore(Checkpoints):
    """A consumer's checkpoints, and transactions in which effects and checkpoints meet, on connections of a pool."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", prefix: str, suffix: str = "") -> None:
        super().__init__(prefix, suffix)
        self._pool = pool

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A connection inside a transaction: commits at the end, rolls back on an exception."""
        async with self._pool.acquire() as connection, connection.transaction():
            yield connection


class ConnectionStore(Checkpoints):
    """The same on one connection. Inside a transaction of the caller's, its own are savepoints."""

    def __init__(self, connection: Connection, prefix: str, suffix: str = "") -> None:
        super().__init__(prefix, suffix)
        self._connection = connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """The connection inside a transaction or savepoint."""
        async with self._connection.transaction():
            yield self._connection


def _columns(streams: Sequence[StreamKey]) -> tuple[list[str], list[str]]:
    return [s.stream_type for s in streams], [s.stream_id for s in streams]


def _range(row: asyncpg.Record) -> Range:
    return Range(StreamKey(row["stream_type"], row["stream_id"]), row["after"], row["upto"])


def _parked(row: asyncpg.Record) -> Parked:
    return Parked(
        key=StreamKey(row["stream_type"], row["stream_id"]),
        stream_seq=row["stream_seq"],
        event_id=None if row["event_id"] is None else UUID(int=row["event_id"].int),
        event_type=row["event_type"],
        sqlstate=row["sqlstate"],
        error=row["error"],
        attempts=row["attempts"],
        since=row["since"],
        last_tried=row["last_tried"],
    )
