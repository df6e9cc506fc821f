"""Appenders that race on one store that fails at will: whatever happens, what was acknowledged is there once, in order.

The store is in memory and keeps what Postgres keeps: heads, events and keys change together or not at all. It may be
away before it did anything, or after (the worst moment: the caller hears of a failure, and the events are there).
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from agentos_api.append.appender import Appender
from agentos_api.append.draft import Draft
from agentos_api.append.store import Known, Stale, Unavailable
from agentos_api.append.submission import Answer, Outcome, Part, RequestKey, Submission
from agentos_shared.domain import ids, kill_switches, messages, principals, rooms, threads
from agentos_shared.domain.decider import Command, Meta, View
from agentos_shared.domain.envelope import Event, NewEvent, Stream, event_hash, hashed_bytes
from agentos_shared.domain.errors import Conflict, DomainError, TryLater
from agentos_shared.domain.kill_switches import KillSwitches, SetKillSwitch, switches_id
from agentos_shared.host.lifecycle import SystemClock
from agentos_shared.store.reader import Head

META = Meta("ws_1", principals.actor("ws_1", "user", "ada"), "c-1")
ROOMS = ("room_1", "room_2")
Mishap = Literal["none", "away before", "away after"]


@dataclass
class Memory:
    """What all writers share."""

    heads: dict[Stream, Head] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    keys: dict[tuple[str, str, str], Known] = field(default_factory=dict)
    mishaps: list[Mishap] = field(default_factory=list)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def write(self, draft: Draft) -> int | None:
        if any(self.heads.get(stream, Head(0, None)) != before for stream, before in draft.before.items()):
            raise Stale
        if any(self.heads.get(stream, Head(0, None)) != head for stream, head in draft.stood().items()):
            raise Stale
        if any(key.identity in self.keys for key, _, _ in draft.keys):
            raise Stale
        self.heads |= draft.moved
        self.events += draft.events
        for key, answer, _ in draft.keys:
            self.keys[key.identity] = Known(key.fingerprint, answer._replace(replayed=True))
        return len(self.events) if draft.events else None


class MemoryStore:
    """One writer's connection."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def connect(self) -> None:
        return

    async def close(self) -> None:
        return

    async def heads(self, streams: Iterable[Stream]) -> dict[Stream, Head]:
        await asyncio.sleep(0)  # noqa: TID251 - a point at which the other writer may run
        return {stream: self._memory.heads.get(stream, Head(0, None)) for stream in streams}

    async def entities(self, entity_ids: Iterable[str]) -> dict[str, list[Event]]:
        await asyncio.sleep(0)  # noqa: TID251 - as above
        wanted = set(entity_ids)
        found: dict[str, list[Event]] = {}
        for event in self._memory.events:
            if event.entity_id in wanted:
                found.setdefault(event.entity_id, []).append(event)
        return found

    async def known(self, keys: Sequence[RequestKey]) -> dict[tuple[str, str, str], Known]:
        return {key.identity: self._memory.keys[key.identity] for key in keys if key.identity in self._memory.keys}

    async def append(self, draft: Draft) -> int | None:
        await asyncio.sleep(0)  # noqa: TID251 - as above
        async with self._memory.lock:
            return self._write(draft)

    @asynccontextmanager
    async def locked(self) -> AsyncIterator["_Transaction"]:
        async with self._memory.lock:
            yield _Transaction(self)

    def _write(self, draft: Draft) -> int | None:
        mishap = self._memory.mishaps.pop() if self._memory.mishaps and draft.events else "none"
        if mishap == "away before":
            raise Unavailable(mishap)
        written = self._memory.write(draft)
        if mishap == "away after":
            raise Unavailable(mishap)
        return written


class _Transaction:
    def __init__(self, store: MemoryStore) -> None:
        self.heads, self.known, self.entities = store.heads, store.known, store.entities
        self._store = store

    async def append(self, draft: Draft) -> int | None:
        return self._store._write(draft)


def render(outcomes: Sequence[Outcome]) -> Answer:
    (outcome,) = outcomes
    if isinstance(outcome, DomainError):
        return Answer(409, outcome.code.encode())
    return Answer(201, orjson.dumps([outcome[0].event_id, outcome[0].stream_seq]))


def say(room: str, text: str, key: RequestKey | None) -> Submission:
    thread = f"th_{room}"
    command = Command(messages.CreateMessage(content_md=text), META, ids.new_id(ids.MESSAGE), thread, room)
    return Submission([Part(command, messages.create, Stream("room", room), (thread, room))], render, key=key)


def opening(room: str) -> list[Submission]:
    stream, thread = Stream("room", room), f"th_{room}"
    create_room = Command(rooms.CreateRoom(title="Ops"), META, room, None, room)
    create_thread = Command(threads.CreateThread(title="Disk"), META, thread, room, room)
    return [
        Submission([Part(create_room, rooms.create, stream, fresh_stream=True)], render),
        Submission([Part(create_thread, threads.create, stream, (room,))], render),
    ]


Wish = tuple[int, str, int | None, int]  # writer, room, number of its key, turns to wait before it is sent


