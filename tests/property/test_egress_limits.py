"""However requests come, and however the clock is set, a limit never lets through more than its burst and its rate."""

from datetime import UTC, datetime, timedelta
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from agentos_gateway.limits.gcra import Limit, limit_of, take

START: Final = datetime(2026, 11, 24, 5, 30, tzinfo=UTC)
MICROSECONDS: Final = st.integers(-5_000_000, 5_000_000)
LIMITS: Final = st.builds(limit_of, st.integers(1, 1_000), st.integers(1, 120), st.integers(1, 20))


def at_most(limit: Limit, span: timedelta) -> float:
    """As the definition has it: the burst, and the rate over the span."""
    return limit.burst + span / limit.each


@settings(max_examples=2_000)
@given(limit=LIMITS, steps=st.lists(MICROSECONDS, min_size=1, max_size=60))
def test_over_any_span_never_more_than_burst_and_rate(limit: Limit, steps: list[int]) -> None:
    now, tat = START, None
    highest: datetime | None = None  # that the limit has seen
    seen: list[tuple[datetime, bool]] = []
    for step in steps:  # forwards and backwards
        now += timedelta(microseconds=step)
        highest = now if highest is None else max(highest, now)
        taken = take(tat, now, limit)
        tat = taken.tat
        seen.append((highest, taken.allowed))
    for first in range(len(seen)):
        if not seen[first][1]:
            continue
        count = 0
        for time, allowed in seen[first:]:
            count += allowed
            assert count <= at_most(limit, time - seen[first][0]) + 1e-9


@settings(max_examples=1_000)
@given(limit=LIMITS, steps=st.lists(st.integers(0, 5_000_000), min_size=1, max_size=60))
def test_it_refuses_nothing_that_the_limit_has_room_for(limit: Limit, steps: list[int]) -> None:
    now = START
    tat: datetime | None = None
    for step in steps:
        now += timedelta(microseconds=step)
        before = tat
        taken = take(tat, now, limit)
        tat = taken.tat
        if not taken.allowed:
            assert before is not None
            assert before - now > limit.span - limit.each
            assert take(before, now + taken.wait, limit).allowed


@settings(max_examples=500)
@given(requests=st.integers(1, 1_000_000), per_s=st.integers(1, 31 * 86_400), burst=st.integers(1, 1_000))
def test_the_rate_is_kept_to_the_strict_side(requests: int, per_s: int, burst: int) -> None:
    limit = limit_of(requests, per_s, burst)
    assert timedelta(seconds=per_s) / limit.each <= requests
    assert limit.each - timedelta(seconds=per_s) / requests <= timedelta(microseconds=1)
