"""The consumer that every service uses to follow the event store: exactly-once effects from hints that may lie.

What holds, whatever the bus does:

- A message only hints that a stream moved. What to apply is read from the store, from the checkpoint to the head. So a
  duplicate finds nothing to do, a reordered message finds its predecessors applied with it, and a lost one is made good
  by the next, or by the reconciler: it compares heads with checkpoints at start, on attaching and every few seconds.
- Effects and checkpoints commit in one transaction, under row locks on the checkpoints. Of two consumers of one name,
  each stream is with one at a time; when one dies its locks die with it and the other goes on.
- An event that cannot be applied (poison) is found by halving the batch. Its stream is parked there; the rest commits.
- What passes by itself (a lost connection, a deadlock, a time-out) is retried with back-off and jitter; never poison.

Effects must lie in the transaction they are given. They are not repeated, but a rolled-back try may have run before.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Final, Generic, Protocol, TypeVar

import structlog

from agentos_shared.bus import consumer_metrics as metrics
from agentos_shared.contracts.positions import Hint, Range, StreamKey
from agentos_shared.host.failpoints import failpoint
from agentos_shared.host.lifecycle import Backoff, Clock, Rng

log = structlog.get_logger("agentos.consumer")

T = TypeVar("T")
Tx = TypeVar("Tx")

#: Asks for a stream as far as its head reaches.
TO_HEAD: Final = 2**63 - 1
_FIRST: Final = StreamKey("", "")
#: Streams that the lag in seconds is taken from.
_SAMPLE: Final = 100


class ParkedStream(Protocol):
    """What the store tells about a stream that it parked."""

    @property
    def key(self) -> StreamKey: ...
    @property
    def stream_seq(self) -> int: ...
    @property
    def event_id(self) -> object: ...
    @property
    def event_type(self) -> str | None: ...
    @property
    def error(self) -> str: ...
    @property
    def attempts(self) -> int: ...


class Store(Protocol[Tx]):
    """Port to the event store and the checkpoints, such as ``agentos_shared.store.checkpoints.PoolStore``."""

    def transaction(self) -> AbstractAsyncContextManager[Tx]: ...
    async def begin(self, connection: Tx, streams: Sequence[StreamKey], /) -> None: ...
    async def claim(self, connection: Tx, wanted: Sequence[Range], /, *, parked_too: bool) -> list[Range]: ...
    async def advance(self, connection: Tx, done: Sequence[Range], /) -> None: ...
    async def unpark(self, connection: Tx, done: Sequence[Range], /) -> None: ...
    async def park(self, connection: Tx, at: Range, error: BaseException, /) -> ParkedStream: ...
    async def count_parked(self, connection: Tx, /) -> int: ...
    async def behind(self, connection: Tx, after: StreamKey, limit: int, /) -> list[Range]: ...
    async def oldest_waiting(self, connection: Tx, waiting: Sequence[Range], /) -> datetime | None: ...
    def is_poison(self, error: BaseException, /) -> bool: ...


class Bus(Protocol):
    """Port to the bus: what a consumer says after a commit. Losing it costs a fallback poll, so it must not raise."""

    async def moved(self, done: Sequence[Range], /) -> None: ...
    @property
    def attached(self) -> bool:
        """False while hints cannot arrive."""
        ...


#: Applies the events of some ranges inside the given transaction.
Effects = Callable[[Tx, Sequence[Range]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one consumer.

    Attributes:
        batch_events: events in one transaction.
        reconcile_s: seconds between comparisons of heads with checkpoints.
        detached_s: the same while no hints arrive.
        page: streams that one comparison reads at a time.
        most_load: share of the time that comparisons may take; a store with very many streams is compared less often.
        patience_s: seconds for which what passes by itself is retried; None: for ever.
        remembered: streams whose position is kept in memory, so that a stale hint costs no query.
        rest_s_per_event: pause after hints, for each further event that they brought. A transaction costs the same for
            one event as for fifty: under load the pause lets the next ones gather, a lone event waits for nothing.
        rest_s: the longest such pause; 0: none, for effects that somebody always waits for. Where that is not so, who
            waits after all ends it with :meth:`Consumer.hurry`.
    """

    batch_events: int = 5000
    reconcile_s: float = 5.0
    detached_s: float = 0.25
    page: int = 1000
    most_load: float = 0.02
    patience_s: float | None = None
    remembered: int = 100_000
    rest_s_per_event: float = 0.0005
    rest_s: float = 0.0


@dataclass(slots=True)
class _Batch:
    """What one transaction takes, and what did not fit into it."""

    taken: list[Range] = field(default_factory=list)
    left: list[Range] = field(default_factory=list)


@dataclass(slots=True)
class Outcome:
    """What became of some wanted ranges: committed, still to do, stopped."""

    done: list[Range] = field(default_factory=list)
    left: list[Range] = field(default_factory=list)
    parked: list[ParkedStream] = field(default_factory=list)


