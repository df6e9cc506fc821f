"""Engines work while parts of the stack die. No run is held under two fencing tokens, none is lost, none is stuck."""

import asyncio
from collections import defaultdict
from itertools import count
from typing import Any

import asyncpg
import httpx
import orjson
import pytest

from tests.faults.cluster import Cluster
from tests.faults.crew import Crew, violations
from tests.fixtures.live import until

RUNS = 25  # completed before a fault and after it
DRAIN_S = 40.0

_EVENTS = """
select run_id, stream_seq, event_type, actor_type, actor_id, evt_events.data::text as data
from evt_events where workspace_id = $1 and run_id is not null order by stream_id, stream_seq
"""
_FOLLOWED_UP = "select not exists (select from eng.eng_followups where workspace_id = $1)"
_workspaces = count(1)


async def _check(cluster: Cluster, crew: Crew, workspace_id: str) -> None:
    connection = await asyncpg.connect(cluster.stack.postgres_url)
    try:

        async def followed_up() -> bool:
            return bool(await connection.fetchval(_FOLLOWED_UP, workspace_id))

        await until(followed_up, DRAIN_S)
        events: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in await connection.fetch(_EVENTS, workspace_id):
            events[row["run_id"]].append({**row, "data": orjson.loads(row["data"])})
    finally:
        await connection.close()
    wrong = violations(crew.sworn, events)
    assert not wrong, "\n".join(wrong[:20])


@pytest.mark.parametrize("component", ["api", "engine", "nats", "postgres"])
async def test_killed_while_engines_work(cluster: Cluster, fault_seed: int, component: str) -> None:
    workspace_id = f"ws_crew_{next(_workspaces)}"
    crew = Crew([cluster.stack.url], workspace_id, fault_seed)
    async with crew.at_work():
        await crew.completed(RUNS)
        gone = cluster.kill(component)
        await asyncio.to_thread(cluster.stack.wait_healthy, {component: gone})
        await crew.completed(RUNS)
    await _check(cluster, crew, workspace_id)


async def test_engine_service_dies_again_and_again(cluster: Cluster, fault_seed: int) -> None:
    workspace_id = f"ws_crew_{next(_workspaces)}"
    crew = Crew([cluster.stack.url], workspace_id, fault_seed)
    async with crew.at_work():
        for _ in range(3):
            await crew.completed(RUNS // 4)
            gone = cluster.kill("engine")
            await asyncio.to_thread(cluster.stack.wait_healthy, {"engine": gone})
        await crew.completed(RUNS)
    await _check(cluster, crew, workspace_id)


async def test_engine_service_hangs_for_longer_than_leases_last(cluster: Cluster, fault_seed: int) -> None:
    """Nobody can claim meanwhile, and it wakes up with leases that are long over."""
    workspace_id = f"ws_crew_{next(_workspaces)}"
    crew = Crew([cluster.stack.url], workspace_id, fault_seed)
    async with crew.at_work():
        await crew.completed(RUNS)
        with cluster.paused("engine"):
            await _seconds(6)
        await asyncio.to_thread(cluster.stack.wait_healthy)
        await crew.completed(RUNS)
    await _check(cluster, crew, workspace_id)


async def test_two_engine_services_and_each_dies(cluster: Cluster, fault_seed: int) -> None:
    workspace_id = f"ws_crew_{next(_workspaces)}"
    with cluster.second_engine() as engine:
        crew = Crew([cluster.stack.url], workspace_id, fault_seed)
        async with crew.at_work():
            await crew.completed(RUNS)
            gone = cluster.kill("engine")
            await asyncio.to_thread(cluster.stack.wait_healthy, {"engine": gone})
            await crew.completed(RUNS)
            engine.kill()
            await crew.completed(RUNS)
        await _check(cluster, crew, workspace_id)


async def test_what_one_api_refuses_knows_what_the_other_has_acknowledged(cluster: Cluster) -> None:
    """Also a refusal is decided on the store as it stands, not on what the process remembers of it."""
    headers = {"x-workspace-id": f"ws_crew_{next(_workspaces)}"}
    with cluster.second_api() as api:
        async with httpx.AsyncClient(timeout=20, headers=headers) as http:

            async def post(base: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
                answer = await http.post(base + path, json=body)
                assert answer.is_success, answer.text
                told: dict[str, Any] = answer.json()
                return told

            here, there = cluster.stack.url, api.url
            room_id = (await post(here, "/v1/rooms", {"title": "Work"}))["room_id"]
            for _ in range(50):
                here, there = there, here
                await post(here, "/v1/runs", {"room_id": room_id})
                run = (await post(there, "/v1/runs/claim", {"actor_id": "one"}))["run"]
                held = {"claim_token": run["claim_token"]}
                await post(here, f"/v1/runs/{run['run_id']}/steps", {"kind": "work", **held})
                await post(there, f"/v1/runs/{run['run_id']}/steps", {"kind": "work", **held})
                await post(here, f"/v1/runs/{run['run_id']}/complete", held)


async def _seconds(many: float) -> None:
    try:
        async with asyncio.timeout(many):
            await asyncio.Event().wait()
    except TimeoutError:
        return
