"""Whatever the history and however it is cut into batches: live, rebuilt and computed by hand are the same rows."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentos_projector import tables
from agentos_projector.apply import Applier
from agentos_projector.projections import PROJECTIONS
from agentos_projector.rebuild import rebuild
from agentos_shared.bus.consumer import Consumer, Limits
from agentos_shared.contracts.positions import Hint, Range, StreamKey
from agentos_shared.domain.envelope import Event
from agentos_shared.host.lifecycle import CLOCK, RNG
from agentos_shared.store.checkpoints import ConnectionStore
from tests.fixtures import work
from tests.fixtures.projecting import connected, expected_rows, insert, read_rows
from tests.fixtures.stack import Postgres
from tests.fixtures.work import Work

JSON = {"input", "output", "error", "tags", "metadata", "content_json"}

rooms = st.integers(0, 2)
happenings = st.one_of(
    st.tuples(st.just("message"), rooms),
    st.tuples(st.just("thread"), rooms),
    st.tuples(st.just("run"), rooms, st.integers(0, 2), st.integers(0, 60)),
    st.tuples(st.just("run"), rooms, st.just(0), st.integers(0, 60)),
    st.tuples(st.just("project"), st.integers(1, 7)),
)


class Silent:
    attached = True

    async def moved(self, done: Sequence[Range]) -> None:
        return


def happen(history: Work, example: int, what: tuple[Any, ...], begun: set[str]) -> list[Event]:
    """The events of one happening; what it needs first is created with it."""
    room = f"room_{example}_{what[1]}"
    made: list[Event] = []
    if room not in begun:
        begun.add(room)
        made.append(history.room(room))
    match what[0]:
        case "message":
            made.append(history.message(room, f"th_{room}"))
        case "thread":
            made.append(history.thread(room, f"th_{room}_{len(history.events)}"))
        case _:
            made += history.live(room, f"run_{room}_{what[2]}", what[3])
    return made


async def work_rows(connection: Any) -> dict[str, list[dict[str, Any]]]:
    rows = {}
    for table, key in work.TABLES.items():
        order = ", ".join(f'{column} collate "C"' if column.endswith("_id") else column for column in key)
        found = await connection.fetch(f"select * from proj.{table} order by {order}")
        rows[table] = [
            {name: orjson.loads(value) if name in JSON and value is not None else value for name, value in row.items()}
            for row in found
        ]
    return rows


async def test_live_rebuilt_and_computed_rows_are_equal(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentos_projector.rebuild.CHUNK_EVENTS", 5)
    history = Work()
    examples = iter(range(10_000))
    async with connected(postgres.owner_url) as db:
        own = await tables.open_session(postgres.projector_url)
        assert await tables.prepare(own, PROJECTIONS)

        async def check() -> None:
            assert await read_rows(db) == expected_rows(history.events)
            assert await work_rows(db) == work.expected_rows(history.events)
            assert await db.fetchval("select count(*) from proj.proj_parked") == 0

        @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(st.lists(happenings, min_size=1, max_size=40), st.integers(0, 2**16))
        async def example(script: list[tuple[Any, ...]], seed: int) -> None:
            rng = random.Random(seed)
            number, begun, waiting = next(examples), set[str](), list[Event]()
            for what in [*script, ("project", 3)]:
                if what[0] != "project":
                    waiting += happen(history, number, what, begun)
                    continue
                await insert(db, waiting)
                consumer = Consumer(
                    "test",
                    store=ConnectionStore(own, "proj"),
                    bus=Silent(),
                    clock=CLOCK,
                    rng=RNG,
                    effects=Applier(PROJECTIONS),
                    limits=Limits(batch_events=what[1], page=2),
                )
                hints = [Hint(StreamKey(e.stream_type, e.stream_id), e.stream_seq) for e in waiting]
                rng.shuffle(hints)
                await consumer.on_hints(hints[: rng.randint(0, len(hints))])
                await consumer.reconcile()
                waiting = []
            await check()
            await rebuild(postgres.projector_url, projections=PROJECTIONS)
            await check()

        await run(example)
        await own.close()


async def run(example: Any) -> None:
    """Hypothesis calls plain functions; this one's coroutines run on the loop of the test, from another thread."""
    loop = asyncio.get_running_loop()
    inner = example.hypothesis.inner_test

    def sync(*args: Any, **kwargs: Any) -> None:
        asyncio.run_coroutine_threadsafe(inner(*args, **kwargs), loop).result(60)

    example.hypothesis.inner_test = sync
    await asyncio.to_thread(example)
