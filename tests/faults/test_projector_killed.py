"""The projector, its rebuild and its bus are killed at the worst moments; afterwards every event counts once."""

import asyncio
import subprocess
import sys
from typing import Any

import pytest

from tests.fixtures.live import MortalNats, until
from tests.fixtures.projecting import (
    Hints,
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

pytestmark = pytest.mark.timeout(60)


async def _same(connection: Any, history: History) -> bool:
    return await read_rows(connection) == expected_rows(history.events)


async def _heads_reached(connection: Any, history: History) -> None:
    heads = {event.stream_id: event.stream_seq for event in history.events}
    assert await checkpoints(connection) == heads
    assert await connection.fetchval("select count(*) from proj.proj_parked") == 0


@pytest.mark.parametrize("place", ["projector.before_commit", "projector.after_commit"])
async def test_killed_around_the_commit(postgres: Postgres, nats: Nats, start_projector: Any, place: str) -> None:
    history = History()
    urls = postgres.projector_url, nats.url("projector")
    async with connected(postgres.owner_url) as db, hinting(nats.url("api")) as hints:
        made = history.fill(10, 5)
        await insert(db, made)
        await hints.publish(made)
        for _ in range(2):
            dying = start_projector(*urls, env={"AGENTOS_FAILPOINTS": f"{place}=exit:1"})
            assert await dying.wait() == 137
            more = history.fill(5, 2)
            await insert(db, more)
            await hints.publish(more)
        start_projector(*urls)
        await until(lambda: _same(db, history))
        await _heads_reached(db, history)


async def test_killed_at_any_time_in_a_backlog(postgres: Postgres, nats: Nats, start_projector: Any) -> None:
    history = History()
    urls = postgres.projector_url, nats.url("projector")
    async with connected(postgres.owner_url) as db, hinting(nats.url("api")) as hints:
        await insert(db, history.fill(200, 60))
        for rows in (1, 3000, 7000):
            victim = start_projector(*urls)

            async def some(rows: int = rows) -> bool:
                found = await read_rows_count(db)
                return found >= rows

            await until(some)
            victim.kill()
            more = history.fill(2, 2)
            await insert(db, more)
            await hints.publish(more)
        start_projector(*urls)
        await until(lambda: _same(db, history), 20)
        await _heads_reached(db, history)


async def read_rows_count(connection: Any) -> int:
    if await connection.fetchval("select to_regclass('proj.proj_messages')") is None:
        return 0
    count: int = await connection.fetchval("select count(*) from proj.proj_messages")
    return count


async def test_the_other_takes_over_when_one_of_two_dies(postgres: Postgres, nats: Nats, start_projector: Any) -> None:
    history = History()
    urls = postgres.projector_url, nats.url("projector")
    async with connected(postgres.owner_url) as db, hinting(nats.url("api")) as hints:
        victim = start_projector(*urls)
        async with projecting(*urls) as other:
            await until(lambda: other.attached)
            first = history.fill(20, 5)
            await insert(db, first)
            await hints.publish(first)
            await until(lambda: _same(db, history))
            more = history.fill(20, 5)
            await insert(db, more)
            await hints.publish(more[: len(more) // 2])
            victim.kill()
            await hints.publish(more[len(more) // 2 :])
            # Hints that the dead one had taken are lost for now; the comparison needs none.
            await until(lambda: _same(db, history), 8)
            await _heads_reached(db, history)


async def test_stops_cleanly_when_asked(postgres: Postgres, nats: Nats, start_projector: Any) -> None:
    history = History()
    async with connected(postgres.owner_url) as db, hinting(nats.url("api")):
        await insert(db, history.fill(2, 2))
        running = start_projector(postgres.projector_url, nats.url("projector"))
        await until(lambda: _same(db, history))
        running.process.terminate()
        assert await running.wait() == 0


async def test_nats_is_restarted_and_then_loses_its_store(
    postgres: Postgres, mortal_nats: MortalNats, start_projector: Any
) -> None:
    history = History()
    urls = postgres.projector_url, mortal_nats.url_of("projector")
    async with connected(postgres.owner_url) as db, hinting(mortal_nats.url) as hints, projecting(*urls) as projector:
        await until(lambda: projector.attached)
        for wipe in (False, True):
            mortal_nats.kill()
            await until(lambda: not projector.attached)
            away = history.fill(5, 2)
            await insert(db, away)
            # Without a bus the projector compares, several times a second.
            assert await until(lambda: _same(db, history)) < 3
            if wipe:
                mortal_nats.wipe()
            mortal_nats.start()
            await asyncio.to_thread(mortal_nats.wait_ready)
            await until(lambda: _create(hints))
            await until(lambda: projector.attached)
            more = history.fill(5, 2)
            await insert(db, more)
            await hints.publish(more)
            await until(lambda: _same(db, history), 4)
        await _heads_reached(db, history)


async def _create(hints: Hints) -> bool:
    try:
        await hints.create_stream()
    except Exception:
        return False
    return True


async def test_the_database_goes_away_and_comes_back(postgres: Postgres, nats: Nats) -> None:
    history = History()
    urls = postgres.projector_url, nats.url("projector")
    async with connected(postgres.owner_url) as db, hinting(nats.url("api")) as hints, projecting(*urls) as projector:
        await until(lambda: projector.attached)
        made = history.fill(5, 2)
        await insert(db, made)
        await db.execute("alter role agentos_projector connection limit 0")
        try:
            await db.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'agentos-projector'"
            )
            await hints.publish(made)

            async def unwell() -> bool:
                return not (await projector.health.ready()).ok

            await until(unwell)
        finally:
            await db.execute("alter role agentos_projector connection limit -1")
        await until(lambda: _same(db, history))
        await _heads_reached(db, history)


REBUILD = """
import asyncio, sys
from agentos_projector.rebuild import rebuild
print(asyncio.run(rebuild(sys.argv[1])).events)
"""


async def test_a_rebuild_killed_before_its_switch_changes_nothing(
    postgres: Postgres, nats: Nats, start_projector: Any
) -> None:
    history = History()
    urls = postgres.projector_url, nats.url("projector")
    async with connected(postgres.owner_url) as db, hinting(nats.url("api")) as hints, projecting(*urls) as projector:
        await until(lambda: projector.attached)
        made = history.fill(20, 10)
        await insert(db, made)
        await hints.publish(made)
        await until(lambda: _same(db, history))
        oids = await db.fetchval("select 'proj.proj_messages'::regclass::oid")

        async def run(failpoint: str) -> "subprocess.CompletedProcess[str]":
            env = {"AGENTOS_FAILPOINTS": failpoint, "PATH": ""}
            command = [sys.executable, "-c", REBUILD, postgres.projector_url]
            return await asyncio.to_thread(subprocess.run, command, env=env, capture_output=True, text=True, timeout=30)

        for place in ("projector_rebuild.before_commit", "rebuild.before_switch"):
            assert (await run(place)).returncode == 137
            assert await db.fetchval("select 'proj.proj_messages'::regclass::oid") == oids
            more = history.fill(2, 2)
            await insert(db, more)
            await hints.publish(more)
            await until(lambda: _same(db, history))
        done = await run("")
        assert (done.returncode, done.stdout.splitlines()[-1]) == (0, str(len(history.events))), done.stderr
        assert await db.fetchval("select 'proj.proj_messages'::regclass::oid") != oids
        assert await _same(db, history)
        await _heads_reached(db, history)


async def test_stops_at_once_when_asked_during_its_own_rebuild(
    postgres: Postgres, nats: Nats, start_projector: Any
) -> None:
    history = History()
    async with connected(postgres.owner_url) as db, hinting(nats.url("api")):
        await insert(db, history.fill(3, 3))
        first = start_projector(postgres.projector_url, nats.url("projector"))
        await until(lambda: _same(db, history))
        first.process.terminate()
        assert await first.wait() == 0
        before = await read_rows(db)
        await db.execute("update proj.proj_definition set fingerprint = 'old'")
        async with db.transaction():
            # Somebody reads, so the rebuild cannot switch and tries again and again.
            await db.execute("lock table proj.proj_rooms in access share mode")
            second = start_projector(postgres.projector_url, nats.url("projector"))
            async with connected(postgres.owner_url) as other:

                async def building() -> bool:
                    return await other.fetchval("select to_regclass('proj.proj_rooms__next')") is not None

                await until(building)
                second.process.terminate()
                assert await until(lambda: second.process.poll() is not None) < 5
                assert second.process.poll() == 0
                assert await read_rows(other) == before
