"""sse-starlette as it is usually used: a queue per client, and each client's generator makes the JSON anew."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from itertools import count
from typing import Any
from uuid import uuid4

from fastapi import FastAPI
from sse_starlette import EventSourceResponse  # type: ignore[import-not-found]

from bench.baselines.message import Message

app = FastAPI()
clients: set["asyncio.Queue[dict[str, Any]]"] = set()
numbers = count(1)


@app.get("/v1/streams/rooms/{room_id}")
async def stream(room_id: str) -> Any:
    """The events of the room, as they come."""
    queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    clients.add(queue)

    async def events() -> AsyncIterator[dict[str, str]]:
        try:
            while True:
                event = await queue.get()
                yield {"id": str(event["stream_seq"]), "data": json.dumps(event)}
        finally:
            clients.discard(queue)

    return EventSourceResponse(events())


@app.post("/v1/threads/{thread_id}/messages", status_code=201)
async def create_message(thread_id: str, message: Message) -> dict[str, str]:
    """Hand an event with the members of our envelope to every client. Nothing is stored."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    message_id, event_id = f"msg_{uuid4().hex[:26]}", str(uuid4())
    event = {
        "event_id": event_id,
        "event_type": "message.created",
        "event_version": 1,
        "occurred_at": now,
        "recorded_at": now,
        "workspace_id": "ws_dev",
        "mission_id": None,
        "room_id": "room_01JDAGZ3K8R4W5T6Y7V8X9Z0AB",
        "thread_id": thread_id,
        "run_id": None,
        "step_id": None,
        "actor_type": message.sender_type,
        "actor_id": message.sender_id,
        "actor_principal_id": event_id,
        "zone": "supervised",
        "stream_type": "room",
        "stream_id": "room_01JDAGZ3K8R4W5T6Y7V8X9Z0AB",
        "stream_seq": next(numbers),
        "entity_type": "message",
        "entity_id": message_id,
        "entity_version": 1,
        "correlation_id": event_id,
        "causation_id": None,
        "redaction_level": "none",
        "contains_secrets": False,
        "data": {"message_id": message_id, **message.model_dump()},
        "idempotency_key": None,
        "prev_event_hash": "sha256:" + "0" * 64,
        "event_hash": "sha256:" + "0" * 64,
    }
    for queue in clients:
        queue.put_nowait(event)
    return {"message_id": message_id, "event_id": event_id}
