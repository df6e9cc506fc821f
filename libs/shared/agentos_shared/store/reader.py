"""Reading the event store. Any service may; only services/api writes it."""

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias
from uuid import UUID

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from agentos_shared.domain.envelope import Event, Stream
from agentos_shared.store import statements

SQL: Final = statements.load("agentos_shared.store", "reader.sql")

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"


class Head(NamedTuple):
    """The last position of a stream and the hash of the event there (``seq`` 0: nothing yet)."""

    seq: int
    hash: str | None


def event_of(row: asyncpg.Record) -> Event:
    """An event from a row of ``evt_events`` (all columns)."""
    return Event(
        event_id=str(row["event_id"]),
        event_type=row["event_type"],
        event_version=row["event_version"],
        occurred_at=row["occurred_at"],
        recorded_at=row["recorded_at"],
        workspace_id=row["workspace_id"],
        mission_id=row["mission_id"],
        room_id=row["room_id"],
        thread_id=row["thread_id"],
        run_id=row["run_id"],
        step_id=row["step_id"],
        actor_type=row["actor_type"],
        actor_id=row["actor_id"],
        actor_principal_id=row["actor_principal_id"],
        zone=row["zone"],
        stream_type=row["stream_type"],
        stream_id=row["stream_id"],
        stream_seq=row["stream_seq"],
        entity_type=row["entity_type"],
        entity_id=row["entity_id"],
        entity_version=row["entity_version"],
        correlation_id=row["correlation_id"],
        causation_id=None if row["causation_id"] is None else str(row["causation_id"]),
        redaction_level=row["redaction_level"],
        contains_secrets=row["contains_secrets"],
        idempotency_key=row["idempotency_key"],
        prev_event_hash=row["prev_event_hash"],
        event_hash=row["event_hash"],
        content=row["content"],
        salt=row["salt"],
        data_digest=row["data_digest"],
    )


async def read_stream(connection: Connection, stream: Stream, after: int, limit: int) -> list[Event]:
    """Events of ``stream`` with ``stream_seq > after``, in order, at most ``limit``."""
    rows = await connection.fetch(SQL["read_stream"], stream.type, stream.id, after, limit)
    return [event_of(row) for row in rows]


async def read_entities(connection: Connection, entity_ids: Sequence[str]) -> dict[str, list[Event]]:
    """All events of each entity, in the order of its life; an unknown id is absent.

    After a run's own events comes the last one of its steps, tool calls and artifacts, where that is the later one.
    """
    found: dict[str, list[Event]] = {}
    for row in await connection.fetch(SQL["read_entities"], entity_ids):
        found.setdefault(row["entity_id"], []).append(event_of(row))
    runs = [entity_id for entity_id, events in found.items() if events[0].entity_type == "run"]
    if runs:
        # Later than the events above, never earlier: what was missed meanwhile is a head that moved, and is refused.
        for row in await connection.fetch(SQL["read_run_ends"], runs):
            if row["entity_id"] != row["run_id"]:
                found[row["run_id"]].append(event_of(row))
    return found


async def read_event(connection: Connection, event_id: UUID) -> Event | None:
    """One event, or None."""
    row = await connection.fetchrow(SQL["read_event"], event_id)
    return None if row is None else event_of(row)


async def read_head(connection: Connection, stream: Stream) -> Head | None:
    """The head of a stream, or None when nothing was ever appended to it."""
    row = await connection.fetchrow(SQL["read_head"], stream.type, stream.id)
    return None if row is None else Head(row["seq"], row["hash"])
