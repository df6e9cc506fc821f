"""Waiting for a decision, without a server: who is woken by what, and who is not."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from agentos_api.append.appender import Committed
from agentos_api.live import decisions
from agentos_api.live.decisions import Decisions
from agentos_shared.domain import approvals, principals
from agentos_shared.domain.approval_bodies import CreateApproval
from agentos_shared.domain.decider import Command, Meta
from agentos_shared.domain.errors import TryLater
from tests.fixtures.given import MOMENT, Given

META = Meta("ws_1", principals.actor("ws_1", "user", "ada"), "c-1")
STREAM = ("workspace", "ws_1")
ASKED = Given((approvals.create, Command(CreateApproval(action="x"), META, "appr_1", None, None, MOMENT)))
COMMIT = [Committed(ASKED.events[0], 1, None)]


class Row:
    """What readers look at."""

    def __init__(self) -> None:
        self.decided = False
        self.looks = 0
        self.looked = asyncio.Event()

    async def look(self) -> bool:
        self.looks += 1
        self.looked.set()
        return self.decided

    async def seen(self, times: int) -> None:
        """Returns when somebody has looked so often."""
        while self.looks < times:
            self.looked.clear()
            async with asyncio.timeout(5):
                await self.looked.wait()


def waiting(all_of: Decisions, row: Row, wait_s: float = 20) -> "asyncio.Task[bool]":
    look: Callable[[], Awaitable[bool]] = row.look
    return asyncio.create_task(all_of.until("appr_1", wait_s, look, lambda found: found, lambda _: STREAM))


@pytest.fixture(autouse=True)
def _no_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions, "POLL_BLIND_S", 60.0)


async def test_what_is_decided_is_not_waited_for() -> None:
    row = Row()
    row.decided = True
    assert await waiting(Decisions(None), row) is True
    assert row.looks == 1


async def test_a_commit_of_this_process_wakes_who_waits_for_that_approval() -> None:
    all_of, row = Decisions(None), Row()
    task = waiting(all_of, row)
    await row.seen(2)
    all_of.on_commit(COMMIT)
    await row.seen(3)  # a hold, say: it goes on waiting
    row.decided = True
    all_of.on_commit(COMMIT)
    async with asyncio.timeout(5):
        assert await task is True


async def test_a_hint_wakes_its_stream_unless_the_commit_was_our_own() -> None:
    all_of, row = Decisions(None), Row()
    task = waiting(all_of, row)
    await row.seen(2)
    all_of.on_commit(COMMIT)
    await row.seen(3)
    all_of.on_hint(STREAM, COMMIT[0].event.stream_seq)
    all_of.on_hint(("room", "room_1"), 7)
    await asyncio.wait([task], timeout=0.05)
    assert row.looks == 3
    row.decided = True
    all_of.on_hint(STREAM, 8)
    async with asyncio.timeout(5):
        assert await task is True


async def test_a_decision_between_the_looks_is_not_missed() -> None:
    all_of, row = Decisions(None), Row()
    task = waiting(all_of, row)
    await row.seen(1)
    row.decided = True
    all_of.on_commit(COMMIT)  # perhaps before it is registered: the look after that sees it
    async with asyncio.timeout(5):
        assert await task is True


async def test_without_news_it_looks_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions, "POLL_BLIND_S", 0.01)
    row = Row()
    task = waiting(Decisions(None), row)
    await row.seen(4)
    row.decided = True
    async with asyncio.timeout(5):
        assert await task is True


async def test_the_end_of_the_wait_is_an_answer() -> None:
    async with asyncio.timeout(5):
        assert await waiting(Decisions(None), Row(), 0.05) is False


async def test_at_a_drain_everybody_is_answered() -> None:
    all_of, row = Decisions(None), Row()
    task = waiting(all_of, row)
    await row.seen(2)
    all_of.drain()
    async with asyncio.timeout(5):
        assert await task is False
        assert await waiting(all_of, row) is False, "nobody waits any more"


async def test_not_more_wait_than_can_be_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions, "MAX_WAITING", 1)
    all_of, row = Decisions(None), Row()
    task = waiting(all_of, row)
    await row.seen(2)
    with pytest.raises(TryLater, match="too_many_waiting"):
        await waiting(all_of, Row())
    all_of.drain()
    await task
