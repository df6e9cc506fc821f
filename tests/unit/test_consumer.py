"""The consumer on a store in memory and a clock that only moves when somebody sleeps."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentos_shared.bus.consumer import Consumer, Limits
from agentos_shared.contracts.positions import Hint, Range, StreamKey, decode_ping, encode_ping
from agentos_shared.host import metrics

NOW = datetime(2026, 11, 24, 5, 30, tzinfo=UTC)


def key(name: str) -> StreamKey:
    return StreamKey("room", name)


class Passing(Exception):
    """An error that passes by itself."""


class Poison(Exception):
    """An error that does not."""


@dataclass(frozen=True)
class Stopped:
    key: StreamKey
    stream_seq: int
    event_id: object
    event_type: str | None
    error: str
    attempts: int


@dataclass
class State:
    """What a transaction may change."""

    checkpoints: dict[StreamKey, int] = field(default_factory=dict)
    applied: list[tuple[StreamKey, int]] = field(default_factory=list)
    parked: dict[StreamKey, Stopped] = field(default_factory=dict)


class MemoryStore:
    """Streams are heads alone. A transaction works on a copy, so that it can be rolled back."""

    def __init__(self, **heads: int) -> None:
        self.heads = {key(name): seq for name, seq in heads.items()}
        self.state = State()
        self.transactions = 0
        self.failing: list[Exception] = []
        self.claimed: list[list[Range]] = []

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[State]:
        self.transactions += 1
        if self.failing:
            raise self.failing.pop(0)
        old = self.state
        copy = State(dict(old.checkpoints), list(old.applied), dict(old.parked))
        yield copy
        self.state = copy

    async def begin(self, tx: State, streams: Sequence[StreamKey], /) -> None:
        for stream in streams:
            if stream in self.heads:
                tx.checkpoints.setdefault(stream, 0)

    async def claim(self, tx: State, wanted: Sequence[Range], /, *, parked_too: bool) -> list[Range]:
        found = []
        for want in sorted(wanted):
            upto = min(want.upto, self.heads.get(want.key, 0))
            free = parked_too or want.key not in tx.parked
            if free and tx.checkpoints.get(want.key, upto) < upto:
                found.append(Range(want.key, tx.checkpoints[want.key], upto))
        self.claimed.append(found)
        return found

    async def advance(self, tx: State, done: Sequence[Range], /) -> None:
        for moved in done:
            assert tx.checkpoints[moved.key] == moved.after
            tx.checkpoints[moved.key] = moved.upto

    async def unpark(self, tx: State, done: Sequence[Range], /) -> None:
        for moved in done:
            if moved.key in tx.parked and tx.parked[moved.key].stream_seq <= moved.upto:
                del tx.parked[moved.key]

    async def park(self, tx: State, at: Range, error: BaseException, /) -> Stopped:
        before = tx.parked.get(at.key)
        attempts = before.attempts + 1 if before is not None and before.stream_seq == at.upto else 1
        tx.parked[at.key] = Stopped(at.key, at.upto, None, "x", str(error), attempts)
        return tx.parked[at.key]

    async def count_parked(self, tx: State, /) -> int:
        return len(tx.parked)

    async def behind(self, tx: State, after: StreamKey, limit: int, /) -> list[Range]:
        found = [
            Range(stream, tx.checkpoints.get(stream, 0), head)
            for stream, head in sorted(self.heads.items())
            if stream > after and stream not in tx.parked and tx.checkpoints.get(stream, 0) < head
        ]
        return found[:limit]

    async def oldest_waiting(self, tx: State, waiting: Sequence[Range], /) -> datetime | None:
        return NOW - timedelta(seconds=7)

    def is_poison(self, error: BaseException, /) -> bool:
        return isinstance(error, Poison)


class Clock:
    """Sleeping moves it."""

    def __init__(self) -> None:
        self.time = 0.0
        self.slept: list[float] = []
        self.on_sleep: Callable[[], None] = lambda: None

    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds
        self.on_sleep()


class Rng:
    def random(self) -> float:
        return 0.5

    def token(self, size: int) -> bytes:
        return bytes(size)


class Bus:
    def __init__(self) -> None:
        self.attached = True
        self.told: list[Range] = []

    async def moved(self, done: Sequence[Range], /) -> None:
        self.told += done


@dataclass
class Case:
    store: MemoryStore
    bad: frozenset[tuple[str, int]] = frozenset()
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        self.clock, self.bus = Clock(), Bus()
        self.consumer = Consumer(
            "unit",
            store=self.store,
            bus=self.bus,
            clock=self.clock,
            rng=Rng(),
            effects=self.effects,
            limits=self.limits,
        )

    async def effects(self, tx: State, ranges: Sequence[Range]) -> None:
        for r in ranges:
            for seq in range(r.after + 1, r.upto + 1):
                if (r.key.stream_id, seq) in self.bad:
                    raise Poison(f"{r.key.stream_id} {seq}")
                tx.applied.append((r.key, seq))

    def applied(self, name: str) -> list[int]:
        return [seq for stream, seq in self.store.state.applied if stream == key(name)]


async def test_a_hint_brings_the_whole_stream_up_to_its_head() -> None:
    case = Case(MemoryStore(a=5, b=3))
    await case.consumer.on_hints([Hint(key("a"), 2)])
    assert case.applied("a") == [1, 2, 3, 4, 5]
    assert case.applied("b") == []
    assert case.bus.told == [Range(key("a"), 0, 5)]


async def test_a_hint_of_what_was_applied_costs_no_query() -> None:
    case = Case(MemoryStore(a=5))
    await case.consumer.on_hints([Hint(key("a"), 5)])
    before = case.store.transactions
    await case.consumer.on_hints([Hint(key("a"), 4), Hint(key("a"), 5)])
    assert case.store.transactions == before


async def test_a_hint_beyond_the_store_or_of_an_unknown_stream_does_nothing() -> None:
    case = Case(MemoryStore(a=5))
    await case.consumer.on_hints([Hint(key("a"), 99), Hint(key("ghost"), 1)])
    await case.consumer.on_hints([Hint(key("a"), 99), Hint(key("ghost"), 1)])
    assert case.applied("a") == [1, 2, 3, 4, 5]
    assert case.store.state.checkpoints == {key("a"): 5}


async def test_one_batch_is_one_transaction_and_its_rest_is_left_to_the_reconciler() -> None:
    case = Case(MemoryStore(long=100, short=3), limits=Limits(batch_events=10))
    await case.consumer.on_hints([Hint(key("long"), 100), Hint(key("short"), 3)])
    # The short one is not held up by the long one.
    assert case.store.state.checkpoints == {key("short"): 3, key("long"): 7}
    assert case.store.transactions == 1
    await case.consumer.reconcile()
    assert case.applied("long") == list(range(1, 101))


async def test_what_passes_is_retried_with_growing_pauses_and_parks_nothing() -> None:
    case = Case(MemoryStore(a=2))
    case.store.failing = [Passing("deadlock")] * 8
    await case.consumer.on_hints([Hint(key("a"), 2)])
    assert case.applied("a") == [1, 2]
    assert case.store.state.parked == {}
    assert case.clock.slept == sorted(case.clock.slept)
    assert case.clock.slept[0] < 0.06
    assert max(case.clock.slept) <= 2


async def test_after_several_events_more_may_gather_and_a_lone_one_waits_for_nothing() -> None:
    case = Case(MemoryStore(a=1, b=40, c=4000), limits=Limits(rest_s=0.25))
    await case.consumer.on_hints([Hint(key("a"), 1)])
    assert case.clock.slept == []
    await case.consumer.on_hints([Hint(key("b"), 40)])
    await case.consumer.on_hints([Hint(key("c"), 4000)])
    short, longest = case.clock.slept
    assert 0 < short < longest <= 0.25


async def test_nothing_gathers_while_somebody_waits() -> None:
    case = Case(MemoryStore(a=40, b=40), limits=Limits(rest_s=0.25))
    case.consumer.hurry()
    await case.consumer.on_hints([Hint(key("a"), 40)])
    assert case.clock.slept == []
    await case.consumer.on_hints([Hint(key("b"), 40)])
    assert len(case.clock.slept) == 1


async def test_patience_may_be_bounded() -> None:
    case = Case(MemoryStore(a=2), limits=Limits(patience_s=3))
    case.store.failing = [Passing("connection lost")] * 100
    with pytest.raises(Passing):
        await case.consumer.on_hints([Hint(key("a"), 2)])
    assert 3 < case.clock.time < 10


async def test_poison_is_found_in_few_tries() -> None:
    heads = {f"r{number:03}": 10 for number in range(100)}
    case = Case(MemoryStore(**heads), bad=frozenset({("r042", 7)}))
    await case.consumer.on_hints([Hint(key(name), 10) for name in heads])
    assert case.applied("r042") == [1, 2, 3, 4, 5, 6]
    assert all(case.applied(name) == list(range(1, 11)) for name in heads if name != "r042")
    assert case.store.state.parked[key("r042")].stream_seq == 7
    assert case.store.transactions < 30


async def test_a_retry_tries_only_what_it_is_given_and_up_to_the_next_poison() -> None:
    case = Case(MemoryStore(a=9, b=4), bad=frozenset({("a", 3), ("a", 7), ("b", 2)}))
    await case.consumer.reconcile()
    case.bad = frozenset({("a", 7), ("b", 2)})
    (again,) = await case.consumer.retry_parked([key("a")])
    assert (again.key, again.stream_seq, again.attempts) == (key("a"), 7, 1)
    assert case.applied("a") == [1, 2, 3, 4, 5, 6]
    assert case.store.state.parked[key("b")].attempts == 1
    (again,) = await case.consumer.retry_parked([key("b")])
    assert (again.stream_seq, again.attempts) == (2, 2)
    case.bad = frozenset()
    assert await case.consumer.retry_parked([key("a"), key("b")]) == []
    assert case.store.state.parked == {}
    assert case.store.state.checkpoints == case.store.heads


async def test_reconciling_reads_page_by_page_and_tells_the_lag() -> None:
    heads = {f"r{number}": 2 for number in range(7)}
    case = Case(MemoryStore(**heads), limits=Limits(page=3))
    lags: list[float | None] = []
    apply = case.effects

    async def effects(tx: State, ranges: Sequence[Range]) -> None:
        lags.append(metrics.REGISTRY.get_sample_value("agentos_consumer_lag_events", {"consumer": "unit"}))
        await apply(tx, ranges)

    case.consumer._effects = effects
    await case.consumer.reconcile()
    assert case.store.state.checkpoints == case.store.heads
    assert lags == [6, 6, 2]
    assert metrics.REGISTRY.get_sample_value("agentos_consumer_lag_events", {"consumer": "unit"}) == 0


@pytest.mark.parametrize(("attached", "pause"), [(True, 5.0), (False, 0.25)])
async def test_it_compares_more_often_while_no_hints_arrive(attached: bool, pause: float) -> None:
    case = Case(MemoryStore(a=1))
    case.bus.attached = attached
    enough = asyncio.Event()
    case.clock.on_sleep = lambda: enough.set() if len(case.clock.slept) == 3 else None
    await _until(case, enough)
    assert case.clock.slept[:3] == [pause] * 3


async def test_slow_comparisons_are_made_less_often() -> None:
    case = Case(MemoryStore(a=1))
    slow = case.store.behind

    async def behind(tx: State, after: StreamKey, limit: int, /) -> list[Range]:
        case.clock.time += 1
        return await slow(tx, after, limit)

    case.store.behind = behind  # type: ignore[method-assign]
    enough = asyncio.Event()
    case.clock.on_sleep = enough.set
    await _until(case, enough)
    # Two pages of a second each, at most a fiftieth of the time.
    assert case.clock.slept[0] == 100


async def test_waking_it_cuts_the_pause_short() -> None:
    case = Case(MemoryStore(a=1))
    asleep, again = asyncio.Event(), asyncio.Event()

    async def sleep(seconds: float) -> None:
        (again if asleep.is_set() else asleep).set()
        await asyncio.Event().wait()

    case.clock.sleep = sleep  # type: ignore[method-assign]
    task = asyncio.create_task(case.consumer.reconcile_forever())
    async with asyncio.timeout(5):
        await asleep.wait()
        await case.consumer.caught_up()
        case.store.heads[key("a")] = 3
        case.consumer.wake()
        await again.wait()
    assert case.applied("a") == [1, 2, 3]
    await _cancel(task)


async def _until(case: Case, enough: asyncio.Event) -> None:
    task = asyncio.create_task(case.consumer.reconcile_forever())
    async with asyncio.timeout(5):
        await enough.wait()
    await _cancel(task)


async def _cancel(task: "asyncio.Task[Any]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@settings(max_examples=200, deadline=None)
@given(
    heads=st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 12), min_size=1),
    bad=st.frozensets(st.tuples(st.sampled_from("abcdef"), st.integers(1, 12)), max_size=6),
    hints=st.lists(st.tuples(st.sampled_from("abcdefz"), st.integers(0, 20)), max_size=12),
    batch=st.integers(1, 9),
)
def test_every_stream_is_applied_once_in_order_up_to_its_first_poison(
    heads: dict[str, int], bad: frozenset[tuple[str, int]], hints: list[tuple[str, int]], batch: int
) -> None:
    case = Case(MemoryStore(**heads), bad=bad, limits=Limits(batch_events=batch, page=2))

    async def run() -> None:
        await case.consumer.on_hints([Hint(key(name), seq) for name, seq in hints])
        await case.consumer.reconcile()

    asyncio.run(run())
    for name, head in heads.items():
        first_bad = min((seq for stream, seq in bad if stream == name and seq <= head), default=head + 1)
        assert case.applied(name) == list(range(1, first_bad))
        assert (key(name) in case.store.state.parked) == (first_bad <= head)


def test_a_ping_is_bounded_and_says_so() -> None:
    few = [Range(key("a"), 0, 3), Range(key("b"), 1, 2)]
    assert decode_ping(encode_ping(few)) == ({"room/a": 3, "room/b": 2}, True)
    many = [Range(key(str(number)), 0, 1) for number in range(501)]
    positions, complete = decode_ping(encode_ping(many))
    assert (len(positions), complete) == (500, False)


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"null", b'{"positions": {"a": "x"}, "complete": true}'])
def test_a_malformed_ping_is_empty_and_incomplete(body: bytes) -> None:
    assert decode_ping(body) == ({}, False)
