"""The relay when servers and leaders die, and when JetStream loses what it had acknowledged."""

import asyncio
import shutil
import sys
from pathlib import Path

import pytest

from agentos_api import nats_connection
from agentos_api.relay.reconcile import LOOK_BACK
from agentos_api.relay.relay import Relay
from agentos_shared.contracts import subjects
from tests.fixtures.live import (
    Bus,
    Line,
    MortalNats,
    assert_each_once_in_order,
    opened_store,
    until,
)
from tests.fixtures.stack import Postgres

ROOMS = [f"room_{number}" for number in range(20)]


async def test_a_standby_takes_over_from_a_leader_that_was_killed(postgres: Postgres, mortal_nats: MortalNats) -> None:
    """kill -9 in the middle of its work: everything is in JetStream once, in order, in less than two seconds."""
    leader = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.fixtures.relay_process",
        postgres.api_url,
        mortal_nats.url,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert leader.stdout is not None
    try:
        async with asyncio.timeout(20):
            while await leader.stdout.readline() != b"leading\n":
                assert leader.returncode is None
        client = await nats_connection.connect(mortal_nats.url)
        bus = Bus(client)
        standby = Relay(postgres.api_url, client)
        async with opened_store(postgres.owner_url) as store:
            await standby.start()
            assert not standby.leading
            await store.insert([store.event(room) for _ in range(200) for room in ROOMS])

            async def some_published() -> bool:
                return await bus.messages() > 100

            await until(some_published)
            leader.kill()
            took = await until(lambda: standby.leading)
            await until(store.published)
            assert took < 2
            assert_each_once_in_order(await bus.contents(), store.events)
            await standby.stop()
        await client.close()
    finally:
        if leader.returncode is None:
            leader.kill()
        await leader.communicate()


async def test_writes_go_on_while_nats_is_down_and_are_published_when_it_is_back(line: Line) -> None:
    line.relay.on_commit(await line.store.append(*ROOMS))
    await line.drained()
    line.nats.kill()
    for _ in range(30):
        line.relay.on_commit(await line.store.append(*ROOMS))
    line.nats.start()
    assert await line.drained() < 3
    await line.check()


async def test_nats_is_killed_while_it_takes_events(line: Line) -> None:
    for _ in range(3):
        for _ in range(20):
            line.relay.on_commit(await line.store.append(*ROOMS))
        line.nats.kill()
        line.nats.start()
    await line.check()


async def test_a_store_that_was_deleted_is_filled_again(line: Line) -> None:
    line.relay.on_commit(await line.store.insert([line.store.event(room) for _ in range(100) for room in ROOMS]))
    await line.drained()
    line.nats.kill()
    line.nats.wipe()
    line.nats.start()
    line.relay.on_commit(await line.store.append(*ROOMS))  # must not overtake what came before it
    await line.holds_all()
    await line.check()


async def test_a_stream_that_was_deleted_is_filled_again_with_the_next_event(line: Line) -> None:
    line.relay.on_commit(await line.store.append(*ROOMS))
    await line.drained()
    await line.bus.js.delete_stream(subjects.EVENTS_STREAM)
    line.relay.on_commit(await line.store.append("room_0"))
    await line.holds_all()
    await line.check()


async def test_a_stream_that_was_deleted_is_noticed_without_any_event(line: Line) -> None:
    line.relay.on_commit(await line.store.append(*ROOMS))
    await line.drained()
    await line.bus.js.delete_stream(subjects.EVENTS_STREAM)
    line.clock.shift_s += 31
    await line.holds_all()
    await line.check()


async def test_an_emptied_stream_is_filled_again(line: Line) -> None:
    line.relay.on_commit(await line.store.append(*ROOMS))
    await line.drained()
    await line.bus.js.purge_stream(subjects.EVENTS_STREAM)
    line.clock.shift_s += 31
    await line.holds_all()
    await line.check()


