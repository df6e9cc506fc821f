"""The subscriber that pulls hints: at once, again after a failure, and with whatever consumer it finds."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from nats.js.api import ConsumerConfig, DeliverPolicy

from agentos_shared.bus.broker import make_broker
from agentos_shared.contracts import subjects
from agentos_shared.contracts.positions import Hint, StreamKey
from agentos_shared.host.lifecycle import RNG
from tests.fixtures.live import until
from tests.fixtures.projecting import Hints, History, hinting
from tests.fixtures.stack import Nats


class Handler:
    """Remembers its batches; fails as often as it was told to."""

    def __init__(self) -> None:
        self.failures = 0
        self.batches: list[list[Hint]] = []
        self.changes = 0

    async def __call__(self, hints: list[Hint]) -> None:
        self.batches.append(hints)
        if self.failures > 0:
            self.failures -= 1
            raise RuntimeError("as the test wants it")

    async def on_change(self) -> None:
        self.changes += 1

    @property
    def hints(self) -> list[Hint]:
        return [hint for batch in self.batches for hint in batch]


@asynccontextmanager
async def listening(url: str, batch: int = 100) -> AsyncIterator[tuple[Any, Handler]]:
    async def on_closed() -> None:
        return

    handler = Handler()
    broker = make_broker("projector", url, rng=RNG, on_closed=on_closed)
    subscriber = broker.hint_subscriber(subjects.PROJECTOR_DURABLE, batch=batch, on_change=handler.on_change)
    subscriber(handler.__call__)
    await broker.start()
    try:
        await until(lambda: subscriber.attached)
        yield subscriber, handler
    finally:
        await broker.stop()


@pytest.fixture
async def hints(nats: Nats) -> AsyncIterator[Hints]:
    async with hinting(nats.url("api")) as made:
        yield made


async def _settled(hints: Hints) -> bool:
    info = await hints.js.consumer_info(subjects.EVENTS_STREAM, subjects.PROJECTOR_DURABLE)
    return (info.num_ack_pending, info.num_pending) == (0, 0)


async def test_messages_become_hints_and_are_acknowledged(nats: Nats, hints: Hints) -> None:
    history = History()
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with listening(nats.url("projector")) as (_, handler):
        assert handler.changes == 1
        await hints.publish([history.room("room_1"), history.room("room_2")], trace)
        await hints.publish([history.message("room_1", "th_1")])
        await until(lambda: len(handler.hints) == 3)
        one, two = StreamKey("room", "room_1"), StreamKey("room", "room_2")
        assert handler.hints == [Hint(one, 1, trace), Hint(two, 1, trace), Hint(one, 2, None)]
        await until(lambda: _settled(hints))


async def test_a_flood_comes_in_batches_of_bounded_size(nats: Nats, hints: Hints) -> None:
    history = History()
    async with listening(nats.url("projector"), batch=50) as (_, handler):
        await hints.publish(history.fill(10, 100))
        await until(lambda: len(handler.hints) == 1020)
        assert max(len(batch) for batch in handler.batches) <= 50
        assert len(handler.batches) < 500
        await until(lambda: _settled(hints))


async def test_a_batch_that_failed_comes_again(nats: Nats, hints: Hints) -> None:
    history = History()
    async with listening(nats.url("projector")) as (_, handler):
        handler.failures = 3
        await hints.publish([history.room("room_1")])
        await until(lambda: len(handler.batches) == 4)
        assert handler.hints == [Hint(StreamKey("room", "room_1"), 1)] * 4
        await until(lambda: _settled(hints))
        await hints.publish([history.message("room_1", "th_1")])
        await until(lambda: len(handler.batches) == 5)


async def test_what_is_no_event_is_dropped(nats: Nats, hints: Hints) -> None:
    history = History()
    async with listening(nats.url("projector")) as (_, handler):
        await hints._client.publish("agentos.evt.short", b"x", headers={subjects.HEADER_STREAM_SEQ: "1"})
        await hints._client.publish(subjects.event("ws", "room", "room_1", "x.y"), b"{}")
        await hints._client.publish(
            subjects.event("ws", "room", "room_1", "x.y"), b"{}", headers={subjects.HEADER_STREAM_SEQ: "x"}
        )
        await hints.publish([history.room("room_1")])
        await until(lambda: len(handler.hints) == 1)
        await until(lambda: _settled(hints))


async def test_a_consumer_that_cannot_be_changed_is_made_anew(nats: Nats, hints: Hints) -> None:
    history = History()
    await hints.publish([history.room("room_1")])
    await hints.js.add_consumer(
        subjects.EVENTS_STREAM,
        ConsumerConfig(durable_name=subjects.PROJECTOR_DURABLE, deliver_policy=DeliverPolicy.ALL),
    )
    async with listening(nats.url("projector")) as (_, handler):
        await hints.publish([history.message("room_1", "th_1")])
        await until(lambda: len(handler.hints) == 1)
        assert handler.hints[0].seq == 2


async def test_a_deleted_consumer_comes_back(nats: Nats, hints: Hints) -> None:
    history = History()
    async with listening(nats.url("projector")) as (subscriber, handler):
        await hints.js.delete_consumer(subjects.EVENTS_STREAM, subjects.PROJECTOR_DURABLE)
        await until(lambda: handler.changes >= 3)
        await until(lambda: subscriber.attached)
        await hints.publish([history.room("room_1")])
        await until(lambda: len(handler.hints) == 1)


async def test_two_processes_share_the_messages(nats: Nats, hints: Hints) -> None:
    history = History()
    url = nats.url("projector")
    async with listening(url, batch=10) as (_, first), listening(url, batch=10) as (_, second):
        await hints.publish(history.fill(5, 100))
        await until(lambda: len(first.hints) + len(second.hints) == 510)
        assert len(first.hints) > 0
        assert len(second.hints) > 0
        await until(lambda: _settled(hints))
