"""The API starts while NATS is away: what was asked of the client before it connected holds afterwards."""

import asyncio

import asyncpg
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from agentos_api import nats_connection
from agentos_api.live.history import StoreHistory
from agentos_api.live.hub import Hub
from agentos_api.relay.relay import Relay
from agentos_shared.contracts import subjects
from tests.fixtures.live import Bus, MortalNats, assert_each_once_in_order, opened_store, until
from tests.fixtures.sse import serving
from tests.fixtures.stack import Postgres


async def test_relay_and_hub_begin_before_nats_does(postgres: Postgres, mortal_nats: MortalNats) -> None:
    mortal_nats.kill()
    client = Client()
    relay = Relay(postgres.api_url, client)
    pool = await asyncpg.create_pool(postgres.api_url, min_size=1, max_size=4)
    hub = Hub(StoreHistory(pool), client)
    connecting = asyncio.create_task(nats_connection.connect(mortal_nats.url, client=client))
    async with opened_store(postgres.owner_url) as store, serving(hub) as server:
        await until(lambda: client.last_error is not None)
        await relay.start()
        heard = asyncio.Event()

        async def hear(_: Msg) -> None:
            heard.set()

        await client.subscribe(subjects.PING_PROJECTED, cb=hear)
        relay.on_commit(await store.append("room_a"))
        viewer = await server.open("/v1/streams/rooms/room_a")
        await viewer.read_seq(1)
        relay.on_commit(await store.append("room_a"))
        mortal_nats.start()
        await asyncio.wait_for(connecting, 10)
        await client.publish(subjects.PING_PROJECTED)
        await asyncio.wait_for(heard.wait(), 5)
        await until(store.published)
        hints = hub._hints
        assert hints is not None
        await until(lambda: hints.seeing)
        other = Relay(postgres.api_url, client)
        await other.start()
        other.on_commit(await store.append("room_a"))  # announced by a ping
        await viewer.read_seq(3)
        await until(store.published)
        assert_each_once_in_order(await Bus(client).contents(), store.events)
        await viewer.close()
        await other.stop()
        await relay.stop()
    await client.close()
    await pool.close()


async def test_wrong_credentials_are_told_and_not_tried_for_ever(mortal_nats: MortalNats) -> None:
    url = mortal_nats.url
    wrong = url[: url.rindex(":", 0, url.index("@"))] + ":wrong" + url[url.index("@") :]
    with pytest.raises(nats_connection.HandshakeFailed, match="Authorization"):
        await asyncio.wait_for(nats_connection.connect(wrong), 10)
