"""One incident for a key, and one manifest for a run, with two API processes on one database."""

import asyncio
from typing import Any

import asyncpg
import httpx
import pytest

from tests.fixtures.api_process import StartApi
from tests.fixtures.live import MortalNats
from tests.fixtures.stack import Postgres

ROUNDS = 10


@pytest.fixture
def urls(start_api: StartApi, mortal_nats: MortalNats) -> list[str]:
    apis = [start_api(mortal_nats.url) for _ in range(2)]
    for api in apis:
        api.wait_up()
    return [api.url for api in apis]


async def counted(postgres: Postgres, event_type: str) -> int:
    connection = await asyncpg.connect(postgres.owner_url)
    count = await connection.fetchval("select count(*) from evt_events where event_type = $1", event_type)
    await connection.close()
    return int(count)


async def posted(clients: list[httpx.AsyncClient], path: str, bodies: list[dict[str, Any]]) -> list[httpx.Response]:
    """Each body through each process in turn, all at once."""
    sent = [clients[place % len(clients)].post(path, json=body) for place, body in enumerate(bodies)]
    return list(await asyncio.gather(*sent))


async def test_one_key_opens_one_incident(urls: list[str], postgres: Postgres) -> None:
    async with httpx.AsyncClient(base_url=urls[0], timeout=30) as one, httpx.AsyncClient(base_url=urls[1]) as other:
        clients = [one, other]
        rooms = [(await one.post("/v1/rooms", json={"title": "R"})).json()["room_id"] for _ in range(4)]
        for number in range(ROUNDS):
            body = {"title": "Disk full", "room_id": rooms[0], "idempotency_key": f"same-{number}"}
            answers = await posted(clients, "/v1/incidents", [body] * 100)
            assert sorted(answer.status_code for answer in answers) == [200] * 99 + [201]
            assert len({answer.json()["incident_id"] for answer in answers}) == 1

            spread = [
                {"title": "Disk full", "room_id": room, "idempotency_key": f"spread-{number}"} for room in rooms * 5
            ]
            answers = await posted(clients, "/v1/incidents", spread)
            assert sorted(answer.status_code for answer in answers) == [200] * 4 + [201] + [409] * 15
            assert {answer.json().get("error") for answer in answers} == {None, "idempotency_conflict_unresolved"}
    assert await counted(postgres, "incident.opened") == 2 * ROUNDS


async def test_a_run_gets_one_manifest(urls: list[str], postgres: Postgres) -> None:
    async with httpx.AsyncClient(base_url=urls[0], timeout=30) as one, httpx.AsyncClient(base_url=urls[1]) as other:
        room = (await one.post("/v1/rooms", json={"title": "R"})).json()["room_id"]
        for _ in range(ROUNDS):
            run = (await one.post("/v1/runs", json={"room_id": room})).json()["run_id"]
            await other.post(f"/v1/runs/{run}/cancel", json={})
            answers = await posted([one, other], f"/v1/runs/{run}/evidence/finalize", [{}] * 20)
            assert sorted(answer.status_code for answer in answers) == [200] * 19 + [201]
            assert len({answer.json()["evidence"]["last_event_id"] for answer in answers}) == 1
    assert await counted(postgres, "evidence.manifest.created") == ROUNDS
