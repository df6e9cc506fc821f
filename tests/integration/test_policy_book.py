"""What the policy service knows, against a real store that others write: at once, in every room, in two processes."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4  # noqa: TID251 - a test's own workspace

import asyncpg
import httpx
import pytest
import pytest_asyncio

from agentos_policy.book import Behind, Book
from agentos_policy.gate import Gate
from agentos_shared.domain import principals
from agentos_shared.domain.envelope import Stream
from agentos_shared.domain.policy.evaluate import NO_POLICIES, evaluate
from agentos_shared.domain.policy.facts import Request
from agentos_shared.domain.policy.wire import decision_of, request_told
from agentos_shared.host.lifecycle import CLOCK
from tests.fixtures.stack import Stack


@pytest.fixture
def client(stack: Stack) -> Iterator[httpx.Client]:
    headers = {"x-workspace-id": f"ws_{uuid4().hex[:12]}"}
    with httpx.Client(base_url=stack.url, headers=headers, timeout=20) as made:
        yield made


@pytest_asyncio.fixture
async def pool(stack: Stack) -> AsyncIterator["asyncpg.Pool[asyncpg.Record]"]:
    async with asyncpg.create_pool(stack.postgres_url, min_size=1, max_size=4) as made:
        yield made


def make(client: httpx.Client, path: str, body: Any = None) -> dict[str, Any]:
    answer = client.post(path, json=body or {})
    assert answer.status_code in (200, 201), answer.text
    made: dict[str, Any] = answer.json()
    return made


def grant(client: httpx.Client, **body: Any) -> tuple[str, dict[str, Any]]:
    """An approval for the workspace, and the answer to the decision."""
    asked = make(client, "/v1/approvals", {"action": "external.write", "scope": {"type": "workspace"}, **body})
    return asked["approval_id"], make(client, f"/v1/approvals/{asked['approval_id']}/decide", {"decision": "approve"})


def wish(client: httpx.Client, room: str | None = None, **members: Any) -> Request:
    workspace = client.headers["x-workspace-id"]
    actor = principals.actor(workspace, "user", "ada")
    return Request(workspace, "action", "external.write", actor, "sha256:" + "1" * 64, room_id=room, **members)


async def allowed_by(book: Book, request: Request, **positions: int) -> str | None:
    """The approval that allows a request, as the book knows it from now on."""
    streams = {Stream("room", name.removeprefix("room__")): seq for name, seq in positions.items()}
    await book.refresh([request], {request.workspace_id: streams})
    return evaluate(request, book.facts(request, CLOCK.now())).approval_id


async def test_the_own_room_and_the_workspace_are_known_at_once(
    client: httpx.Client, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    room = make(client, "/v1/rooms", {"title": "Ops"})["room_id"]
    book = Book(pool, CLOCK)
    for place in ({}, {"room_id": room}):
        assert await allowed_by(book, wish(client, room)) is None
        approval, _ = grant(client, **place)
        assert await allowed_by(book, wish(client, room)) == approval
        make(client, f"/v1/grants/{approval}/revoke", {"reason": "enough"})
        assert await allowed_by(book, wish(client, room)) is None


async def test_another_room_is_known_at_once_where_it_is_named_and_soon_where_not(
    client: httpx.Client, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    room = make(client, "/v1/rooms", {"title": "Ops"})["room_id"]
    named, unnamed = Book(pool, CLOCK), Book(pool, CLOCK)
    for book in (named, unnamed):
        assert await allowed_by(book, wish(client)) is None
    approval, decided = grant(client, room_id=room)
    assert await allowed_by(named, wish(client), **{f"room__{room}": decided["stream_seq"]}) == approval
    async with asyncio.timeout(2):
        while await allowed_by(unnamed, wish(client)) != approval:
            pass


async def test_what_was_ended_before_it_was_read_stays_ended_and_what_changes_later_is_seen(
    client: httpx.Client, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    room = make(client, "/v1/rooms", {"title": "Ops"})["room_id"]
    ended, _ = grant(client, room_id=room)
    make(client, f"/v1/grants/{ended}/revoke", {"reason": "enough"})
    denied = make(client, "/v1/approvals", {"action": "external.write", "room_id": room})["approval_id"]
    make(client, f"/v1/approvals/{denied}/decide", {"decision": "deny"})
    pending = make(client, "/v1/approvals", {"action": "external.write", "room_id": room, "scope": {"type": "room"}})
    book = Book(pool, CLOCK)
    assert await allowed_by(book, wish(client, room)) is None
    make(client, f"/v1/approvals/{pending['approval_id']}/decide", {"decision": "approve"})
    assert await allowed_by(book, wish(client, room)) == pending["approval_id"]


async def test_a_store_that_lacks_what_was_committed_to_it_is_not_believed(
    client: httpx.Client, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    room = make(client, "/v1/rooms", {"title": "Ops"})["room_id"]
    with pytest.raises(Behind):
        await allowed_by(Book(pool, CLOCK), wish(client, room), **{f"room__{room}": 99})
    with pytest.raises(Behind):
        await allowed_by(Book(pool, CLOCK), wish(client), room__room_none=1)


async def test_zones_of_rooms_and_runs(client: httpx.Client, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    room = make(client, "/v1/rooms", {"title": "Ops", "zone": "sandbox"})["room_id"]
    run = make(client, "/v1/runs", {"room_id": room, "zone": "high_stakes"})["run_id"]
    book = Book(pool, CLOCK)
    await book.refresh([wish(client, room, run_id=run)], {})
    assert (book.zone(room), book.zone(run), book.zone(None), book.zone("run_none")) == (
        "sandbox",
        "high_stakes",
        None,
        None,
    )


async def test_many_workspaces_at_once_are_kept_apart(
    stack: Stack, client: httpx.Client, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    with httpx.Client(base_url=stack.url, headers={"x-workspace-id": f"ws_{uuid4().hex[:12]}"}) as other:
        approval, _ = grant(other)
        book = Book(pool, CLOCK)
        mine, theirs = wish(client), wish(other)
        await book.refresh([mine, theirs], {})
        decisions = [evaluate(request, book.facts(request, CLOCK.now())) for request in (mine, theirs)]
    assert [decision.approval_id for decision in decisions] == [None, approval]


async def test_questions_that_wait_are_answered_together_and_each_with_its_own(
    client: httpx.Client, pool: "asyncpg.Pool[asyncpg.Record]", monkeypatch: pytest.MonkeyPatch
) -> None:
    room = make(client, "/v1/rooms", {"title": "Ops"})["room_id"]
    approval, _ = grant(client, room_id=room, scope={"type": "room"})
    book = Book(pool, CLOCK)
    readings = 0
    refresh = book.refresh

    async def counted(*arguments: Any) -> None:
        nonlocal readings
        readings += 1
        await refresh(*arguments)

    monkeypatch.setattr(book, "refresh", counted)
    gate = Gate(book, CLOCK, lambda: NO_POLICIES)
    deciding = asyncio.create_task(gate.decide_forever())
    asks = [{"requests": [request_told(wish(client, place), None)], "positions": {}} for place in (room, None) * 50]
    answers = await asyncio.gather(*(gate.answer(question) for question in asks))
    deciding.cancel()
    found = [decision_of(answer["decisions"][0]).approval_id for answer in answers]
    assert found == [approval, None] * 50
    assert readings == 1


async def test_without_the_store_the_answer_is_no(pool: "asyncpg.Pool[asyncpg.Record]", client: httpx.Client) -> None:
    async def broken(*_: Any) -> None:
        raise ConnectionResetError

    async def odd(*_: Any) -> None:
        raise KeyError("appr_1")

    for failing in (broken, odd):
        book = Book(pool, CLOCK)
        book.refresh = failing  # type: ignore[method-assign,assignment]
        gate = Gate(book, CLOCK, lambda: NO_POLICIES)
        deciding = asyncio.create_task(gate.decide_forever())
        answer = await gate.answer({"requests": [request_told(wish(client), None)], "positions": {}})
        assert answer["decisions"][0]["reason_code"] == "policy_unavailable"
        assert not deciding.done()
        deciding.cancel()
