"""A rebuild beside the live tables: equal rows, no gap for readers, nothing lost when it is killed."""

import asyncio
from typing import Any

import pytest

from agentos_projector import tables
from agentos_projector.rebuild import Progress, RebuildInterrupted, RebuildRunning, SwitchBlocked, rebuild
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


async def _names(connection: Any) -> set[str]:
    rows = await connection.fetch("select relname from pg_class where relnamespace = 'proj'::regnamespace")
    return {row["relname"] for row in rows}


@pytest.mark.parametrize("role", ["owner", "projector"])
async def test_the_result_is_equal_row_for_row(
    servers: tuple[str, str, str, str], postgres: Postgres, role: str
) -> None:
    owner, own, api, bus = servers
    history = History()
    async with connected(owner) as db, hinting(api) as hints, projecting(own, bus) as live:
        await until(lambda: live.attached)
        made = history.fill(30, 20)
        await insert(db, made)
        await hints.publish(made)

        async def same() -> bool:
            return await read_rows(db) == expected_rows(history.events)

        await until(same)
        before, names, positions = await read_rows(db), await _names(db), await checkpoints(db)
        await until(lambda: _has(db, "proj_messages_words"))
        names = await _names(db)
        told: list[Progress] = []
        done = await rebuild(owner if role == "owner" else own, on_progress=told.append)
        assert (done.events, done.streams, done.parked) == (660, 30, 0)
        assert await read_rows(db) == before
        assert await checkpoints(db) == positions
        assert await _names(db) == names
        assert (told[-1].phase, told[-1].done, told[-1].total) == ("done", 660, 660)
        async with connected(postgres.api_url) as reader:
            assert await read_rows(reader) == before
        # The live projector goes on with the new tables.
        more = history.fill(1, 1)
        await insert(db, more)
        await hints.publish(more)
        await until(same)


async def _has(connection: Any, name: str) -> bool:
    return name in await _names(connection)


async def test_events_that_come_meanwhile_are_in_and_readers_never_see_less(servers: tuple[str, str, str, str]) -> None:
    owner, own, api, bus = servers
    history = History()
    stop = asyncio.Event()
    async with connected(owner) as db, connected(owner) as reader, hinting(api) as hints, projecting(own, bus) as live:
        await until(lambda: live.attached)
        first = history.fill(20, 10)
        await insert(db, first)
        await hints.publish(first)

        async def same() -> bool:
            return await read_rows(db) == expected_rows(history.events)

        await until(same)
        seen: list[int] = []

        async def read() -> None:
            while not stop.is_set():
                seen.append(await reader.fetchval("select count(*) from proj.proj_messages"))

        async def write() -> None:
            while not stop.is_set():
                made = history.fill(3, 2)
                await insert(db, made)
                await hints.publish(made)

        others = [asyncio.create_task(read()), asyncio.create_task(write())]
        for _ in range(3):
            await rebuild(own)
        stop.set()
        await asyncio.gather(*others)
        await until(same)
        assert seen == sorted(seen)
        assert await db.fetchval("select count(*) from proj.proj_parked") == 0


async def test_poison_parks_there_as_it_does_live(servers: tuple[str, str, str, str]) -> None:
    owner, own, api, bus = servers
    history = History()
    bad = history.message("room_bad", "th", content_md=None)
    async with connected(owner) as db, hinting(api):
        await insert(db, [bad, *history.fill(3, 3)])

        async def same() -> bool:
            return await read_rows(db) == expected_rows(event for event in history.events if event is not bad)

        async with projecting(own, bus):
            await until(same)
            await until(lambda: _parked(db))
        assert (await rebuild(own)).parked == 1
        assert await same()
        assert await _parked(db)


async def _parked(connection: Any) -> bool:
    rows = await connection.fetch("select stream_id, stream_seq from proj.proj_parked")
    return [tuple(row) for row in rows] == [("room_bad", 1)]


async def test_a_changed_definition_is_rebuilt_at_start(servers: tuple[str, str, str, str]) -> None:
    owner, own, api, bus = servers
    history = History()

    async def same() -> bool:
        return await read_rows(db) == expected_rows(history.events)

    async with connected(owner) as db, hinting(api):
        await insert(db, history.fill(3, 3))
        async with projecting(own, bus):
            await until(same)
        # As an older version would have left it.
        await db.execute("update proj.proj_definition set fingerprint = 'old'; drop table proj.proj_threads")
        async with projecting(own, bus):
            await until(same)


