"""Decisions that the gateway keeps, against the real store, bus and policy service: a kill switch ends them at once."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import uuid4  # noqa: TID251 - a test's own workspace

import asyncpg
import httpx
import pytest_asyncio

from agentos_gateway.bus import GatewayBus
from agentos_gateway.control_watch import ControlWatch
from agentos_gateway.decisions import Decisions, policies_in_force
from agentos_runtime import nats
from agentos_runtime.datadir import DataDir
from agentos_shared.domain import principals
from agentos_shared.domain.policy.facts import Request
from agentos_shared.host.lifecycle import CLOCK
from tests.fixtures.live import until
from tests.fixtures.stack import Stack

#: How long a kept decision may outlive what ends it.
BOUND_S: Final = 0.1


class Gate:
    """Decisions of a gateway process, and a client of the workspace."""

    def __init__(self, bus: GatewayBus, watch: ControlWatch, client: httpx.AsyncClient) -> None:
        self.bus = bus
        self.asked = 0
        self.decisions = Decisions(self.ask, watch, CLOCK)
        self.client = client
        workspace_id = client.headers["x-workspace-id"]
        ada = principals.actor(workspace_id, "user", "ada")
        place: Any = {"egress_host": "example.org", "egress_method": "GET", "egress_port": 443, "egress_path": "/"}
        self.wish = Request(workspace_id, "egress", "external.write", ada, "sha256:" + "1" * 64, **place)

    async def ask(self, subject: str, question: Mapping[str, Any], timeout: float) -> Mapping[str, Any]:
        self.asked += 1
        return await self.bus.ask(subject, question, timeout)

    async def reason(self) -> str:
        return (await self.decisions.decide(self.wish)).reason_code

    async def post(self, url: str, /, **body: Any) -> None:
        answer = await self.client.post(url, json=body)
        assert answer.status_code in (200, 201), answer.text

    async def kept(self) -> bool:
        """Whether the decision is at hand now."""
        before = self.asked
        await self.reason()
        return self.asked == before

    async def after(self, expected: str) -> float:
        """Seconds until this is decided."""
        began = CLOCK.monotonic()

        async def so() -> bool:
            return await self.reason() == expected

        await until(so)
        return CLOCK.monotonic() - began


@pytest_asyncio.fixture
async def gate(stack: Stack) -> AsyncIterator[Gate]:
    name = f"nats_{nats.GATEWAY}"
    password = DataDir(stack.data_dir).passwords([name])[name]
    bus = GatewayBus(nats.url(nats.GATEWAY, password, urlsplit(stack.nats_url).port or 0))
    headers = {"x-workspace-id": f"ws_{uuid4().hex[:12]}"}
    async with (
        asyncpg.create_pool(stack.postgres_url, min_size=1, max_size=2) as pool,
        httpx.AsyncClient(base_url=stack.url, headers=headers, timeout=20) as client,
    ):
        watch = ControlWatch(pool, lambda: policies_in_force(bus.ask), CLOCK)
        tasks = [asyncio.create_task(work) for work in (bus.serve({}), watch.watch_changes(), watch.watch_policies())]
        await until(lambda: bus.connected)
        yield Gate(bus, watch, client)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await bus.close()


async def test_a_kept_decision_ends_with_what_it_rests_on(gate: Gate) -> None:
    assert await gate.reason() == "external_write_requires_approval"
    await gate.post("/v1/egress/rules", host="example.org")
    assert await gate.reason() == "egress.rule_allows"
    await until(gate.kept)
    waits = []
    for _ in range(5):
        await gate.post("/v1/policy/kill-switch", action="engage")
        waits.append(await gate.after("kill_switch_active"))
        await gate.post("/v1/policy/kill-switch", action="release", reason="it is right again")
        await gate.after("egress.rule_allows")
        await until(gate.kept)
    assert sorted(waits)[2] < BOUND_S
    await gate.post("/v1/egress/rules", host="example.org", effect="deny")
    await gate.after("egress.host_not_allowed")
