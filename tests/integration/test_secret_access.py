"""Who is given a secret's value where credentials are checked: a service that was granted it, and nobody else."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from agentos_gateway.bus import GatewayBus
from agentos_gateway.vault import Vault, open_ring
from agentos_shared.contracts import subjects
from tests.fixtures.api_process import StartApi
from tests.fixtures.stack import Nats, Postgres

LOCAL = {"authorization": "Bearer correct-horse"}
VALUE = "a value that is long enough"
WAIT_S = 20


@pytest.fixture
async def client(
    start_api: StartApi, nats: Nats, postgres: Postgres, tmp_path: Path
) -> AsyncIterator[httpx.AsyncClient]:
    """The API with checked credentials, and the gateway's vault on the same bus."""
    (tmp_path / "token").write_text("correct-horse\n")
    env = {
        "AGENTOS_AUTH": "enforced",
        "AGENTOS_LOCAL_TOKEN_FILE": str(tmp_path / "token"),
        "AGENTOS_TOKEN_KEY_FILE": str(tmp_path / "capability-key"),
    }
    api = await asyncio.to_thread(start_api, nats.url("api"), env)
    await asyncio.to_thread(api.wait_up)
    pool = await asyncpg.create_pool(
        postgres.gateway_url, min_size=1, max_size=2, server_settings={"search_path": "gw, public"}
    )
    vault = Vault(pool, open_ring(None, tmp_path / "secrets-key", system=False))
    bus = GatewayBus(nats.url("gateway"))
    serving = asyncio.create_task(bus.serve({subjects.GATEWAY_SECRETS: vault.answer}))
    try:
        async with httpx.AsyncClient(base_url=api.url, timeout=30) as made:
            yield made
    finally:
        serving.cancel()
        await asyncio.wait([serving])
        await bus.close()
        await pool.close()


async def make(client: httpx.AsyncClient, path: str, **body: Any) -> dict[str, Any]:
    answer = await client.post(path, json=body, headers=LOCAL)
    assert answer.status_code in (200, 201), answer.text
    made: dict[str, Any] = answer.json()
    return made


async def token(client: httpx.AsyncClient, actor_type: str, *kinds: str) -> tuple[str, str]:
    """A capability token of an actor, and the actor's principal."""
    held = await make(client, "/v1/principals/legacy/ensure", actor_type=actor_type, actor_id="deployer")
    owner = await make(client, "/v1/principals/legacy/ensure", actor_type="user", actor_id="owner")
    granted = await make(
        client,
        "/v1/capabilities/grant",
        issued_to_principal_id=held["principal"]["principal_id"],
        granted_by_principal_id=owner["principal"]["principal_id"],
        scopes={"action_types": list(kinds)},
    )
    return granted["token"], held["principal"]["principal_id"]


async def test_a_value_is_given_to_the_service_that_was_granted_it(client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(WAIT_S * 3):
        secret_id = await kept(client)
        path = f"/v1/secrets/{secret_id}/access"
        service, principal = await token(client, "service", "secret.access", "secret:github")
        other, other_principal = await token(client, "service", "secret.access", "secret:another")
        user, user_principal = await token(client, "user", "secret.access", "secret:github")
        refusals = [
            ({}, {}, 401, "missing_bearer_token"),
            (LOCAL, {"actor_principal_id": principal}, 403, "service_principal_required"),
            (bearer(service), {}, 400, "actor_principal_id_required"),
            (bearer(service), {"actor_type": "user"}, 403, "service_actor_required"),
            (bearer(service), {"actor_principal_id": user_principal}, 403, "service_principal_required"),
            (bearer(user), {"actor_principal_id": user_principal}, 403, "service_principal_required"),
            (bearer(other), {"actor_principal_id": other_principal}, 403, "secret_scope_required"),
        ]
        for headers, body, status, code in refusals:
            refused = await client.post(path, json=body, headers=headers)
            assert (refused.status_code, refused.json()["error"]) == (status, code), body
            assert VALUE not in refused.text
        right = {"actor_principal_id": principal, "actor_type": "service"}
        for _ in range(2):  # the same key: no answer with a value is kept
            keyed = {**bearer(service), "idempotency-key": "once"}
            given = await client.post(path, json=right, headers=keyed)
            assert given.status_code == 200, given.text
            assert given.json()["secret_value"] == VALUE
            assert "idempotency-replayed" not in given.headers
        unknown = await client.post("/v1/secrets/sec_none/access", json=right, headers=bearer(service))
        assert (unknown.status_code, unknown.json()["error"]) == (404, "secret_not_found")
        told = await client.get("/v1/events", params={"event_type": "secret.accessed"}, headers=LOCAL)
        assert [event["data"]["accessed_by_principal_id"] for event in told.json()["events"]] == [principal] * 2
        assert VALUE not in told.text
        refused = await client.post("/v1/secrets", json={"secret_name": "x"}, headers=bearer(service))
        assert refused.status_code == 403


async def kept(client: httpx.AsyncClient) -> str:
    """A secret's id, once the vault answers."""
    body = {"secret_name": "github", "secret_value": VALUE, "hosts": ["api.github.com"]}
    answer = await client.post("/v1/secrets", json=body, headers=LOCAL)
    while answer.status_code == 503:
        answer = await client.post("/v1/secrets", json=body, headers=LOCAL)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["secret_id"])


def bearer(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}
