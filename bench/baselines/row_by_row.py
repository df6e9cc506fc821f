"""The projector that most would write: for each event one transaction, which writes the row and moves the checkpoint.

Takes messages from the store, and writes to tables of its own in schema ``bench``.
"""

import json
import sys
import time
from typing import Any, Final

import asyncpg
import uvloop

SCHEMA: Final = """
create schema if not exists bench;
drop table if exists bench.messages, bench.checkpoints;
create table bench.messages (
    message_id text primary key, thread_id text, room_id text, sender_id text, content_md text, created_at timestamptz
);
create index on bench.messages (thread_id, created_at);
create table bench.checkpoints (stream_id text primary key, seq bigint not null);
"""
READ: Final = """
select stream_id, stream_seq, thread_id, room_id, recorded_at, evt_events.data from evt_events
where stream_type = 'room' and event_type = 'message.created' limit 20000
"""
WRITE: Final = "insert into bench.messages values ($1, $2, $3, $4, $5, $6) on conflict do nothing"
MOVE: Final = (
    "insert into bench.checkpoints values ($1, $2) on conflict (stream_id) do update set seq = excluded.seq "
    "where checkpoints.seq < excluded.seq"
)


async def measure(spec: dict[str, Any]) -> dict[str, Any]:
    """Projects for some seconds, or until all that was read is through. The reading itself is not counted."""
    connection = await asyncpg.connect(spec["url"])
    await connection.execute(SCHEMA)
    rows = await connection.fetch(READ)
    done = 0
    started = time.perf_counter()
    for row in rows:
        data = json.loads(row["data"])
        async with connection.transaction():
            await connection.execute(
                WRITE,
                data["message_id"],
                row["thread_id"],
                row["room_id"],
                data["sender_id"],
                data["content_md"],
                row["recorded_at"],
            )
            await connection.execute(MOVE, row["stream_id"], row["stream_seq"])
        done += 1
        if time.perf_counter() > started + spec["seconds"]:
            break
    took = time.perf_counter() - started
    await connection.close()
    return {"per_s": done / took}


if __name__ == "__main__":
    print(json.dumps(uvloop.run(measure(json.load(sys.stdin)))))
