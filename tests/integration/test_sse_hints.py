"""Several API processes: what one commits reaches the clients of the others, through one JetStream consumer each."""

import asyncpg

from agentos_api import nats_connection
from agentos_api.live.history import StoreHistory
from agentos_api.live.hub import Hub
from agentos_shared.contracts import subjects
from tests.fixtures.live import Line, until
from tests.fixtures.sse import serving

ROOM = "/v1/streams/rooms/room_a"


async def test_commits_of_another_process_come_by_hints_through_one_consumer(line: Line) -> None:
    pool = await asyncpg.create_pool(line.postgres.api_url, min_size=1, max_size=4)
    client = await nats_connection.connect(line.nats.url)
    hub = Hub(StoreHistory(pool), client)
    line.relay.on_commit(await line.store.append("room_a"))
    await line.drained()
    async with serving(hub) as server:
        viewers = [await server.open(ROOM) for _ in range(20)]
        hints = hub._hints
        assert hints is not None
        await until(lambda: hints.seeing)
        times = []
        feed = hub._feeds["room", "room_a"]
        for seq in range(2, 22):
            # The hub of this test is another process's: only the relay is told.
            line.relay.on_commit(await line.store.append("room_a", "room_b"))
            times.append(await until(lambda seq=seq: feed.head == seq))
        assert sorted(times)[10] < 0.1  # the poll alone takes seconds while hints arrive
        for viewer in viewers:
            await viewer.read_seq(21)
            assert viewer.seqs == list(range(1, 22))
        assert (await line.bus.js.stream_info(subjects.EVENTS_STREAM)).state.consumer_count == 1
        for viewer in viewers:
            await viewer.close()
        await until(lambda: not hints.seeing)
    await client.close()
    await pool.close()


async def test_while_nats_is_away_the_heads_are_polled_and_hints_come_back(line: Line) -> None:
    pool = await asyncpg.create_pool(line.postgres.api_url, min_size=1, max_size=4)
    client = await nats_connection.connect(line.nats.url)
    hub = Hub(StoreHistory(pool), client)
    await line.store.append("room_a")
    await line.drained()
    async with serving(hub) as server:
        viewer = await server.open(ROOM)
        await viewer.read_seq(1)
        hints = hub._hints
        assert hints is not None
        await until(lambda: hints.seeing)
        line.nats.kill()
        await until(lambda: not hints.seeing)
        await line.store.append("room_a")
        await viewer.read_seq(2, timeout_s=3)
        line.nats.start()
        await until(lambda: hints.seeing)
        line.relay.on_commit(await line.store.append("room_a"))
        await viewer.read_seq(3, timeout_s=3)
        await viewer.close()
    await client.close()
    await pool.close()


async def test_the_consumer_is_made_again_when_the_stream_was_deleted(line: Line) -> None:
    pool = await asyncpg.create_pool(line.postgres.api_url, min_size=1, max_size=4)
    client = await nats_connection.connect(line.nats.url)
    hub = Hub(StoreHistory(pool), client, clock=line.clock)
    await line.store.append("room_a")
    await line.drained()
    async with serving(hub) as server:
        viewer = await server.open(ROOM)
        await viewer.read_seq(1)
        hints = hub._hints
        assert hints is not None
        await until(lambda: hints.seeing)
        await line.bus.js.delete_stream(subjects.EVENTS_STREAM)
        line.clock.shift_s += 31  # both watchdogs look
        await line.store.append("room_a")

        async def consumer_is_back() -> bool:
            if await line.bus.messages() == 0:
                return False
            return (await line.bus.js.stream_info(subjects.EVENTS_STREAM)).state.consumer_count == 1

        await until(consumer_is_back)
        await viewer.read_seq(2)
        await viewer.close()
    await client.close()
    await pool.close()
