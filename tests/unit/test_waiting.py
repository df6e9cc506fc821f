"""Waiting for the projector: woken, polling, bounded."""

import asyncio

import pytest

from agentos_api.reads.waiting import Projected
from agentos_shared.domain.errors import NotFound, TryLater


async def test_what_is_there_is_answered_with_one_look() -> None:
    looks = 0

    async def look() -> str | None:
        nonlocal looks
        looks += 1
        return "row"

    assert await Projected().until(look) == "row"
    assert looks == 1


async def test_a_wake_up_answers_long_before_the_next_poll() -> None:
    projected = Projected(bound_s=30, poll_s=20)
    waits = asyncio.Event()
    rows: list[str] = []
    looks = 0

    async def look() -> str | None:
        nonlocal looks
        looks += 1
        if looks == 2:
            waits.set()
        return rows[0] if rows else None

    async with asyncio.timeout(5):
        reading = asyncio.create_task(projected.until(look))
        await waits.wait()
        rows.append("row")
        projected.wake()
        assert await reading == "row"


async def test_a_commit_between_look_and_sleep_is_not_missed() -> None:
    projected = Projected(bound_s=30, poll_s=20)
    looks = 0

    async def look() -> str | None:
        nonlocal looks
        looks += 1
        if looks == 2:
            projected.wake()  # comes while this look is under way and too late for it
            return None
        return "row" if looks == 3 else None

    async with asyncio.timeout(5):
        assert await projected.until(look) == "row"


async def test_a_lost_ping_costs_a_poll() -> None:
    looks = 0

    async def look() -> str | None:
        nonlocal looks
        looks += 1
        return "row" if looks == 4 else None

    async with asyncio.timeout(5):
        assert await Projected(bound_s=30, poll_s=0.01).until(look) == "row"


async def test_the_wait_is_bounded() -> None:
    async def never() -> str | None:
        return None

    with pytest.raises(TryLater) as refused:
        await Projected(bound_s=0.05, poll_s=0.01).until(never)
    assert refused.value.code == "projection_behind"
    assert refused.value.status == 503


async def test_a_refusal_ends_the_wait() -> None:
    looks = 0

    async def look() -> str | None:
        nonlocal looks
        looks += 1
        if looks == 3:
            raise NotFound("room_not_found", "gone")
        return None

    projected = Projected(bound_s=30, poll_s=0.01)
    with pytest.raises(NotFound):
        await projected.until(look)


async def test_only_so_many_may_wait() -> None:
    projected = Projected(bound_s=30, poll_s=20, max_waiting=1)
    waits = asyncio.Event()
    looks = 0

    async def look() -> str | None:
        nonlocal looks
        looks += 1
        if looks == 2:
            waits.set()
        return None

    async def absent() -> str | None:
        return None

    async with asyncio.timeout(5):
        first = asyncio.create_task(projected.until(look))
        await waits.wait()
        with pytest.raises(TryLater):
            await projected.until(absent)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
