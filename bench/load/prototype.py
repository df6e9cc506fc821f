"""The least that a group commit can be: no envelope, no decider, no entities; nothing but number, hash and insert.

It shows what the rest costs. Heads are kept in memory; one statement proves and moves them and inserts the rows.
"""

import asyncio
import gc
import hashlib
import itertools
import json
import os
import sys
import time
import uuid
from collections import deque
from typing import Any, Final

import asyncpg
import orjson
import uvloop

from bench.load.sample import DATA
from bench.load.timing import percentiles

SCHEMA: Final = """
create table if not exists heads (stream text primary key, seq bigint not null, hash text) with (fillfactor = 50);
create table if not exists events (
    stream text, seq bigint, event_id uuid not null, type text not null, data jsonb not null, hash text not null,
    recorded_at timestamptz not null default now(), primary key (stream, seq)
);
create unique index if not exists events_id on events (event_id);
create table if not exists outbox (position bigint generated always as identity primary key, stream text, seq bigint);
"""

APPEND: Final = """
with moved as (
    update heads h set seq = n.seq, hash = n.hash
    from unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[]) as n(stream, expected, seq, hash)
    where h.stream = n.stream and h.seq = n.expected returning 1
), inserted as (
    insert into events (stream, seq, event_id, type, data, hash)
    select s, q, i, 'message.created', d::jsonb, h
    from unnest($5::text[], $6::bigint[], $7::uuid[], $8::text[], $9::text[]) as n(s, q, i, d, h) returning stream, seq
), queued as (
    insert into outbox (stream, seq) select stream, seq from inserted
)
select count(*) from moved
"""

MAX_BATCH: Final = 256


class GroupCommit:
    """One task drains a queue without lingering; each caller has a future."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]", streams: list[str]) -> None:
        self._connection = connection
        self._heads: dict[str, tuple[int, str]] = dict.fromkeys(streams, (0, ""))
        self._queue: deque[tuple[str, str, asyncio.Future[int]]] = deque()
        self._wake = asyncio.Event()

    def append(self, stream: str, data: str) -> "asyncio.Future[int]":
        """The future gives the number in the stream, once committed."""
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._queue.append((stream, data, future))
        self._wake.set()
        return future

    async def drain(self) -> None:
        """Until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                await self._commit([self._queue.popleft() for _ in range(min(MAX_BATCH, len(self._queue)))])

    async def _commit(self, batch: list[tuple[str, str, "asyncio.Future[int]"]]) -> None:
        before: dict[str, int] = {}
        rows = []
        for stream, data, _ in batch:
            seq, previous = self._heads[stream]
            before.setdefault(stream, seq)
            digest = hashlib.sha256(b"%b\x00%b" % (previous.encode(), data.encode())).hexdigest()
            self._heads[stream] = (seq + 1, digest)
            rows.append((stream, seq + 1, uuid.UUID(bytes=os.urandom(16), version=4), data, digest))
        moved = sorted(before)
        held = await self._connection.fetchval(
            APPEND,
            moved,
            [before[stream] for stream in moved],
            [self._heads[stream][0] for stream in moved],
            [self._heads[stream][1] for stream in moved],
            *(list(column) for column in zip(*rows, strict=True)),
        )
        assert held == len(moved), "only this process writes here"
        for (_, _, future), row in zip(batch, rows, strict=True):
            future.set_result(row[1])


async def measure(spec: dict[str, Any]) -> dict[str, Any]:
    """Appends for some seconds."""
    settings = {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off", "jit": "off"}
    connection = await asyncpg.connect(spec["url"], server_settings=settings)
    await connection.execute(SCHEMA)
    streams = [str(uuid.uuid4()) for _ in range(spec["streams"])]
    await connection.executemany("insert into heads (stream, seq) values ($1, 0)", [(stream,) for stream in streams])
    store = GroupCommit(connection, streams)
    task = asyncio.create_task(store.drain())
    turn = itertools.cycle(streams)
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    latencies: list[float] = []

    async def call_until(end: float) -> None:
        while (before := time.perf_counter()) < end:
            await store.append(next(turn), orjson.dumps(DATA).decode())
            latencies.append(time.perf_counter() - before)

    async def all_call(seconds: float) -> float:
        started = time.perf_counter()
        await asyncio.gather(*(call_until(started + seconds) for _ in range(spec["callers"])))
        return time.perf_counter() - started

    await all_call(spec["warm_s"])
    latencies.clear()
    cpu = time.process_time()
    took = await all_call(spec["seconds"])
    cpu = time.process_time() - cpu
    task.cancel()
    await connection.close()
    return {"per_s": len(latencies) / took, "cpu_us": cpu / len(latencies) * 1e6, **percentiles(latencies)}


if __name__ == "__main__":
    print(json.dumps(uvloop.run(measure(json.load(sys.stdin)))))
