"""Whatever the history and however it is cut into batches: live, rebuilt and computed by hand are the same rows."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentos_projector import tables
from agentos_projector.apply import Applier
from agentos_projector.projections import PROJECTIONS
from agentos_projector.projections.projection import Projection
from agentos_projector.rebuild import rebuild
from agentos_shared.bus.consumer import Consumer, Limits
from agentos_shared.contracts.positions import Hint, Range, StreamKey
from agentos_shared.domain.envelope import Event
from agentos_shared.host.lifecycle import CLOCK, RNG
from agentos_shared.store.checkpoints import ConnectionStore
from tests.fixtures.projecting import History, connected, expected_rows, insert, read_rows
from tests.fixtures.stack import Postgres

VERBS = ("created", "claimed", "released", "completed")

#: A noun with states, as the guide in projection.py tells to write one.
RUNS = Projection(
    "proj_runs",
    {
        "table": """create table {table} (
            run_id text primary key, status text not null, claims int not null, first_claimed timestamptz,
            updated_at timestamptz not null, entity_version int not null)""",
        "indexes": "create index {table}_status on {table} (status)",
        "created": """insert into {table} (run_id, status, claims, updated_at, entity_version)
            select e.entity_id, 'queued', 0, e.recorded_at, e.entity_version from {events}
            where e.event_type = 'run.created'""",
        "changed": """update {table} t set
                status = c.status, claims = t.claims + c.claims,
                first_claimed = coalesce(t.first_claimed, c.first_claimed),
                updated_at = c.updated_at, entity_version = c.entity_version
            from (
                select e.entity_id,
                    (array_agg(case e.event_type when 'run.claimed' then 'running' when 'run.released' then 'queued'
                        else 'succeeded' end order by e.stream_seq desc))[1] as status,
                    count(*) filter (where e.event_type = 'run.claimed') as claims,
                    min(e.recorded_at) filter (where e.event_type = 'run.claimed') as first_claimed,
                    max(e.recorded_at) as updated_at, max(e.entity_version) as entity_version
                from {events}
                where e.event_type in ('run.claimed', 'run.released', 'run.completed')
                group by e.entity_id
            ) c where t.run_id = c.entity_id""",
    },
    {
        "created": frozenset({"run.created"}),
        "changed": frozenset({"run.claimed", "run.released", "run.completed"}),
    },
)
ALL = (*PROJECTIONS, RUNS)

rooms = st.integers(0, 2)
happenings = st.one_of(
    st.tuples(st.just("message"), rooms),
    st.tuples(st.just("thread"), rooms),
    st.tuples(st.just("run"), rooms, st.integers(0, 2), st.sampled_from(VERBS[1:])),
    st.tuples(st.just("project"), st.integers(1, 7)),
)


class Silent:
    attached = True

    async def moved(self, done: Sequence[Range]) -> None:
        return


def happen(history: History, example: int, what: tuple[Any, ...], begun: set[str]) -> list[Event]:
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
            run = f"run_{room}_{what[2]}"
            if run not in begun:
                begun.add(run)
                made.append(history.run(room, run, "created"))
            made.append(history.run(room, run, what[3]))
    return made


def expected_runs(events: Sequence[Event]) -> list[tuple[Any, ...]]:
    """The runs by a fold, one event at a time."""
    status = {"created": "queued", "claimed": "running", "released": "queued", "completed": "succeeded"}
    runs: dict[str, tuple[Any, ...]] = {}
    for event in events:
        if event.entity_type == "run":
            verb = event.event_type.removeprefix("run.")
            _, _, claims, first, _, _ = runs.get(event.entity_id, ("", "", 0, None, None, 0))
            if verb == "claimed":
                claims, first = claims + 1, first or event.recorded_at
            runs[event.entity_id] = (
                event.entity_id,
                status[verb],
                claims,
                first,
                event.recorded_at,
                event.entity_version,
            )
    return sorted(runs.values())


async def test_live_rebuilt_and_computed_rows_are_equal(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentos_projector.rebuild.CHUNK_EVENTS", 5)
    history = History()
    examples = iter(range(10_000))
    async with connected(postgres.owner_url) as db:
        own = await tables.open_session(postgres.projector_url)
        assert await tables.prepare(own, ALL)

        async def check() -> None:
            assert await read_rows(db) == expected_rows(history.events)
            runs = await db.fetch('select * from proj.proj_runs order by run_id collate "C"')
            assert [tuple(row) for row in runs] == expected_runs(history.events)
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
                    effects=Applier(ALL),
                    limits=Limits(batch_events=what[1], page=2),
                )
                hints = [Hint(StreamKey(e.stream_type, e.stream_id), e.stream_seq) for e in waiting]
                rng.shuffle(hints)
                await consumer.on_hints(hints[: rng.randint(0, len(hints))])
                await consumer.reconcile()
                waiting = []
            await check()
            await rebuild(postgres.projector_url, projections=ALL)
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
