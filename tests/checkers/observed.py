"""What the stack holds after a run, read past its services: from Postgres as the owner, from NATS as an integration."""

from dataclasses import dataclass
from typing import Any

import asyncpg
import nats
import orjson
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from agentos_shared.contracts import subjects
from agentos_shared.domain.envelope import Event
from agentos_shared.store import audit
from agentos_shared.store.chain import Verdict
from agentos_shared.store.reader import event_of
from tests.fixtures.projecting import TABLES

Rows = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Message:
    """One message of JetStream, in the stream's order."""

    stream_id: str
    stream_seq: int
    event_id: str
    body: bytes


@dataclass(slots=True)
class Observed:
    """One workspace, or (``workspace_id`` None) everything.

    Attributes:
        heads: stream id -> (seq, hash).
        parked: streams that the projector gave up on.
        bad_chains: verdicts that do not hold; ``weak_guards``: what should keep the store append-only and does not.
    """

    events: list[Event]
    heads: dict[str, tuple[int, str | None]]
    outbox: int
    rows: Rows
    checkpoints: dict[str, int]
    parked: list[str]
    messages: list[Message]
    bad_chains: list[Verdict]
    weak_guards: list[str]


async def observe(postgres_url: str, nats_url: str, workspace_id: str | None = None) -> Observed:
    """Read it all. The stack must be at rest: everything is read one after the other."""
    connection = await asyncpg.connect(postgres_url)
    try:
        report = await audit.verify_store(connection, workspace_id=workspace_id)
        events = [
            event_of(row)
            for row in await connection.fetch(
                "select * from evt_events where $1::text is null or workspace_id = $1"
                " order by stream_type, stream_id, stream_seq",
                workspace_id,
            )
        ]
        heads = {
            row["stream_id"]: (row["seq"], row["hash"])
            for row in await connection.fetch(
                "select * from evt_stream_heads where $1::text is null or workspace_id = $1", workspace_id
            )
        }
        return Observed(
            events=events,
            heads=heads,
            outbox=await connection.fetchval("select count(*) from evt_outbox"),
            rows=await _rows(connection, workspace_id),
            checkpoints={
                row["stream_id"]: row["seq"]
                for row in await connection.fetch("select * from proj.proj_checkpoints")
                if row["stream_id"] in heads
            },
            parked=[row["stream_id"] for row in await connection.fetch("select * from proj.proj_parked")],
            messages=await messages(nats_url, workspace_id),
            bad_chains=report.bad,
            weak_guards=report.weak_guards,
        )
    finally:
        await connection.close(timeout=5)


async def _rows(connection: "asyncpg.Connection[Any]", workspace_id: str | None) -> Rows:
    rows: Rows = {}
    for table, key in TABLES.items():
        found = await connection.fetch(
            f'select * from proj.{table} where $1::text is null or workspace_id = $1 order by {key} collate "C"',
            workspace_id,
        )
        rows[table] = [
            {name: orjson.loads(value) if name == "labels" else value for name, value in row.items()} for row in found
        ]
    return rows


async def messages(nats_url: str, workspace_id: str | None = None) -> list[Message]:
    """Everything that an integration would get from the beginning; nothing when there is no stream."""
    client = await nats.connect(nats_url, inbox_prefix="_INBOX_integration", allow_reconnect=False)
    try:
        js = client.jetstream()
        found: list[Message] = []
        try:
            subscription = await js.pull_subscribe(
                subjects.EVENTS_SUBJECTS if workspace_id is None else f"agentos.evt.{workspace_id}.>",
                stream=subjects.EVENTS_STREAM,
                config=ConsumerConfig(
                    deliver_policy=DeliverPolicy.ALL, ack_policy=AckPolicy.NONE, mem_storage=True, inactive_threshold=10
                ),
            )
        except nats.js.errors.NotFoundError:
            return found
        consumer = await subscription.consumer_info()
        left = consumer.num_pending or 0
        while left > 0:
            batch = await subscription.fetch(min(left, 500), timeout=5)
            left -= len(batch)
            for message in batch:
                headers = message.headers or {}
                found.append(
                    Message(
                        subjects.stream_of(message.subject)[1],
                        int(headers[subjects.HEADER_STREAM_SEQ]),
                        str(orjson.loads(message.data)["event_id"]),
                        message.data,
                    )
                )
        await subscription.unsubscribe()
        await js.delete_consumer(subjects.EVENTS_STREAM, consumer.name)
        return found
    finally:
        await client.close()