async def test_old_messages_that_somebody_repeats_do_not_stop_the_relay(line: Line) -> None:
    """The repeated message is the last of its stream then, and what follows it is known to the server by its id."""
    line.relay.on_commit(await line.store.append(*["room_0"] * 20))
    await line.drained()
    old = await line.bus.js.get_msg(subjects.EVENTS_STREAM, 5)
    headers = {subjects.HEADER_STREAM_SEQ: (old.headers or {})[subjects.HEADER_STREAM_SEQ]}
    await line.client.publish(old.subject or "", old.data or b"", headers=headers)
    await line.client.flush()
    line.relay.on_commit(await line.store.append("room_0", "room_1"))
    assert await line.drained() < 5
    for room, seq in (("room_0", "21"), ("room_1", "1")):
        last = await line.bus.js.get_last_msg(subjects.EVENTS_STREAM, subjects.events_of("room", room))
        assert (last.headers or {})[subjects.HEADER_STREAM_SEQ] == seq


async def test_a_message_missing_in_the_middle_is_noticed(line: Line) -> None:
    line.relay.on_commit(await line.store.append(*ROOMS, *ROOMS))
    await line.drained()
    await line.bus.js.delete_msg(subjects.EVENTS_STREAM, 10)
    line.clock.shift_s += 31

    async def filled_anew() -> bool:
        return (await line.bus.js.stream_info(subjects.EVENTS_STREAM)).state.first_seq > 1

    await until(filled_anew)
    await line.holds_all()
    await line.check()


@pytest.mark.parametrize("quiet", [False, True])
async def test_a_tail_that_was_lost_is_published_again(line: Line, tmp_path: Path, quiet: bool) -> None:
    """What a crash between acknowledgement and sync leaves: the outbox is empty, and the stream ends too early."""
    line.relay.on_commit(await line.store.append(*ROOMS))
    await line.drained()
    line.nats.kill()
    shutil.copytree(line.nats.store, tmp_path / "earlier")
    line.nats.start()
    await until(lambda: line.client.is_connected)
    line.relay.on_commit(await line.store.append(*ROOMS, *ROOMS))
    await line.drained()
    line.nats.kill()
    line.nats.wipe()
    shutil.copytree(tmp_path / "earlier", line.nats.store)
    line.nats.start()
    if not quiet:
        line.relay.on_commit(await line.store.append(*ROOMS[:10]))
    await line.holds_all()
    await line.check()


async def test_the_last_event_of_a_quiet_stream_is_found_missing(line: Line) -> None:
    """Nothing later would reveal it: only the comparison of all heads does."""
    old = "01900000-0000-7000-8000-000000000000"  # long before anything that is searched from the tail
    await line.store.append(*ROOMS)
    await line.drained()
    await line.store.insert([line.store.event("room_quiet", event_id=old)], outbox=False)

    async def found_in_time() -> bool:
        line.clock.shift_s += 1
        return await line.bus.messages() == len(line.store.events)

    await until(found_in_time)
    await line.check()


async def test_what_the_size_limit_discarded_is_not_published_again(
    postgres: Postgres, mortal_nats: MortalNats
) -> None:
    client = await nats_connection.connect(mortal_nats.url)
    relay = Relay(postgres.api_url, client, max_bytes=200_000)
    bus = Bus(client)
    async with opened_store(postgres.owner_url) as store:
        await relay.start()
        await store.append("room_early", "room_early")
        await until(store.published)
        await store.insert([store.event("room_busy", content_md="x" * 1000) for _ in range(300)])
        await until(store.published)
        await store.append("room_early")
        await until(store.published)
        contents = await bus.contents()
        assert len(contents) < 200
        assert [seq for stream, seq, _ in contents if stream == "room_early"] == [3]
        busy = [seq for stream, seq, _ in contents if stream == "room_busy"]
        assert busy == list(range(busy[0], 301))
        await relay.stop()
    await client.close()


def test_the_search_looks_back_further_than_clocks_differ() -> None:
    assert LOOK_BACK.total_seconds() >= 10
