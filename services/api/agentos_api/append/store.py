"""What the appender asks of the database: heads, entities, keys, and the append itself.

The appender sees three kinds of failure only: a lost race (:class:`Stale`), a store that cannot be reached
(:class:`Unavailable`), and anything else, which is the fault of what was to be written.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, NamedTuple, Protocol, TypeAlias

import asyncpg
import structlog

from agentos_api.append.draft import Draft
from agentos_api.append.submission import Answer, RequestKey
from agentos_shared.domain.envelope import Event, Stream
from agentos_shared.host.lifecycle import CLOCK, RNG, Clock, Rng
from agentos_shared.store import migrate, sqlstate, statements
from agentos_shared.store.reader import Head, read_entities

log = structlog.get_logger()
SQL: Final = statements.load("agentos_api.append", "store.sql")
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

CONNECT_TIMEOUT_S: Final = 2.0
STATEMENT_TIMEOUT_S: Final = 5.0
SWEEP_S: Final = 3600.0
SWEEP_BITE: Final = 5000

#: A head that moved, a serialization failure, a deadlock, a key or head that another writer made first.
_RACES: Final = frozenset({"AO001", "40001", "40P01", "23505"})

#: For one connection that only appends: one generic plan, driven by the arrays in their (sorted) order.
_SERVER_SETTINGS: Final = {
    "application_name": "agentos-api appender",
    "plan_cache_mode": "force_generic_plan",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
    "jit": "off",
}


class Stale(Exception):
    """Something is not as it was seen: decide anew."""


class Unavailable(Exception):
    """The store does not answer, is going away or cannot take more. What was under way may or may not have happened."""


class Known(NamedTuple):
    """An answer that was given under a key before."""

    fingerprint: bytes
    answer: Answer


class Locked(Protocol):
    """A transaction on locked heads."""

    async def heads(self, streams: Iterable[Stream]) -> dict[Stream, Head]:
        """Lock these heads, in an order that all writers share. A stream without one has ``Head(0, None)``."""

    async def known(self, keys: Sequence[RequestKey]) -> dict[tuple[str, str, str], Known]:
        """What was answered under these keys within the last day, by identity; older rows are dropped."""

    async def entities(self, ids: Iterable[str]) -> dict[str, list[Event]]:
        """All events of each entity, in order; an unknown id is absent."""

    async def append(self, draft: Draft) -> int | None:
        """Write a draft; the position of its outbox row, None where it has no events. Raises Stale."""


class Store(Protocol):
    """The store as the appender needs it. Every call may raise :class:`Unavailable`."""

    async def heads(self, streams: Iterable[Stream]) -> dict[Stream, Head]:
        """Read heads without locking them."""

    async def entities(self, ids: Iterable[str]) -> dict[str, list[Event]]:
        """All events of each entity, in order; an unknown id is absent."""

    async def append(self, draft: Draft) -> int | None:
        """Write a draft, provided that every head and key is as the draft saw it. Raises Stale."""

    def locked(self) -> AbstractAsyncContextManager[Locked]:
        """A transaction; leaving it commits. May raise Stale."""

    async def connect(self) -> None:
        """Make sure that there is a connection."""

    async def close(self) -> None:
        """Close it."""


class PostgresStore:
    """The store over one connection of its own, which is made again when it is lost.

    Args:
        dsn: Postgres URL of the API's role.
    """

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: Connection | None = None

    async def connect(self) -> None:
        await self._open()

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close(timeout=2.0)
            self._connection = None

    async def heads(self, streams: Iterable[Stream]) -> dict[Stream, Head]:
        async with self._translated() as connection:
            return await _heads(connection, "heads", streams)

    async def entities(self, ids: Iterable[str]) -> dict[str, list[Event]]:
        async with self._translated() as connection:
            return await read_entities(connection, sorted(ids))

    async def append(self, draft: Draft) -> int | None:
        async with self._translated() as connection:
            return await _append(connection, draft)

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[Locked]:
        async with self._translated() as connection, connection.transaction():
            yield _Locked(connection)

    @asynccontextmanager
    async def _translated(self) -> AsyncIterator[Connection]:
        """The connection; what goes wrong on it comes out as one of our three kinds."""
        try:
            yield await self._open()
        except Unavailable:
            raise
        except Exception as error:
            if sqlstate.sqlstate(error) in _RACES:
                raise Stale from error
            if sqlstate.is_poison(error):
                raise
            if self._connection is not None:
                self._connection.terminate()
                self._connection = None
            raise Unavailable(f"{type(error).__name__}: {error}") from error

    async def _open(self) -> Connection:
        if self._connection is None or self._connection.is_closed():
            connection = await asyncpg.connect(
                self._dsn,
                timeout=CONNECT_TIMEOUT_S,
                command_timeout=STATEMENT_TIMEOUT_S,
                server_settings=_SERVER_SETTINGS,
            )
            try:
                # The server may have come back with other settings than it had when this process started.
                await migrate.check_durability(connection)
            except migrate.UnsafeSettings as error:
                connection.terminate()
                log.error("append_refused_by_settings", detail=str(error))
                raise Unavailable(str(error)) from error
            self._connection = connection
            log.info("appender_connected")
        return self._connection


async def sweep_old_keys(pool: "asyncpg.Pool[asyncpg.Record]", clock: Clock = CLOCK, rng: Rng = RNG) -> None:
    """For ever: about once an hour, delete the idempotency keys that a day has passed over, in bounded bites."""
    while True:
        await clock.sleep(SWEEP_S * (0.5 + rng.random()))
        while await pool.fetchval(SQL["sweep_keys"]) == SWEEP_BITE:
            await clock.sleep(1.0)


class _Locked:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def heads(self, streams: Iterable[Stream]) -> dict[Stream, Head]:
        return await _heads(self._connection, "lock_heads", streams)

    async def known(self, keys: Sequence[RequestKey]) -> dict[tuple[str, str, str], Known]:
        if not keys:
            return {}
        columns = list(zip(*sorted({key.identity for key in keys}), strict=True))
        await self._connection.execute(SQL["drop_old_keys"], *columns)
        return {
            (row["workspace_id"], row["kind"], row["key"]): Known(
                row["fingerprint"], Answer(row["status"], row["answer"], replayed=True)
            )
            for row in await self._connection.fetch(SQL["keys"], *columns)
        }

    async def entities(self, ids: Iterable[str]) -> dict[str, list[Event]]:
        return await read_entities(self._connection, sorted(ids))

    async def append(self, draft: Draft) -> int | None:
        return await _append(self._connection, draft)


async def _heads(connection: Connection, statement: str, streams: Iterable[Stream]) -> dict[Stream, Head]:
    wanted = sorted(streams)
    if not wanted:
        return {}
    heads = dict.fromkeys(wanted, Head(0, None))
    for row in await connection.fetch(SQL[statement], *zip(*wanted, strict=True)):
        heads[Stream(row["stream_type"], row["stream_id"])] = Head(row["seq"], row["hash"])
    return heads


async def _append(connection: Connection, draft: Draft) -> int | None:
    if not draft.events and not draft.keys:
        return None
    row = await connection.fetchrow(SQL["append"], *_parameters(draft))
    position: int | None = None if row is None else row["position"]
    return position


def _parameters(draft: Draft) -> list[Sequence[object] | None]:
    """The arrays of the append statement, heads and keys in sorted order."""
    moved: list[tuple[object, ...]] = []
    made: list[tuple[object, ...]] = []
    for stream in sorted(draft.moved):
        before, after = draft.before[stream], draft.moved[stream]
        if before.seq:
            moved.append((*stream, before.seq, *after))
        else:
            made.append((*stream, draft.workspaces[stream], *after))
    kept = sorted(
        (*key.identity, key.fingerprint, event_id, answer.status, answer.body) for key, answer, event_id in draft.keys
    )
    return [
        *_columns(moved, 5),
        *_columns(made, 5),
        *_columns(kept, 7),
        *_columns([(*stream, draft.workspaces[stream], head.seq) for stream, head in sorted(draft.stood().items())], 4),
        draft.events,
        [event.event_id for event in draft.events],
        draft.traceparents if any(draft.traceparents) else None,
    ]


def _columns(rows: Sequence[Sequence[object]], width: int) -> Sequence[Sequence[object]]:
    return list(zip(*rows, strict=True)) if rows else [()] * width
