"""Requests that wait until an approval is decided, woken by the commit that decides it.

What this process commits wakes those who wait for that very approval. What others commit is announced by hints, which
name the stream: all who wait there look again. A hint may get lost, so now and then everybody looks.
"""

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias, TypeVar

from nats.aio.client import Client

from agentos_api.append.appender import Committed
from agentos_api.live.hints import Hints
from agentos_shared.contracts import subjects
from agentos_shared.domain.errors import TryLater
from agentos_shared.host import metrics
from agentos_shared.host.lifecycle import CLOCK, RNG, Clock, Rng

Found = TypeVar("Found")
Key = TypeVar("Key")
StreamKey: TypeAlias = tuple[str, str]

SEEING: Final = metrics.gauge("decision_hints_seeing", "1 while hints of other processes' decisions arrive.")
#: Seconds between looks when nothing wakes: while hints arrive, and while they do not.
POLL_S: Final = 5.0
POLL_BLIND_S: Final = 0.25
MAX_WAITING: Final = 5_000
#: Commits of this process that are remembered, so that their own hints wake nobody a second time.
REMEMBERED: Final = 10_000


class Decisions:
    """Who waits for which approval, in this process.

    Args:
        nats: where other processes' commits are announced; None: only polls tell of them.
    """

    def __init__(self, nats: Client | None, *, clock: Clock = CLOCK, rng: Rng = RNG) -> None:
        self._clock = clock
        self._rng = rng
        self._by_approval: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._by_stream: defaultdict[StreamKey, set[asyncio.Event]] = defaultdict(set)
        self._own: OrderedDict[tuple[StreamKey, int], None] = OrderedDict()
        self._waiting = 0
        self._stopping = False
        always = asyncio.Event()
        always.set()
        self._hints = (
            None
            if nats is None
            else Hints(
                nats,
                always,
                self.on_hint,
                clock=clock,
                rng=rng,
                filter_subject=subjects.APPROVAL_EVENTS,
                seeing=SEEING,
            )
        )

    async def start(self) -> None:
        """Begin to listen. Idempotent."""
        if self._hints is not None:
            await self._hints.start()

    async def stop(self) -> None:
        """Answer all who wait with what there is. Idempotent."""
        self.drain()
        if self._hints is not None:
            await self._hints.stop()

    def drain(self) -> None:
        """From now on nobody waits."""
        self._stopping = True
        for waiting in self._by_approval.values():
            for event in waiting:
                event.set()

    def on_commit(self, batch: Sequence[Committed]) -> None:
        """Wake who waits for what this process has just committed."""
        for event in (committed.event for committed in batch):
            if event.entity_type != "approval":
                continue
            self._own[(event.stream_type, event.stream_id), event.stream_seq] = None
            if len(self._own) > REMEMBERED:
                self._own.popitem(last=False)
            for waiting in self._by_approval.get(event.entity_id, ()):
                waiting.set()

    def on_hint(self, key: StreamKey, seq: int, _traceparent: str | None = None) -> None:
        """Somebody committed something about an approval of this stream."""
        if (key, seq) in self._own:
            return
        for waiting in self._by_stream.get(key, ()):
            waiting.set()

    async def until(
        self,
        approval_id: str,
        wait_s: float,
        look: Callable[[], Awaitable[Found]],
        decided: Callable[[Found], bool],
        stream: Callable[[Found], StreamKey],
    ) -> Found:
        """What ``look`` finds once it is ``decided``, or when ``wait_s`` are over.

        Raises:
            TryLater: ``too_many_waiting``; whatever ``look`` raises.
        """
        found = await look()
        if wait_s <= 0 or decided(found):
            return found
        if self._waiting >= MAX_WAITING:
            raise TryLater("too_many_waiting", "Too many requests wait for decisions here; ask again without wait_s.")
        woken = asyncio.Event()
        key = stream(found)
        until = self._clock.monotonic() + wait_s
        self._waiting += 1
        self._by_approval[approval_id].add(woken)
        self._by_stream[key].add(woken)
        try:
            while not self._stopping:
                woken.clear()  # registered before this look, so a commit after it cannot go unnoticed
                found = await look()
                left = until - self._clock.monotonic()
                if decided(found) or left <= 0:
                    break
                await self._sleep(woken, left)
            return found
        finally:
            self._waiting -= 1
            _forget(self._by_approval, approval_id, woken)
            _forget(self._by_stream, key, woken)

    async def _sleep(self, woken: asyncio.Event, left: float) -> None:
        poll = POLL_S if self._hints is not None and self._hints.seeing else POLL_BLIND_S
        try:
            async with asyncio.timeout(min(left, poll * (0.75 + self._rng.random() / 2))):
                await woken.wait()
        except TimeoutError:
            return


def _forget(waiting: "dict[Key, set[asyncio.Event]]", key: Key, woken: asyncio.Event) -> None:
    waiting[key].discard(woken)
    if not waiting[key]:
        del waiting[key]
