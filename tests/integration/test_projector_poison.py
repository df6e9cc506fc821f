"""An event that cannot be applied stops its own stream and no other; what passes by itself stops none."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from agentos_projector import operations, tables
from agentos_shared.contracts.positions import StreamKey
from agentos_shared.host import metrics
from tests.fixtures.live import until
from tests.fixtures.projecting import (
    History,
    checkpoints,
    connected,
    expected_rows,
    hinting,
    insert,
    projecting,
    read_rows,
)
from tests.fixtures.stack import Nats, Postgres

ROOM = StreamKey("room", "room_bad")


class Scene:
    """A projector at work, a room that is poisoned, and a way to tell the projector of events."""

    def __init__(self, db: Any, hints: Any, own_url: str) -> None:
        self.db = db
        self.hints = hints
        self.own_url = own_url
        self.history = History()

    async def happen(self, *events: Any) -> None:
        await insert(self.db, events)
        await self.hints.publish(events)

    async def shows(self, *without: str) -> bool:
        """All events are projected, without those of these ids."""
        wanted = [event for event in self.history.events if event.event_id not in without]
        return await read_rows(self.db) == expected_rows(wanted)

    async def parked(self) -> list[Any]:
        return list(await self.db.fetch("select * from proj.proj_parked order by stream_id"))

    async def retry(self) -> operations.Retried:
        connection = await tables.open_session(self.own_url)
        try:
            return await operations.retry(connection)
        finally:
            await connection.close()


@pytest.fixture
async def scene(postgres: Postgres, nats: Nats) -> AsyncIterator[Scene]:
    async with (
        connected(postgres.owner_url) as db,
        hinting(nats.url("api")) as hints,
        projecting(postgres.projector_url, nats.url("projector")) as projector,
    ):
        await until(lambda: projector.attached)
        yield Scene(db, hints, postgres.projector_url)


async def test_the_stream_stops_right_before_the_event_and_the_others_go_on(scene: Scene) -> None:
    history = scene.history
    start = [history.room(ROOM.stream_id), history.thread(ROOM.stream_id, "th_bad")]
    good = history.message(ROOM.stream_id, "th_bad")
    bad = history.message(ROOM.stream_id, "th_bad", content_md=None)
    after = history.message(ROOM.stream_id, "th_bad")
    others = history.fill(20, 5)
    await scene.happen(*others[:40], *start, good, bad, after, *others[40:])
    await until(lambda: scene.shows(bad.event_id, after.event_id))

    (parked,) = await scene.parked()
    assert (parked["stream_id"], parked["stream_seq"], str(parked["event_id"])) == (ROOM.stream_id, 4, bad.event_id)
    assert (parked["event_type"], parked["sqlstate"], parked["attempts"]) == ("message.created", "23502", 1)
    assert "content_md" in parked["error"]
    assert (await checkpoints(scene.db))[ROOM.stream_id] == 3
    assert metrics.REGISTRY.get_sample_value("agentos_consumer_parked_streams", {"consumer": "projector"}) == 1

    more = [history.message(others[0].stream_id, others[1].entity_id), history.message(ROOM.stream_id, "th_bad")]
    await scene.happen(*more)
    await until(lambda: scene.shows(bad.event_id, after.event_id, more[1].event_id))
    assert [row["attempts"] for row in await scene.parked()] == [1]


async def test_retry_counts_until_the_cause_is_mended_then_the_stream_goes_on(scene: Scene) -> None:
    history = scene.history
    bad = history.message(ROOM.stream_id, "th_bad", content_md=None)
    after = history.message(ROOM.stream_id, "th_bad")
    await scene.happen(bad, after)
    await until(lambda: _any(scene.parked()))

    again = await scene.retry()
    assert again.resumed == []
    assert [(one.key, one.stream_seq, one.attempts) for one in again.parked] == [(ROOM, 1, 2)]

    await scene.db.execute("alter table proj.proj_messages alter content_md drop not null")
    assert await scene.retry() == operations.Retried([ROOM], [])
    assert await scene.shows()
    assert await scene.parked() == []
    later = history.message(ROOM.stream_id, "th_bad")
    await scene.happen(later)
    await until(lambda: scene.shows())


async def test_a_retry_stops_at_the_next_bad_event(scene: Scene) -> None:
    history = scene.history
    first = history.message(ROOM.stream_id, "th_bad", content_md=None)
    good = history.message(ROOM.stream_id, "th_bad")
    second = history.message(ROOM.stream_id, "th_bad", lang=None)
    await scene.happen(first, good, second)
    await until(lambda: _any(scene.parked()))
    await scene.db.execute("alter table proj.proj_messages alter content_md drop not null")

    again = await scene.retry()
    assert [(one.stream_seq, one.attempts) for one in again.parked] == [(3, 1)]
    assert await scene.shows(second.event_id)


async def test_a_hole_in_the_history_stops_the_stream_there(scene: Scene) -> None:
    history = scene.history
    made = [history.room(ROOM.stream_id), *(history.message(ROOM.stream_id, "th_bad") for _ in range(4))]
    lost = made[2]
    await insert(scene.db, [event for event in made if event is not lost])
    await scene.hints.publish(made)
    await until(lambda: _any(scene.parked()))
    (parked,) = await scene.parked()
    assert (parked["stream_seq"], parked["event_id"], parked["sqlstate"]) == (3, None, None)
    assert "EventsMissing" in parked["error"]
    assert (await checkpoints(scene.db))[ROOM.stream_id] == 2


async def test_every_stream_may_be_poisoned(scene: Scene) -> None:
    history = scene.history
    rooms = [f"room_{number}" for number in range(30)]
    bad = [history.message(room, "th", content_md=None) for room in rooms]
    await scene.happen(*bad, *history.fill(3, 3))
    await until(lambda: scene.shows(*(event.event_id for event in bad)))
    await until(lambda: _count(scene.parked(), 30))


async def test_lost_connections_stop_nothing(scene: Scene) -> None:
    history = scene.history
    for _ in range(5):
        made = history.fill(10, 3)
        await insert(scene.db, made)
        await scene.db.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'agentos-projector'"
        )
        await scene.hints.publish(made)
    await until(lambda: scene.shows())
    assert await scene.parked() == []


async def test_a_table_that_is_away_stops_nothing_for_good(scene: Scene) -> None:
    history = scene.history
    await scene.happen(*history.fill(1, 1))
    await until(lambda: scene.shows())
    await scene.db.execute("alter table proj.proj_messages rename to away")
    made = history.fill(1, 1)
    await insert(scene.db, made)
    retries = _retries()
    await scene.hints.publish(made)
    await until(lambda: _retries() > retries)
    await scene.db.execute("alter table proj.away rename to proj_messages")
    await until(lambda: scene.shows())
    assert await scene.parked() == []


async def test_status_tells_what_is_parked_and_what_waits(scene: Scene, postgres: Postgres) -> None:
    history = scene.history
    bad = history.message(ROOM.stream_id, "th_bad", content_md=None)
    good = history.fill(2, 2)
    await scene.happen(bad, *good)
    await until(lambda: scene.shows(bad.event_id))
    await until(lambda: _any(scene.parked()))
    for url in (postgres.owner_url, postgres.projector_url):
        connection = await asyncpg.connect(url)
        told = await operations.status(connection)
        await connection.close()
        assert (told.current, told.streams, told.events) == (True, 3, 9)
        assert (told.behind_streams, told.behind_events, told.oldest_waiting) == (0, 0, None)
        assert {table: rows for table, rows in told.rows.items() if rows} == {
            "proj_rooms": 2,
            "proj_threads": 2,
            "proj_messages": 4,
        }
        assert [(one.key, one.stream_seq) for one in told.parked] == [(ROOM, 1)]


async def test_status_works_before_the_projector_ever_ran(postgres: Postgres) -> None:
    async with connected(postgres.owner_url) as db:
        history = History()
        await insert(db, history.fill(2, 2))
        told = await operations.status(db)
        assert (told.current, told.behind_streams, told.behind_events) == (False, 2, 8)


def _retries() -> float:
    return metrics.REGISTRY.get_sample_value("agentos_consumer_retries_total", {"consumer": "projector"}) or 0.0


async def _any(rows: Any) -> bool:
    return bool(await rows)


async def _count(rows: Any, count: int) -> bool:
    return len(await rows) == count
