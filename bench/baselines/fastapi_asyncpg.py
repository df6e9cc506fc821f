"""What most would write: FastAPI, a pydantic body, and one asyncpg transaction per request.

The transaction moves the head of the stream (a row lock), inserts the event and its outbox row. No hash chain, no check
that the thread exists, no idempotency: less than ours does.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import asyncpg
from fastapi import FastAPI

from bench.baselines.message import Message

pool: "asyncpg.Pool[asyncpg.Record]"


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Holds the pool."""
    global pool
    async with asyncpg.create_pool(os.environ["BASELINE_POSTGRES_URL"], min_size=16, max_size=16) as pool:
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/v1/threads/{thread_id}/messages", status_code=201)
async def create_message(thread_id: str, message: Message) -> dict[str, str | int]:
    """Append one event."""
    event_id, message_id = uuid4(), f"msg_{uuid4().hex}"
    async with pool.acquire() as connection, connection.transaction():
        seq = await connection.fetchval(
            "insert into heads as h (stream, seq) values ($1, 1) "
            "on conflict (stream) do update set seq = h.seq + 1 returning seq",
            thread_id,
        )
        await connection.execute(
            "insert into events (stream, seq, event_id, type, data) values ($1, $2, $3, 'message.created', $4)",
            thread_id,
            seq,
            event_id,
            message.model_dump_json(),
        )
        await connection.execute("insert into outbox (stream, seq) values ($1, $2)", thread_id, seq)
    return {"message_id": message_id, "event_id": str(event_id), "stream_seq": seq}
