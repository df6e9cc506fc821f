"""The Python client against a real stack: rooms, threads, messages, and streams that survive the API's death."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import agentos
from tests.fixtures.stack import Stack

WORKSPACE = "ws_sdk"


@pytest.fixture
async def api(stack: Stack) -> AsyncIterator[agentos.AsyncClient]:
    async with agentos.AsyncClient(stack.url, workspace_id=WORKSPACE, actor=("agent", "tester")) as client:
        yield client


async def test_what_is_written_is_read_back_as_models(api: agentos.AsyncClient) -> None:
    made = await api.rooms.create("Ops", topic="night")
    thread = await api.threads.create(made.room_id, "Disk")
    texts = [f"line {number}\u2028" for number in range(5)]
    said = [await api.messages.create(thread.thread_id, text, labels=["l"]) for text in texts]

    room = await api.rooms.get(made.room_id)
    assert (room.title, room.topic, room.created_at.tzinfo is not None) == ("Ops", "night", True)
    assert [one.thread_id async for one in api.threads.list(made.room_id, min_position=thread)] == [thread.thread_id]
    listed = await api.messages.list(thread.thread_id, limit=2, min_position=said[-1]).all()
    assert [message.content_md for message in reversed(listed)] == texts
    assert {(message.sender_type, message.sender_id) for message in listed} == {("agent", "tester")}
    assert (await api.messages.get(said[0].message_id)).labels == ["l"]
    found = await api.messages.search("line 3", thread_id=thread.thread_id, min_position=said[-1]).all()
    assert [one.thread_id for one in found] == [thread.thread_id]

    events = await api.events.list(stream=("room", made.room_id), limit=3).all()
    assert [event.stream_seq for event in events] == list(range(1, 8))
    assert {event.actor_id for event in events} == {"tester"}
    assert await api.events.get(events[0].event_id) == events[0]
    assert len(await api.messages.search("LINE", match="words", thread_id=thread.thread_id).all()) == len(texts)
    assert await api.messages.search("lin", match="words", thread_id=thread.thread_id).all() == []


async def test_events_by_every_filter(api: agentos.AsyncClient) -> None:
    room_id = (await api.rooms.create("Filters")).room_id
    thread_id = (await api.threads.create(room_id, "T")).thread_id
    await api.messages.create(thread_id, "hello")

    async def types(**filters: Any) -> list[str]:
        return [event.event_type for event in await api.events.list(room_id=room_id, **filters).all()]

    assert await types() == ["room.created", "thread.created", "message.created"]
    assert await types(order="desc", limit=1) == ["message.created", "thread.created", "room.created"]
    assert await types(from_seq=2) == await types(event_type="message.created") == ["message.created"]
    assert await types(event_type="room.created", event_types=["message.created"]) == [
        "room.created",
        "message.created",
    ]
    events = await api.events.list(room_id=room_id).all()
    first, last = events[0].recorded_at, events[-1].recorded_at
    assert "room.created" not in await types(after_recorded_at=first)
    assert "message.created" not in await types(before_recorded_at=last)
    by = await api.events.list(subject_principal_id=events[0].actor_principal_id, order="desc", limit=1).page()
    assert by.items[0].event_id == events[-1].event_id
    assert await types(subject_agent_id="agt_none") == []


async def test_a_key_that_was_used_answers_the_same(api: agentos.AsyncClient) -> None:
    first = await api.rooms.create("Once", idempotency_key="sdk-once")
    assert await api.rooms.create("Once", idempotency_key="sdk-once") == first
    with pytest.raises(agentos.BadRequest) as refused:
        await api.rooms.create("Twice", idempotency_key="sdk-once")
    assert refused.value.code == "idempotency_key_reused"


async def test_bulk_answers_in_order(api: agentos.AsyncClient) -> None:
    results = await api.bulk([("room.create", {"title": "a"}), ("room.create", {})])
    assert [result["status"] for result in results] == [201, 400]
    assert results[1]["error"] == "missing_title"


def test_the_blocking_client_does_the_same(stack: Stack) -> None:
    with agentos.Client(stack.url, workspace_id=WORKSPACE) as client:
        room_id = client.rooms.create("Blocking").room_id
        thread_id = client.threads.create(room_id, "T").thread_id
        client.messages.create(thread_id, "hello")
        history = list(client.stream_room(room_id, follow=False))
        assert [event.event_type for event in history] == ["room.created", "thread.created", "message.created"]
        with pytest.raises(agentos.NotFound, match="room_not_found"):
            client.rooms.get("room_none")


async def test_a_stream_shows_history_and_then_what_happens(api: agentos.AsyncClient) -> None:
    room_id = (await api.rooms.create("Live")).room_id
    thread_id = (await api.threads.create(room_id, "T")).thread_id
    stream = api.stream_room(room_id)
    seen = [(await anext(stream)).event_type for _ in range(2)]
    await api.messages.create(thread_id, "now")
    async with asyncio.timeout(10):
        seen.append((await anext(stream)).event_type)
    assert seen == ["room.created", "thread.created", "message.created"]


async def test_nothing_is_missed_or_shown_twice_while_the_api_is_killed(start_stack: Callable[..., Stack]) -> None:
    stack = start_stack()
    retry = agentos.Retry(patience_s=60, first_s=0.05, longest_s=0.5)
    async with agentos.AsyncClient(stack.url, retry=retry) as client:
        room_id = (await client.rooms.create("Faults")).room_id
        thread_id = (await client.threads.create(room_id, "T")).thread_id
        texts = [f"m{number}" for number in range(60)]

        async def write() -> None:
            for number, text in enumerate(texts):
                await client.messages.create(thread_id, text)
                if number % 20 == 10:
                    gone = {"api": await asyncio.to_thread(stack.kill, "api")}
                    await asyncio.to_thread(stack.wait_healthy, gone)

        writing = asyncio.create_task(write())
        seen = []
        async with asyncio.timeout(100):
            async for event in client.stream_room(room_id):
                seen.append(event)
                if len(seen) == 2 + len(texts):
                    break
        await writing
    assert [event.stream_seq for event in seen] == list(range(1, 3 + len(texts)))
    assert [event.data["content_md"] for event in seen[2:]] == texts