async def play(wishes: list[Wish], mishaps: list[Mishap]) -> None:
    memory = Memory()
    writers = [Appender(MemoryStore(memory), clock=SystemClock()) for _ in range(2)]
    tasks = [asyncio.create_task(writer.run()) for writer in writers]
    for room in ROOMS:
        for submission in opening(room):
            await writers[0].submit(submission)
    memory.mishaps = list(mishaps)

    async def send(place: int, wish: Wish) -> tuple[str, Answer | None]:
        writer, room, number, turns = wish
        for _ in range(turns):
            await asyncio.sleep(0)  # noqa: TID251 - spreads the wishes over the batches
        key = None if number is None else RequestKey("ws_1", f"POST {room}", str(number), b"same body")
        text = f"{place}" if number is None else f"key {room} {number}"
        try:
            return text, await writers[writer].submit(say(room, text, key))
        except TryLater:
            return text, None

    # Keys in one process pass a gate before the appender, so a key is only ever raced by two processes.
    told = await asyncio.wait_for(asyncio.gather(*(send(place, wish) for place, wish in enumerate(wishes))), 30)
    for writer in writers:
        await writer.stop()
    await asyncio.gather(*tasks)
    check(memory, told)
    if not {"away before", "away after"} & set(mishaps):
        assert all(answer is not None for _, answer in told), "a race is settled, not given up"


def check(memory: Memory, told: Sequence[tuple[str, Answer | None]]) -> None:
    for room in ROOMS:
        previous: str | None = None
        stream = [event for event in memory.events if event.stream_id == room]
        assert [event.stream_seq for event in stream] == list(range(1, len(stream) + 1))
        for event in stream:
            assert event.prev_event_hash == previous
            assert event.event_hash == event_hash(previous, hashed_bytes(event))
            previous = event.event_hash
        assert memory.heads[Stream("room", room)] == Head(len(stream), previous)
    said: dict[str, list[Event]] = {}
    for event in memory.events:
        if event.event_type == "message.created":
            said.setdefault(event.data["content_md"], []).append(event)
    for text, answer in told:
        found = said.get(text, [])
        assert len(found) <= 1, "nothing is there twice"
        if answer is not None and answer.status == 201:
            event_id, seq = orjson.loads(answer.body)
            assert [(event.event_id, event.stream_seq) for event in found] == [(event_id, seq)]


wishes_of_two_writers = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from(ROOMS), st.one_of(st.none(), st.integers(0, 3)), st.integers(0, 12)),
    min_size=1,
    max_size=40,
    unique_by=lambda wish: wish if wish[2] is None else (wish[0], wish[1], wish[2]),
)


@settings(max_examples=150, deadline=None)
@given(
    wishes=wishes_of_two_writers,
    mishaps=st.lists(st.sampled_from(["none", "none", "none", "away before", "away after"]), max_size=12),
)
def test_what_is_acknowledged_is_there_once_in_order(wishes: list[Wish], mishaps: list[Mishap]) -> None:
    asyncio.run(play(wishes, mishaps))


HOME = Stream("workspace", "ws_1")
SWITCHES = switches_id("ws_1")


def unless_stopped(command: Command[messages.CreateMessage], view: View) -> Sequence[NewEvent]:
    """An act that no engaged switch allows."""
    switches = view.get(KillSwitches, SWITCHES)
    if switches is not None and switches.engaged:
        raise Conflict("kill_switch_active", "It is stopped.")
    return messages.create(command, view)


def act(room: str) -> Submission:
    thread = f"th_{room}"
    command = Command(messages.CreateMessage(content_md="act"), META, ids.new_id(ids.MESSAGE), thread, room)
    part = Part(command, unless_stopped, Stream("room", room), (thread, room), leans=((HOME, SWITCHES),))
    return Submission([part], render)


def switch(action: Literal["engage", "release"]) -> Submission:
    command = Command(SetKillSwitch(action=action, reason="trial"), META, SWITCHES, loaded=False)
    return Submission([Part(command, kill_switches.change, HOME, (SWITCHES,))], _told)


def _told(outcomes: Sequence[Outcome]) -> Answer:
    return Answer(409 if isinstance(outcomes[0], DomainError) else 201, b"[]")


async def stop_and_go(wishes: list[tuple[int, str, int]], mishaps: list[Mishap]) -> None:
    memory = Memory()
    writers = [Appender(MemoryStore(memory), clock=SystemClock()) for _ in range(2)]
    tasks = [asyncio.create_task(writer.run()) for writer in writers]
    for room in ROOMS:
        for submission in opening(room):
            await writers[0].submit(submission)
    memory.mishaps = list(mishaps)
    wanted = {"engage": switch("engage"), "release": switch("release")}

    async def send(writer: int, what: str, turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)  # noqa: TID251 - spreads the wishes over the batches
        try:
            await writers[writer].submit(wanted.get(what) or act(what))
        except TryLater:
            return

    await asyncio.wait_for(asyncio.gather(*(send(*wish) for wish in wishes)), 30)
    for writer in writers:
        await writer.stop()
    await asyncio.gather(*tasks)
    stopped = False
    for event in memory.events:  # in the order of their commits
        if event.entity_type == "kill_switch":
            stopped = event.event_type == "kill_switch.engaged"
        assert not (stopped and event.event_type == "message.created"), "nothing is done while a switch is engaged"


@settings(max_examples=100, deadline=None)
@given(
    wishes=st.lists(
        st.tuples(st.integers(0, 1), st.sampled_from([*ROOMS, *ROOMS, "engage", "release"]), st.integers(0, 12)),
        min_size=1,
        max_size=40,
    ),
    mishaps=st.lists(st.sampled_from(["none", "none", "none", "away before", "away after"]), max_size=12),
)
def test_what_leans_on_another_stream_holds_when_it_is_committed(
    wishes: list[tuple[int, str, int]], mishaps: list[Mishap]
) -> None:
    asyncio.run(stop_and_go(wishes, mishaps))
