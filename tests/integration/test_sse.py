"""Event streams over HTTP, from a real store."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote

import asyncpg
import pytest

from agentos_api.live import client as client_module
from agentos_api.live import feed as feed_module
from agentos_api.live.feed import StreamKey
from agentos_api.live.history import Page, StoreHistory
from agentos_api.live.hub import Hub
from agentos_shared.host import telemetry
from agentos_shared.host.lifecycle import SystemClock
from tests.fixtures.live import Store, opened_store, until
from tests.fixtures.sse import Server, serving
from tests.fixtures.stack import Postgres

ROOM = "/v1/streams/rooms/room_a"


@dataclass
class Live:
    """A hub on a socket, beside the store that it reads."""

    store: Store
    hub: Hub
    server: Server

    async def commit(self, *rooms: str) -> None:
        """As this process does it."""
        self.hub.on_commit(await self.store.append(*rooms))


@pytest.fixture
async def live(postgres: Postgres) -> AsyncIterator[Live]:
    pool = await asyncpg.create_pool(postgres.api_url, min_size=1, max_size=4)
    async with opened_store(postgres.owner_url) as store:
        hub = Hub(StoreHistory(pool))
        async with serving(hub) as server:
            yield Live(store, hub, server)
    await pool.close()


async def test_history_then_live_on_one_connection(live: Live) -> None:
    await live.commit("room_a", "room_b", "room_a")
    viewer = await live.server.open(ROOM)
    assert viewer.answer.status == 200
    assert {name: viewer.answer.headers.get(name) for name in ("content-type", "cache-control", "connection")} == {
        "content-type": "text/event-stream; charset=utf-8",
        "cache-control": "no-cache, no-transform",
        "connection": "keep-alive",
    }
    assert viewer.answer.headers["x-accel-buffering"] == "no"
    await viewer.read_caught_up()
    assert viewer.retry == "2000"
    assert viewer.seqs == [1, 2]
    assert viewer.named == [("caught_up", {"head_seq": 2})]
    for _ in range(3):
        await live.commit("room_b", "room_a")
    await viewer.read_seq(5)
    events = [event for event in live.store.events if event.stream_id == "room_a"]
    assert [frame.data for frame in viewer.frames if frame.name is None] == [event.envelope() for event in events]
    await viewer.close()


async def test_history_of_many_pages(live: Live) -> None:
    await live.store.insert([live.store.event("room_a", content_md="x" * (number % 2000)) for number in range(3000)])
    viewer = await live.server.open(ROOM)
    await viewer.read_caught_up()
    assert viewer.seqs == list(range(1, 3001))
    await viewer.close()


@pytest.mark.parametrize(
    ("query", "last_event_id", "first"),
    [
        ("", None, 1),
        ("?from_seq=0", None, 1),
        ("?from_seq=3", None, 4),
        ("?from_seq=5", None, 6),
        ("?from_seq=latest", None, 6),
        ("?from_seq=0", "4", 5),
        ("?from_seq=latest", "2", 3),
        ("?from_seq=nonsense", "2", 3),
    ],
)
async def test_where_a_stream_begins(live: Live, query: str, last_event_id: str | None, first: int) -> None:
    await live.commit(*["room_a"] * 5)
    headers = {} if last_event_id is None else {"last-event-id": last_event_id}
    viewer = await live.server.open(ROOM + query, headers)
    await viewer.read_caught_up()
    await live.commit("room_a")
    await viewer.read_seq(6)
    assert viewer.seqs == list(range(first, 7))
    assert viewer.named == [("caught_up", {"head_seq": 5})]
    await viewer.close()


async def test_a_cursor_beyond_the_head_is_reset(live: Live) -> None:
    await live.commit("room_a", "room_a")
    viewer = await live.server.open(ROOM + "?from_seq=9223372036854775807")
    await viewer.read_caught_up()
    await live.commit("room_a")
    await viewer.read_seq(3)
    assert viewer.named == [("reset", {"head_seq": 2}), ("caught_up", {"head_seq": 2})]
    assert viewer.seqs == [3]
    await viewer.close()


@pytest.mark.parametrize(
    "value", ["", "-1", "+1", "1.0", "abc", "1e3", "9223372036854775808", "9" * 400, "٣", "1&from_seq=2"]
)
async def test_a_from_seq_that_is_none_is_refused(live: Live, value: str) -> None:
    await live.commit("room_a")
    refused = await live.server.open(ROOM + "?from_seq=" + quote(value, safe="&="))
    assert (refused.answer.status, refused.frames[0].data["error"]) == (400, "invalid_from_seq")
    await refused.close()
    if "&" not in value and value.isascii() and value:
        refused = await live.server.open(ROOM, {"last-event-id": value})
        assert (refused.answer.status, refused.frames[0].data["error"]) == (400, "invalid_from_seq")
        await refused.close()


@pytest.mark.parametrize("room", ["room_none", "", "%00", "%2e%2e", "room_a%0a", "x" * 5000])
async def test_an_unknown_room_is_not_found(live: Live, room: str) -> None:
    await live.commit("room_a")
    refused = await live.server.open("/v1/streams/rooms/" + room)
    assert (refused.answer.status, refused.frames[0].data["error"]) == (404, "room_not_found")
    await refused.close()


async def test_a_workspace_that_is_named_must_be_the_rooms(live: Live) -> None:
    await live.commit("room_a")
    refused = await live.server.open(ROOM, {"x-workspace-id": "ws_other"})
    assert (refused.answer.status, refused.frames[0].data["error"]) == (404, "room_not_found")
    await refused.close()
    viewer = await live.server.open(ROOM, {"x-workspace-id": "ws_test"})
    await viewer.read_seq(1)
    await viewer.close()


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("text/event-stream", 200),
        ("*/*", 200),
        ("application/json, text/*;q=0.1", 200),
        ("application/json", 406),
        ("text/event-stream;q=0", 406),
    ],
)
async def test_accept(live: Live, accept: str, status: int) -> None:
    await live.commit("room_a")
    viewer = await live.server.open(ROOM, {"accept": accept})
    assert viewer.answer.status == status
    await viewer.close()


async def test_head_answers_headers_only(live: Live) -> None:
    await live.commit("room_a")
    viewer = await live.server.open(ROOM, method="HEAD")
    assert viewer.answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert live.hub.clients == 0
    viewer.writer.write(f"HEAD {ROOM} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
    assert await asyncio.wait_for(viewer.reader.readline(), 5) == b"HTTP/1.1 200 OK\r\n"
    await viewer.close()


async def test_the_workspace_stream_begins_empty(live: Live) -> None:
    viewer = await live.server.open("/v1/streams/workspace")
    await viewer.read_caught_up()
    assert viewer.named == [("caught_up", {"head_seq": 0})]
    await viewer.close()


async def test_content_cannot_inject_frames(live: Live) -> None:
    nasty = "\r\n\r\nid: 99\nevent: gone\ndata: {}\n\n\u2028\u0085\x1f"
    await live.store.insert([live.store.event("room_a", content_md=nasty)])
    viewer = await live.server.open(ROOM)
    await viewer.read_caught_up()
    live.hub.on_commit(await live.store.insert([live.store.event("room_a", content_md=nasty)]))
    await viewer.read_seq(2)
    assert viewer.seqs == [1, 2]
    assert [frame.data["data"]["content_md"] for frame in viewer.frames if frame.name is None] == [nasty, nasty]
    await viewer.close()


async def test_over_many_reconnects_each_event_comes_once_in_order(live: Live) -> None:
    await live.commit("room_a")
    seen: list[int] = []
    done = asyncio.Event()

    async def write() -> None:
        for number in range(300):
            committed = await live.store.append("room_a")
            if number % 3:  # others are another process's, and found by the poll or because one after them is ahead
                live.hub.on_commit(committed)
        done.set()

    writing = asyncio.create_task(write())
    while len(seen) < 301:
        headers = {"last-event-id": str(seen[-1])} if seen else {}
        viewer = await live.server.open(ROOM, headers)
        wanted = min(301, (seen[-1] if seen else 0) + 17)
        await viewer.read_seq(wanted)
        seen += viewer.seqs
        await viewer.close()
    await writing
    assert seen == list(range(1, 302))


async def test_a_client_that_leaves_frees_everything(live: Live) -> None:
    await live.commit("room_a")
    viewers = [await live.server.open(ROOM) for _ in range(5)]
    for viewer in viewers:
        await viewer.read_caught_up()
    assert live.hub.clients == 5
    for viewer in viewers:
        await viewer.close()
    await until(lambda: live.hub.clients == 0)
    assert not live.hub._feeds
    assert live.hub._bytes == 0


async def test_an_idle_client_hears_that_the_server_is_there(postgres: Postgres) -> None:
    class FastClock(SystemClock):
        async def sleep(self, seconds: float) -> None:
            await super().sleep(seconds / 50)

    pool = await asyncpg.create_pool(postgres.api_url, min_size=1, max_size=2)
    async with opened_store(postgres.owner_url) as store:
        await store.append("room_a")
        async with serving(Hub(StoreHistory(pool), clock=FastClock())) as server:
            viewer = await server.open(ROOM)
            await viewer.read_until(lambda viewer: sum(frame.comment for frame in viewer.frames) >= 2)
            await viewer.close()
    await pool.close()


async def test_stopping_sends_clients_away_and_takes_no_more(live: Live) -> None:
    await live.commit("room_a")
    viewers = [await live.server.open(ROOM) for _ in range(3)]
    for viewer in viewers:
        await viewer.read_caught_up()
    await live.hub.stop()
    for viewer in viewers:
        await viewer.read_to_end()
        assert viewer.named[-1] == ("gone", {"reason": "draining"})
        await viewer.close()
    assert live.hub.clients == 0
    refused = await live.server.open(ROOM)
    assert refused.answer.status == 503
    await refused.close()


async def test_a_client_that_never_reads_is_dropped(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "WRITE_TIMEOUT_S", 0.5)
    await live.commit("room_a")
    deaf = await live.server.open(ROOM, receive_buffer=4096)
    alert = await live.server.open(ROOM)
    await alert.read_caught_up()
    seq = 1
    while live.hub.clients == 2:
        live.hub.on_commit(
            await live.store.insert([live.store.event("room_a", content_md="x" * 100_000) for _ in range(10)])
        )
        seq += 10
        await alert.read_seq(seq)
        feed = live.hub._feeds["room", "room_a"]
        assert feed.size <= feed_module.BEHIND_BYTES + 2_000_000
    assert seq < 5000
    assert alert.seqs == list(range(1, seq + 1))
    await deaf.read_to_end()
    assert deaf.named[-1] == ("caught_up", {"head_seq": 1})  # no goodbye: nothing more went through
    await deaf.close()
    await alert.close()


async def test_a_client_too_far_behind_is_told_so(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "BEHIND_EVENTS", 20)
    monkeypatch.setattr(feed_module, "TAIL_EVENTS", 20)
    await live.commit("room_a")
    slow = await live.server.open(ROOM, receive_buffer=4096)
    await slow.read_caught_up()
    for _ in range(20):
        live.hub.on_commit(
            await live.store.insert([live.store.event("room_a", content_md="x" * 20_000) for _ in range(50)])
        )
    await slow.read_to_end()
    assert slow.named[-1] == ("gone", {"reason": "slow"})
    assert slow.seqs == list(range(1, len(slow.seqs) + 1))
    again = await live.server.open(ROOM, {"last-event-id": str(slow.seqs[-1])})
    await again.read_seq(1001)
    assert again.seqs == list(range(slow.seqs[-1] + 1, 1002))
    await slow.close()
    await again.close()


async def test_a_store_that_is_away_delays_history_and_breaks_nothing(postgres: Postgres) -> None:
    class Failing(StoreHistory):
        failures = 3

        async def page(self, key: StreamKey, after: int) -> Page:
            if self.failures:
                self.failures -= 1
                raise asyncpg.ConnectionDoesNotExistError("gone")
            return await super().page(key, after)

        async def heads(self, keys: Sequence[StreamKey]) -> dict[StreamKey, int]:
            raise OSError("away")

    pool = await asyncpg.create_pool(postgres.api_url, min_size=1, max_size=2)
    async with opened_store(postgres.owner_url) as store:
        await store.append("room_a", "room_a")
        async with serving(Hub(Failing(pool))) as server:
            viewer = await server.open(ROOM)
            await viewer.read_caught_up()
            assert viewer.seqs == [1, 2]
            await viewer.close()
    await pool.close()


async def test_other_processes_commits_are_found_without_any_hint(live: Live) -> None:
    await live.commit("room_a")
    viewer = await live.server.open(ROOM)
    await viewer.read_caught_up()
    await live.store.append("room_a", "room_a")
    await viewer.read_seq(3, timeout_s=2)
    await viewer.close()


async def test_each_event_is_one_span_of_its_trace(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[tuple[str, str | None]] = []

    def open_span(name: str, traceparent: str | None, *_: object) -> telemetry.Span:
        opened.append((name, traceparent))
        return telemetry.Span(traceparent or "", None)

    monkeypatch.setattr(telemetry, "enabled", lambda: True)
    monkeypatch.setattr(telemetry, "open_span", open_span)
    await live.commit("room_a")
    viewers = [await live.server.open(ROOM) for _ in range(3)]
    for viewer in viewers:
        await viewer.read_caught_up()
    await until(lambda: len(live.hub._feeds["room", "room_a"].live) == 3)
    trace = "00-" + "1" * 32 + "-" + "2" * 16 + "-01"
    live.hub.on_commit(await live.store.append("room_a", "room_a", traceparent=trace))
    for viewer in viewers:
        await viewer.read_seq(3)
        await viewer.close()
    assert opened == [("sse.write", trace)] * 2
