"""The projector against real Postgres and NATS: hints of every kind lead to the same rows."""

import random
from typing import Any

import httpx
import orjson
import pytest

from agentos_shared.contracts import subjects
from agentos_shared.contracts.positions import decode_ping
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


@pytest.fixture
def servers(postgres: Postgres, nats: Nats) -> tuple[str, str, str, str]:
    """Owner's and projector's Postgres URL, API's and projector's NATS URL."""
    return postgres.owner_url, postgres.projector_url, nats.url("api"), nats.url("projector")


async def _same(connection: Any, history: History) -> bool:
    return await read_rows(connection) == expected_rows(history.events)


async def test_each_row_is_what_its_event_says(servers: tuple[str, str, str, str]) -> None:
    owner, own, api, bus = servers
    history = History()
    async with connected(owner) as db, hinting(api) as hints, projecting(own, bus) as projector:
        await until(lambda: projector.attached)
        made = [history.room("room_1"), history.thread("room_1", "th_1"), history.message("room_1", "th_1", "Grüße 🙂")]
        await insert(db, made)
        await hints.publish(made)
        await until(lambda: _same(db, history))
        assert await checkpoints(db) == {"room_1": 3}


async def test_a_lone_event_is_there_within_milliseconds(servers: tuple[str, str, str, str]) -> None:
    owner, own, api, bus = servers
    history = History()
    async with connected(owner) as db, hinting(api) as hints, projecting(own, bus) as projector:
        await until(lambda: projector.attached)
        first = [history.room("room_1"), history.thread("room_1", "th_1")]
        await insert(db, first)
        await hints.publish(first)
        await until(lambda: _same(db, history))
        seconds = []
        for _ in range(5):
            event = history.message("room_1", "th_1")
            await insert(db, [event])
            await hints.publish([event])
            seconds.append(await until(lambda: _same(db, history)))
        # Far below any time-out of pulling or comparing; a generous bound for a busy machine.
        assert sorted(seconds)[2] < 0.2


@pytest.mark.parametrize("seed", range(3))
async def test_lost_repeated_and_reordered_hints_change_nothing(servers: tuple[str, str, str, str], seed: int) -> None:
    owner, own, api, bus = servers
    rng = random.Random(seed)
    history = History()
    async with connected(owner) as db, hinting(api) as hints, projecting(own, bus) as projector:
        await until(lambda: projector.attached)
        for _ in range(4):
            made = history.fill(5, 10)
            await insert(db, made)
            told = [event for event in made for _ in range(rng.choice((0, 1, 1, 3)))] + rng.sample(history.events, 10)
            rng.shuffle(told)
            await hints.publish(told)
        await until(lambda: _same(db, history))


async def test_a_tail_that_no_hint_tells_of_is_found(servers: tuple[str, str, str, str]) -> None:
    owner, own, api, bus = servers
    history = History()
    async with connected(owner) as db, hinting(api), projecting(own, bus) as projector:
        await until(lambda: projector.attached)
        await insert(db, history.fill(2, 3))
        assert await until(lambda: _same(db, history), 8) < 7


async def test_what_happened_while_it_was_away_is_there_when_it_starts(servers: tuple[str, str, str, str]) -> None:
    owner, own, api, bus = servers
    history = History()
    async with connected(owner) as db, hinting(api):
        await insert(db, history.fill(30, 10))
        async with projecting(own, bus):
            await until(lambda: _same(db, history))
        more = history.fill(3, 3)
        await insert(db, more)
        async with projecting(own, bus):
            await until(lambda: _same(db, history))


async def test_a_deleted_jetstream_stream_costs_only_delay(servers: tuple[str, str, str, str]) -> None:
    owner, own, api, bus = servers
    history = History()
    async with connected(owner) as db, hinting(api) as hints, projecting(own, bus) as projector:
        await until(lambda: projector.attached)
        await hints.delete_stream()
        await until(lambda: not projector.attached, 15)
        await insert(db, history.fill(2, 2))
        await until(lambda: _same(db, history), 3)
        await hints.create_stream()
        await until(lambda: projector.attached)
        more = history.fill(1, 1)
        await insert(db, more)
        await hints.publish(more)
        await until(lambda: _same(db, history), 3)


async def test_readers_are_told_what_moved(servers: tuple[str, str, str, str]) -> None:
    owner, own, api, bus = servers
    history = History()
    async with connected(owner) as db, hinting(api) as hints, projecting(own, bus) as projector:
        await until(lambda: projector.attached)
        pings: list[bytes] = []

        async def on_ping(message: Any) -> None:
            pings.append(message.data)

        await hints._client.subscribe(subjects.PING_PROJECTED, cb=on_ping)
        await hints._client.flush()
        made = history.fill(1, 2)
        await insert(db, made)
        await hints.publish(made)
        room = made[0].stream_id
        await until(lambda: any(decode_ping(ping)[0].get(f"room/{room}") == 4 for ping in pings))


async def test_two_projectors_share_the_work_and_apply_nothing_twice(servers: tuple[str, str, str, str]) -> None:
    owner, own, api, bus = servers
    history = History()
    async with (
        connected(owner) as db,
        hinting(api) as hints,
        projecting(own, bus) as first,
        projecting(own, bus) as second,
    ):
        await until(lambda: first.attached and second.attached)
        for _ in range(10):
            made = history.fill(20, 5)
            await insert(db, made)
            await hints.publish(made)
        # A second application would break a key, and park the stream.
        await until(lambda: _same(db, history))
        assert await db.fetchval("select count(*) from proj.proj_parked") == 0


async def test_it_tells_how_it_is(servers: tuple[str, str, str, str], unused_tcp_port: int) -> None:
    owner, own, api, bus = servers
    history = History()
    async with (
        connected(owner) as db,
        hinting(api) as hints,
        projecting(own, bus, unused_tcp_port) as projector,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{unused_tcp_port}") as http,
    ):
        await until(lambda: projector.attached)
        made = history.fill(1, 5)
        await insert(db, made)
        await hints.publish(made)
        await until(lambda: _same(db, history))

        async def ready() -> bool:
            return (await http.get("/readyz")).status_code == 200

        await until(ready)
        assert (await http.get("/healthz")).json()["ok"] is True
        assert set((await http.get("/readyz")).json()["checks"]) == {"postgres", "projections", "nats"}
        metrics = (await http.get("/metrics")).text
        assert 'agentos_consumer_lag_events{consumer="projector"} 0.0' in metrics
        assert "agentos_projection_delay_seconds_bucket" in metrics
        assert (await http.get("/nothing")).status_code == 404
        assert (await http.post("/metrics")).status_code == 405
        reply = await hints._client.request(subjects.health("projector"), b"", timeout=2)
        assert orjson.loads(reply.data) == {"ok": True, "detail": None}
