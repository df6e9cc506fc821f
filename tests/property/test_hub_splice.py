"""Whatever happens in whatever order, each SSE client sees each event once, in order, without a gap."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from agentos_api.live import frames
from agentos_api.live.client import Client
from agentos_api.live.feed import StreamKey
from agentos_api.live.history import Page, StreamHead
from agentos_api.live.hub import Hub

KEY = ("room", "room_a")
NAMED = re.compile(rb"event: (\w+)\n")
DATA = re.compile(rb"^id: (\d+)\ndata: ")


class SlowHistory:
    """A store whose reads see what was committed when they began, and answer when they are told to."""

    def __init__(self) -> None:
        self.head_seq = 0
        self._pending: list[asyncio.Event] = []

    async def page(self, key: StreamKey, after: int) -> Page:
        assert key == KEY
        seen = self.head_seq
        answer = asyncio.Event()
        self._pending.append(answer)
        await answer.wait()
        return Page(after, [frame(seq) for seq in range(after + 1, min(seen, after + 7) + 1)])

    async def head(self, key: StreamKey) -> StreamHead | None:
        raise NotImplementedError

    async def heads(self, keys: Sequence[StreamKey]) -> dict[StreamKey, int]:
        return dict.fromkeys(keys, self.head_seq)

    def answer(self) -> None:
        for pending in self._pending:
            pending.set()
        self._pending.clear()


class Viewer:
    """A client's end: what it got, and whether its socket takes more."""

    def __init__(self, cursor: int) -> None:
        self.first = cursor + 1
        self.seen: list[int] = []
        self.named: list[bytes] = []
        self.finished = False
        self.open = asyncio.Event()
        self.open.set()
        self.client: Client | None = None

    async def send(self, message: Mapping[str, Any]) -> None:
        if not self.open.is_set():
            await self.open.wait()
        for part in bytes(message["body"]).split(b"\n\n"):
            if name := NAMED.match(part):
                self.named.append(name[1])
            elif data := DATA.match(part):
                self.seen.append(int(data[1]))
        self.finished |= not message["more_body"]


def frame(seq: int) -> bytes:
    return frames.event(seq, b'{"n":%d}' % seq)


class Splice(RuleBasedStateMachine):
    """Commits of ours and of others, hints, pages, blocked sockets and new clients, interleaved at random."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.history = SlowHistory()
        self.viewers: list[Viewer] = []
        self.unheard: list[int] = []

    @initialize(events=st.integers(0, 20))
    def begin(self, events: int) -> None:
        self.history.head_seq = events

        async def make() -> Hub:
            return Hub(self.history)

        self.hub = self.loop.run_until_complete(make())

    def _run(self, turns: int) -> None:
        async def spin() -> None:
            for _ in range(turns):
                await asyncio.sleep(0)  # noqa: TID251 - lets the hub's tasks take their turns, one by one

        self.loop.run_until_complete(spin())

    def _do(self, action: Any) -> None:
        async def act() -> None:
            action()

        self.loop.run_until_complete(act())

    @rule(turns=st.integers(1, 8))
    def time_passes(self, turns: int) -> None:
        self._run(turns)

    @rule(count=st.integers(1, 4))
    def we_commit(self, count: int) -> None:
        for _ in range(count):
            self.history.head_seq += 1
            seq = self.history.head_seq
            self._do(lambda seq=seq: self._offer(seq))

    @rule(count=st.integers(1, 4))
    def others_commit(self, count: int) -> None:
        self.history.head_seq += count

    @rule(back=st.integers(0, 5))
    def a_hint_comes(self, back: int) -> None:
        if self.history.head_seq > back:  # a hint is never of what is not committed
            self._do(lambda: self.hub.on_hint(KEY, self.history.head_seq - back))

    @rule(back=st.integers(0, 5))
    def an_old_commit_is_told_again(self, back: int) -> None:
        if self.history.head_seq > back:
            self._do(lambda: self._offer(self.history.head_seq - back))

    @rule()
    def the_store_answers(self) -> None:
        self._do(self.history.answer)
        self._run(2)

    @rule(cursor=st.integers(0, 40))
    def a_client_comes(self, cursor: int) -> None:
        viewer = Viewer(min(cursor, self.history.head_seq))
        self.viewers.append(viewer)

        def attach() -> None:
            viewer.client = self.hub.attach(KEY, viewer.send, lambda: None, viewer.first - 1, frames.RETRY)

        self._do(attach)

    @rule(which=st.integers(0, 5))
    def a_socket_blocks(self, which: int) -> None:
        if which < len(self.viewers):
            self.viewers[which].open.clear()

    @rule(which=st.integers(0, 5))
    def a_socket_opens(self, which: int) -> None:
        if which < len(self.viewers):
            self._do(self.viewers[which].open.set)

    @rule(which=st.integers(0, 5))
    def a_client_goes(self, which: int) -> None:
        if which < len(self.viewers):
            viewer = self.viewers.pop(which)
            assert viewer.client is not None
            self._do(viewer.client.close)
            before = len(viewer.seen)
            self._run(3)
            assert len(viewer.seen) == before

    @invariant()
    def each_saw_a_prefix_without_gap(self) -> None:
        for viewer in self.viewers:
            assert viewer.seen == list(range(viewer.first, viewer.first + len(viewer.seen)))

    def _offer(self, seq: int) -> None:
        feed = self.hub._feeds.get(KEY)
        if feed is not None:
            self.hub._offer(feed, seq, frame(seq))

    def teardown(self) -> None:
        if hasattr(self, "hub"):
            for viewer in self.viewers:
                self._do(viewer.open.set)
            self._do(lambda: self.hub.on_heads([(KEY, self.history.head_seq)]))
            for _ in range(60):
                self._do(self.history.answer)
                self._run(4)
            for viewer in self.viewers:
                assert viewer.seen == list(range(viewer.first, self.history.head_seq + 1))
                assert viewer.named == [b"caught_up"]
            clients = [viewer.client for viewer in self.viewers if viewer.client is not None]
            for client in clients:
                self._do(client.close)
            self._run(3)
            assert self.hub.clients == 0
            assert not self.hub._feeds
            assert self.hub._bytes == 0
        self.loop.close()


Splice.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestSplice = Splice.TestCase
