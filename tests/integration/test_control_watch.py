"""Epochs of the gateway: they move with whatever decisions depend on, and with nothing else."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4  # noqa: TID251 - a test's own workspace

import asyncpg
import httpx
import pytest
import pytest_asyncio

from agentos_gateway.control_watch import SILENCE_S, ControlWatch
from agentos_shared.host.lifecycle import SystemClock
from tests.fixtures.stack import Stack


class Clock(SystemClock):
    """The clock, and a while later."""

    later = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.later


class Held:
    """A watch of one workspace, and a client of it."""

    def __init__(self, pool: Any, url: str) -> None:
        self.clock = Clock()
        self.hash = "sha256:one"
        self.workspace_id = f"ws_{uuid4().hex[:12]}"
        self.client = httpx.AsyncClient(base_url=url, headers={"x-workspace-id": self.workspace_id}, timeout=20)
        self.watch = ControlWatch(pool, self.policies, self.clock)

    async def policies(self) -> str:
        if not self.hash:
            raise TimeoutError
        return self.hash

    async def post(self, url: str, /, **body: Any) -> dict[str, Any]:
        answer = await self.client.post(url, json=body)
        assert answer.status_code in (200, 201), answer.text
        told: dict[str, Any] = answer.json()
        return told

    async def moved(self) -> bool:
        """Whether the epoch is another one after a look than before."""
        before = self.watch.epoch(self.workspace_id)
        await self.watch.look()
        await self.watch.look_at_policies()
        after = self.watch.epoch(self.workspace_id)
        assert after is not None
        return before != after


@pytest_asyncio.fixture
async def held(stack: Stack) -> AsyncIterator[Held]:
    async with asyncpg.create_pool(stack.postgres_url, min_size=1, max_size=1) as pool:
        made = Held(pool, stack.url)
        async with made.client:
            yield made


async def test_it_moves_with_what_decisions_depend_on(held: Held) -> None:
    assert held.watch.epoch(held.workspace_id) is None
    assert await held.moved()
    assert not await held.moved()
    room = (await held.post("/v1/rooms", title="Ops"))["room_id"]
    thread = (await held.post(f"/v1/rooms/{room}/threads", title="Disk"))["thread_id"]
    await held.post(f"/v1/threads/{thread}/messages", content_md="full")
    await held.post("/v1/approvals", action="external.write", room_id=room)
    assert not await held.moved()

    rule = (await held.post("/v1/egress/rules", host="example.org"))["rule_id"]
    assert await held.moved()
    await held.post("/v1/egress/rules/remove", rule_id=rule)
    assert await held.moved()
    await held.post("/v1/policy/kill-switch", action="engage")
    assert await held.moved()
    agent = (await held.post("/v1/agents", display_name="Bot"))["agent_id"]
    assert await held.moved()
    await held.post(f"/v1/agents/{agent}/quarantine", quarantine_reason="odd")
    assert await held.moved()
    assert not await held.moved()


async def test_a_constraint_of_a_room_moves_it(held: Held) -> None:
    room = (await held.post("/v1/rooms", title="Ops"))["room_id"]
    for _ in range(2):
        await held.post("/v1/policy/evaluate", action="external.write", room_id=room)
    await held.moved()
    answer = await held.client.get("/v1/constraints", params={"min_position": f"room/{room}@4"})
    (constraint,) = answer.json()["constraints"]
    await held.post(f"/v1/constraints/{constraint['constraint_id']}/activate", effect="deny")
    assert await held.moved()


async def test_other_policies_are_another_epoch(held: Held) -> None:
    await held.moved()
    held.hash = "sha256:two"
    assert await held.moved()
    assert not await held.moved()


@pytest.mark.parametrize("silent", ["store", "policies"])
async def test_after_a_second_of_silence_there_is_none(held: Held, silent: str) -> None:
    await held.moved()
    held.clock.later = SILENCE_S + 0.1
    assert held.watch.epoch(held.workspace_id) is None
    if silent == "store":
        await held.watch.look_at_policies()
    else:
        held.hash = ""
        await held.watch.look()
        await held.watch.look_at_policies()
    assert held.watch.epoch(held.workspace_id) is None
    held.hash = "sha256:one"
    await held.watch.look()
    await held.watch.look_at_policies()
    assert held.watch.epoch(held.workspace_id) is not None