async def test_a_store_of_which_nothing_was_projected_is_rebuilt_at_start(
    servers: tuple[str, str, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, own, api, bus = servers
    monkeypatch.setattr("agentos_projector.tables.FIRST_BACKLOG", 10)
    history = History()
    async with connected(owner) as db, hinting(api):
        await insert(db, history.fill(3, 3))

        async def same() -> bool:
            return await read_rows(db) == expected_rows(history.events)

        async with projecting(own, bus) as projector:
            await until(same)
            # All by the rebuild: the live consumer found nothing left to do.
            await until(lambda: projector.attached)
            assert await _has(db, "proj_messages_words")
        async with projecting(own, bus) as projector:
            await until(lambda: projector.attached)
            assert await same()


async def test_only_one_at_a_time(servers: tuple[str, str, str, str]) -> None:
    owner, own, _, _ = servers
    async with connected(owner) as db:
        await insert(db, History().fill(1, 1))
        holder = await tables.open_session(own)
        assert await holder.fetchval(tables.SQL["try_hold_rebuild"])
        with pytest.raises(RebuildRunning):
            await rebuild(owner)
        await holder.close()
        assert (await rebuild(owner)).events == 3


async def test_a_reader_that_does_not_let_go_blocks_the_switch_and_nobody_else(
    servers: tuple[str, str, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, own, _, _ = servers
    monkeypatch.setattr("agentos_projector.rebuild.SWITCH_TRIES", 2)
    history = History()
    async with connected(owner) as db, connected(owner) as slow:
        await insert(db, history.fill(2, 2))
        await rebuild(own)
        async with slow.transaction():
            await slow.fetch("select * from proj.proj_rooms")
            with pytest.raises(SwitchBlocked):
                await rebuild(own)
            assert await read_rows(db) == expected_rows(history.events)
        await rebuild(own)
        assert not any(name.endswith("__next") for name in await _names(db))


async def test_the_remains_of_a_killed_rebuild_are_cleared_away(servers: tuple[str, str, str, str]) -> None:
    owner, own, _, _ = servers
    history = History()
    async with connected(owner) as db:
        await insert(db, history.fill(40, 50))
        await rebuild(own)
        before = await read_rows(db)

        def kill(progress: Progress) -> None:
            if progress.done > 0:
                raise asyncio.CancelledError

        with pytest.raises((asyncio.CancelledError, BaseExceptionGroup)):
            await rebuild(own, on_progress=kill)
        assert await read_rows(db) == before
        assert any("__next" in name for name in await _names(db))
        assert (await rebuild(own)).events == len(history.events)
        assert await read_rows(db) == before
        assert not any("__next" in name for name in await _names(db))


async def test_a_lost_connection_ends_it_and_leaves_the_live_tables(
    servers: tuple[str, str, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, own, _, _ = servers
    monkeypatch.setattr("agentos_projector.rebuild.PATIENCE_S", 0.2)
    history = History()
    async with connected(owner) as db:
        await insert(db, history.fill(40, 50))
        await rebuild(own)
        before = await read_rows(db)
        killed = asyncio.Event()

        def on_progress(progress: Progress) -> None:
            if progress.phase == "catch_up":
                killed.set()

        async def kill() -> None:
            await killed.wait()
            await db.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'agentos-projector'"
            )

        task = asyncio.create_task(kill())
        with pytest.raises(RebuildInterrupted, match="the live tables are as they were"):
            await rebuild(own, on_progress=on_progress)
        await task
        assert await read_rows(db) == before


async def test_an_index_half_built_is_built_anew(servers: tuple[str, str, str, str]) -> None:
    owner, own, api, bus = servers
    async with connected(owner) as db, hinting(api):
        await insert(db, History().fill(1, 1))
        await rebuild(own)
        await db.execute(
            "update pg_index set indisvalid = false where indexrelid = 'proj.proj_messages_words'::regclass"
        )
        await db.execute("drop index proj.proj_messages_changed")
        valid = (
            "select bool_and(indisvalid) and count(*) = 4 from pg_index where indrelid = 'proj.proj_messages'::regclass"
        )

        async def mended() -> bool:
            return bool(await db.fetchval(valid))

        assert not await mended()
        async with projecting(own, bus):
            await until(mended)