class Consumer(Generic[Tx]):
    """Applies every event of every stream once. Feed it :meth:`on_hints`; keep :meth:`reconcile_forever` running."""

    def __init__(
        self,
        name: str,
        *,
        store: Store[Tx],
        bus: Bus,
        clock: Clock,
        rng: Rng,
        effects: Effects[Tx],
        limits: Limits = Limits(),
    ) -> None:
        self._name = name
        self._store = store
        self._bus = bus
        self._clock = clock
        self._rng = rng
        self._effects = effects
        self._limits = limits
        self._positions: dict[StreamKey, int] = {}
        # One transaction at a time in this process: hints and healing take turns, so neither starves the other.
        self._turn = asyncio.Lock()
        self._wake = asyncio.Event()
        self._hurried = asyncio.Event()
        self._caught_up = asyncio.Event()
        self._metrics = metrics.of(name)

    async def on_hints(self, hints: Sequence[Hint]) -> None:
        """Apply what the store holds for the hinted streams; return when it is committed.

        What does not fit into one transaction (a gap of thousands of events) is left to the reconciler, which is woken.
        """
        self._metrics.hints.inc(len(hints))
        wanted = {hint.key for hint in hints if self._positions.get(hint.key, 0) < hint.seq}
        if wanted:
            outcome = await self.apply([Range(key, 0, TO_HEAD) for key in wanted])
            if outcome.left:
                self.wake()
            await self._rest(sum(done.events for done in outcome.done))

    async def _rest(self, applied: int) -> None:
        pause = min(self._limits.rest_s, (applied - 1) * self._limits.rest_s_per_event)
        if pause > 0 and not self._hurried.is_set():
            await self._sleep_unless(self._hurried, pause)
        self._hurried.clear()

    def hurry(self) -> None:
        """End the pause after hints, or leave out the next one: somebody waits for the effects."""
        self._hurried.set()

    def wake(self) -> None:
        """Compare heads with checkpoints now: hints may have been lost."""
        self._wake.set()

    async def caught_up(self) -> None:
        """Wait until the consumer has once reached all heads."""
        await self._caught_up.wait()

    @property
    def is_caught_up(self) -> bool:
        """True once it has reached all heads since it started."""
        return self._caught_up.is_set()

    async def reconcile_forever(self) -> None:
        """Heal whatever hints did not bring: at once, when woken, and every few seconds."""
        while True:
            self._wake.clear()
            started = self._clock.monotonic()
            compared = await self.reconcile()
            self._caught_up.set()
            pause = self._limits.reconcile_s if self._bus.attached else self._limits.detached_s
            pause = max(pause, compared / self._limits.most_load)
            log.debug(
                "reconciled",
                consumer=self._name,
                seconds=round(self._clock.monotonic() - started, 3),
            )
            await self._sleep_unless(self._wake, pause * (0.9 + 0.2 * self._rng.random()))

    async def reconcile(self) -> float:
        """Apply everything that is behind, page by page, each stream up to its head as found.

        Returns:
            The seconds that the comparisons took.
        """
        compared, lag_events, lag_s, after = 0.0, 0, 0.0, _FIRST
        while True:
            started = self._clock.monotonic()
            page, oldest = await self._patiently(partial(self._behind, after))
            compared += self._clock.monotonic() - started
            if not page:
                self._metrics.lag(0, 0.0)
                return compared
            lag_events += sum(r.events for r in page)
            if oldest is not None:
                lag_s = max(lag_s, (self._clock.now() - oldest).total_seconds())
            left = [Range(r.key, 0, r.upto) for r in page]
            while left:
                self._metrics.lag(lag_events, lag_s)
                outcome = await self.apply(left)
                lag_events -= min(lag_events, sum(r.events for r in outcome.done))
                left = outcome.left
            after = page[-1].key

    async def retry_parked(self, streams: Sequence[StreamKey]) -> list[ParkedStream]:
        """Try parked streams again, up to their heads. Returns those that were parked again."""
        again: list[ParkedStream] = []
        for key in streams:
            left = [Range(key, 0, TO_HEAD)]
            while left:
                outcome = await self.apply(left, parked_too=True)
                again += outcome.parked
                left = [] if outcome.parked else outcome.left
        return again

    async def _behind(self, after: StreamKey) -> tuple[list[Range], datetime | None]:
        async with self._store.transaction() as tx:
            page = await self._store.behind(tx, after, self._limits.page)
            oldest = await self._store.oldest_waiting(tx, page[:_SAMPLE]) if page else None
            self._metrics.parked.set(await self._store.count_parked(tx))
            return page, oldest

    async def apply(self, wanted: Sequence[Range], *, parked_too: bool = False) -> "Outcome":
        """One batch of some streams, from their checkpoints up to ``upto`` or the head; ``after`` is not looked at."""
        async with self._turn:
            outcome = await self._settle(wanted, parked_too)
        for moved in outcome.done:
            self._remember(moved)
        return outcome

    async def _settle(self, wanted: Sequence[Range], parked_too: bool) -> "Outcome":
        """Apply, halving on poison until one event stands accused; that one is parked."""
        batch = _Batch()
        try:
            await self._patiently(partial(self._apply, wanted, parked_too, batch))
        except Exception as error:
            if not self._store.is_poison(error) or not batch.taken:
                raise
            outcome = Outcome(left=batch.left)
            if len(batch.taken) == 1 and batch.taken[0].events == 1:
                outcome.parked.append(await self._patiently(partial(self._park, batch.taken[0], error)))
                return outcome
            for half in _halves(batch.taken):
                part = await self._settle(half, parked_too)
                outcome.done += part.done
                outcome.left += part.left
                outcome.parked += part.parked
                if parked_too and part.parked:
                    break  # what follows is of the same stream, and would be tried in spite of its being parked
            return outcome
        return Outcome(done=batch.taken, left=batch.left)

    async def _apply(self, wanted: Sequence[Range], parked_too: bool, batch: "_Batch") -> None:
        """One transaction. ``batch`` also tells the caller what was in it when it failed."""
        started = self._clock.monotonic()
        batch.taken, batch.left = [], []
        async with self._store.transaction() as tx:
            strange = [w.key for w in wanted if w.key not in self._positions]
            if strange:
                await self._store.begin(tx, strange)
            claimed = await self._store.claim(tx, wanted, parked_too=parked_too)
            batch.taken, batch.left = _fit(claimed, self._limits.batch_events)
            if not batch.taken:
                return
            await self._effects(tx, batch.taken)
            await self._store.advance(tx, batch.taken)
            if parked_too:
                await self._store.unpark(tx, batch.taken)
            failpoint(f"{self._name}.before_commit")
        failpoint(f"{self._name}.after_commit")
        self._metrics.batch(batch.taken, self._clock.monotonic() - started)
        await self._bus.moved(batch.taken)

    async def _park(self, at: Range, error: BaseException) -> ParkedStream:
        async with self._store.transaction() as tx:
            stopped = await self._store.park(tx, at, error)
            self._metrics.parked.set(await self._store.count_parked(tx))
        self._metrics.poison.inc()
        log.error(
            "stream_parked",
            consumer=self._name,
            stream=f"{at.key.stream_type}/{at.key.stream_id}",
            stream_seq=stopped.stream_seq,
            event_id=str(stopped.event_id),
            event_type=stopped.event_type,
            error=stopped.error,
            attempts=stopped.attempts,
        )
        return stopped

    async def _patiently(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Repeat what fails for reasons that pass, as a service without end: it has nothing better to do."""
        backoff = Backoff(0.05, 2.0, rng=self._rng)
        started = self._clock.monotonic()
        patience_s = self._limits.patience_s
        while True:
            try:
                return await attempt()
            except Exception as error:
                waited = self._clock.monotonic() - started
                if self._store.is_poison(error) or (patience_s is not None and waited > patience_s):
                    raise
                # Positions may be wrong after a failover or a restore; the store is asked again.
                self._positions.clear()
                self._metrics.retries.inc()
                pause = backoff.next_s()
                log.warning(
                    "apply_retried",
                    consumer=self._name,
                    error=f"{type(error).__name__}: {error}",
                    next_try_s=round(pause, 2),
                )
                await self._clock.sleep(pause)

    def _remember(self, moved: Range) -> None:
        if len(self._positions) >= self._limits.remembered:
            self._positions.clear()
        self._positions[moved.key] = moved.upto

    async def _sleep_unless(self, wake: asyncio.Event, seconds: float) -> None:
        sleep = asyncio.ensure_future(self._clock.sleep(seconds))
        woken = asyncio.ensure_future(wake.wait())
        try:
            await asyncio.wait((sleep, woken), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sleep, woken):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task


def _fit(claimed: Sequence[Range], most: int) -> tuple[list[Range], list[Range]]:
    """One batch of at most ``most`` events, and the rest. Short ranges first: a long gap must not hold up others."""
    taken: list[Range] = []
    left: list[Range] = []
    room = most
    for r in sorted(claimed, key=lambda r: r.events):
        if r.events <= room:
            taken.append(r)
        elif room > 0:
            taken.append(Range(r.key, r.after, r.after + room))
            left.append(Range(r.key, r.after + room, r.upto))
        else:
            left.append(r)
        room = max(0, room - r.events)
    return taken, left


def _halves(ranges: Sequence[Range]) -> tuple[list[Range], list[Range]]:
    """Two parts to try by themselves: half of the streams each, or for one stream half of its events each."""
    if len(ranges) > 1:
        middle = len(ranges) // 2
        return list(ranges[:middle]), list(ranges[middle:])
    key, after, upto = ranges[0]
    middle = (after + upto) // 2
    return [Range(key, after, middle)], [Range(key, middle, upto)]
