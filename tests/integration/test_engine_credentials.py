"""Engine credentials over HTTP: every refusal, what a token is good for, and that its secret is told once.

Each test has API processes and a database of its own.
"""

import asyncio
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import nats
import orjson
import pytest

from tests.fixtures.api_process import Api, StartApi
from tests.fixtures.live import MortalNats
from tests.fixtures.stack import Postgres, wait_until

SECRET = re.compile(r"engtok_[A-Za-z0-9_-]{43}")


@pytest.fixture
def api(start_api: StartApi, mortal_nats: MortalNats) -> Api:
    started = start_api(mortal_nats.url)
    started.wait_up()
    return started


@pytest.fixture
def client(api: Api) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=api.url, timeout=20) as made:
        yield made


def register(client: httpx.Client, **members: Any) -> dict[str, Any]:
    answer = client.post("/v1/engines/register", json={"actor_id": "summariser", **members})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def credentials(registered: dict[str, Any]) -> dict[str, str]:
    token = registered["token"]
    return {"x-engine-id": token["engine_id"], "x-engine-token": token["engine_token"]}


def act(client: httpx.Client, headers: dict[str, str]) -> tuple[int, str | None]:
    """A write with these credentials: its status, and the code of a refusal."""
    answer = client.post("/v1/rooms", json={"title": "Ops"}, headers=headers)
    return answer.status_code, answer.json().get("error")


def test_an_engine_is_registered_and_is_who_acts(client: httpx.Client) -> None:
    made = register(client, token_label="desk-1", metadata={"host": "desk-1"})
    engine, token = made["engine"], made["token"]
    assert set(engine) == {
        *("engine_id", "workspace_id", "engine_name", "actor_id", "principal_id", "metadata", "status"),
        *("created_at", "updated_at", "deactivated_at", "deactivated_reason"),
    }
    assert set(token) == {
        *("token_id", "workspace_id", "engine_id", "principal_id", "capability_token_id", "token_label", "issued_at"),
        *("last_seen_at", "valid_until", "revoked_at", "revoked_reason", "created_by_principal_id", "engine_token"),
    }
    assert (engine["status"], engine["engine_name"], engine["metadata"]) == ("active", "summariser", {"host": "desk-1"})
    assert SECRET.fullmatch(token["engine_token"])
    room = client.post(
        "/v1/rooms", json={"title": "Ops", "actor_type": "user", "actor_id": "mallory"}, headers=credentials(made)
    ).json()
    event = client.get(f"/v1/events/{room['event_id']}").json()["event"]
    assert (event["actor_type"], event["actor_id"], event["actor_principal_id"]) == (
        "service",
        "summariser",
        engine["principal_id"],
    )
    again = register(client)
    assert again["engine"]["engine_id"] == engine["engine_id"]
    assert again["token"]["token_id"] != token["token_id"]
    assert act(client, credentials(made))[0] == act(client, credentials(again))[0] == 201


def test_ensuring_a_principal_twice_registers_it_once(client: httpx.Client) -> None:
    wish = {"actor_type": "agent", "actor_id": "scribe"}
    first = client.post("/v1/principals/legacy/ensure", json=wish)
    again = client.post("/v1/principals/legacy/ensure", json=wish)
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json()["principal"] == again.json()["principal"]
    assert set(first.json()["principal"]) == {
        *("principal_id", "principal_type", "legacy_actor_type", "legacy_actor_id", "created_at"),
    }
    events = client.get("/v1/events", params={"event_type": "principal.registered"}).json()["events"]
    assert len(events) == 1
    assert events[0]["entity_id"] == first.json()["principal"]["principal_id"]
    for body, code in (({}, "invalid_actor_type"), ({"actor_type": "user"}, "invalid_actor_id")):
        refused = client.post("/v1/principals/legacy/ensure", json=body)
        assert (refused.status_code, refused.json()["error"]) == (400, code)


def test_refusals_of_registration(client: httpx.Client) -> None:
    def code(path: str, body: dict[str, Any]) -> tuple[int, str]:
        answer = client.post(path, json=body)
        return answer.status_code, answer.json()["error"]

    assert code("/v1/engines/register", {}) == (400, "actor_id_required")
    assert code("/v1/engines/register", {"actor_id": "x", "valid_until": "soon"}) == (400, "invalid_valid_until")
    assert code("/v1/engines/eng_none/tokens/issue", {}) == (404, "engine_not_found")
    assert code("/v1/engines/eng_none/tokens/engtok_none/revoke", {}) == (404, "engine_token_not_found")
    assert code("/v1/engines/eng_none/deactivate", {}) == (404, "engine_not_found")
    assert code("/v1/capabilities/revoke", {}) == (400, "token_id_required")
    assert code("/v1/capabilities/revoke", {"token_id": "none"}) == (404, "token_not_found")
    engine = register(client)["engine"]["engine_id"]
    assert code(f"/v1/engines/{engine}/tokens/issue", {"valid_until": "soon"}) == (400, "invalid_valid_until")
    assert code(f"/v1/engines/{engine}/tokens/engtok_none/revoke", {}) == (404, "engine_token_not_found")
    assert client.post(f"/v1/engines/{engine}/deactivate", json={}).json()["engine"]["status"] == "inactive"
    assert code(f"/v1/engines/{engine}/tokens/issue", {}) == (409, "engine_inactive")


def test_every_refusal_of_credentials(client: httpx.Client) -> None:
    made = register(client)
    good, engine, token = credentials(made), made["engine"]["engine_id"], made["token"]
    assert act(client, {"x-engine-id": engine}) == (401, "missing_engine_token")
    assert act(client, {"x-engine-token": good["x-engine-token"]}) == (401, "missing_engine_token")
    assert act(client, {**good, "x-engine-id": "eng_none"}) == (401, "engine_token_invalid")
    assert act(client, {**good, "x-engine-token": token["token_id"]}) == (401, "engine_token_invalid")
    assert act(client, {**good, "x-workspace-id": "ws_other"}) == (401, "engine_token_invalid")
    assert act(client, credentials(register(client, valid_until="2020-01-01T00:00:00Z"))) == (
        401,
        "engine_token_expired",
    )

    spent = credentials(register(client))
    capability = {"token_id": register(client)["token"]["capability_token_id"]}
    assert client.post("/v1/capabilities/revoke", json=capability).json()["already_revoked"] is False
    assert client.post("/v1/capabilities/revoke", json=capability).json()["already_revoked"] is True
    made_void = register(client)
    void = {"token_id": made_void["token"]["capability_token_id"]}
    assert act(client, credentials(made_void))[0] == 201
    client.post("/v1/capabilities/revoke", json=void)
    assert act(client, credentials(made_void)) == (403, "capability_token_revoked")

    revoke = f"/v1/engines/{engine}/tokens/{token['token_id']}/revoke"
    assert act(client, good)[0] == 201
    first = client.post(revoke, json={"reason": "lost"}).json()
    assert (first["ok"], first["already_revoked"]) == (True, False)
    assert act(client, good) == (401, "engine_token_expired")
    assert client.post(revoke, json={}).json()["already_revoked"] is True

    assert act(client, spent)[0] == 201
    client.post(f"/v1/engines/{engine}/deactivate", json={})
    assert act(client, spent) == (403, "engine_inactive")
    fresh = register(client)
    assert act(client, spent) == (401, "engine_token_expired")
    assert act(client, credentials(fresh))[0] == 201


def test_reads_are_refused_as_writes_are(client: httpx.Client) -> None:
    bad = {"x-engine-id": "eng_none", "x-engine-token": "engtok_none"}
    assert client.get("/v1/events", headers=bad).json()["error"] == "engine_token_invalid"
    with client.stream("GET", "/v1/streams/workspace", headers=bad) as feed:
        assert feed.status_code == 401


def test_a_token_for_one_room_writes_and_listens_there_only(client: httpx.Client) -> None:
    inside, outside = (client.post("/v1/rooms", json={"title": "r"}).json()["room_id"] for _ in range(2))
    limited = credentials(register(client, scopes={"rooms": [inside]}))
    homeless = credentials(register(client, scopes={"rooms": []}))

    def thread(room: str, headers: dict[str, str]) -> tuple[int, str | None]:
        answer = client.post(f"/v1/rooms/{room}/threads", json={"title": "t"}, headers=headers)
        return answer.status_code, answer.json().get("error")

    assert thread(inside, limited) == (201, None)
    assert thread(outside, limited) == (403, "engine_room_not_allowed")
    assert thread(inside, homeless) == (403, "engine_room_scope_required")
    assert act(client, limited) == (403, "engine_room_not_allowed")
    with client.stream("GET", f"/v1/streams/rooms/{inside}", headers=limited) as feed:
        assert feed.status_code == 200
    with client.stream("GET", f"/v1/streams/rooms/{outside}", headers=limited) as feed:
        assert feed.status_code == 403


def test_a_stream_ends_when_its_token_does(client: httpx.Client) -> None:
    made = register(client)
    with client.stream("GET", "/v1/streams/workspace", headers=credentials(made)) as feed:
        lines = feed.iter_lines()
        assert next(lines) == "retry: 2000"
        token = made["token"]
        client.post(f"/v1/engines/{token['engine_id']}/tokens/{token['token_id']}/revoke", json={})
        assert [line for line in lines if "gone" in line or "revoked" in line][-2:] == [
            "event: gone",
            'data: {"reason":"revoked"}',
        ]


def test_an_engine_cannot_give_itself_more(client: httpx.Client) -> None:
    made = register(client)
    own, engine, token = credentials(made), made["engine"]["engine_id"], made["token"]["token_id"]
    for path, body in (
        ("/v1/engines/register", {"actor_id": "another"}),
        (f"/v1/engines/{engine}/tokens/issue", {"scopes": {"action_types": ["*"]}}),
        (f"/v1/engines/{engine}/tokens/{token}/revoke", {}),
        (f"/v1/engines/{engine}/deactivate", {}),
        ("/v1/capabilities/revoke", {"token_id": made["token"]["capability_token_id"]}),
    ):
        refused = client.post(path, json=body, headers=own)
        assert (refused.status_code, refused.json()["error"]) == (403, "engine_action_not_allowed"), path


def test_the_secret_is_told_once_and_kept_nowhere(client: httpx.Client, api: Api, postgres: Postgres) -> None:
    key = {"idempotency-key": "k1"}
    wish = {"actor_id": "summariser"}
    first = client.post("/v1/engines/register", json=wish, headers=key)
    secret = first.json()["token"]["engine_token"]
    again = client.post("/v1/engines/register", json=wish, headers=key)
    assert (again.status_code, again.headers["idempotency-replayed"]) == (201, "true")
    assert again.json()["token"] == {**first.json()["token"], "engine_token": None}
    bulk = {"commands": [{"type": "engine.register", "body": {"actor_id": "other"}}]}
    first_bulk = client.post("/v1/commands", json=bulk, headers={"idempotency-key": "k2"}).json()["results"][0]
    again_bulk = client.post("/v1/commands", json=bulk, headers={"idempotency-key": "k2"}).json()["results"][0]
    assert SECRET.fullmatch(first_bulk["token"]["engine_token"])
    assert again_bulk["token"]["engine_token"] is None
    engine = first.json()["engine"]["engine_id"]
    issued = client.post(f"/v1/engines/{engine}/tokens/issue", json={}, headers=key).json()["token"]["engine_token"]
    act(client, {"x-engine-id": "eng_none", "x-engine-token": secret})
    client.post("/v1/rooms", json={"title": f"my token is {secret}"})
    events = client.get("/v1/events", params={"limit": 200}).text
    assert "my token is [redacted]" in events
    for one in (secret, issued, first_bulk["token"]["engine_token"]):
        assert one not in events
        assert one not in api.log()
        assert not asyncio.run(stored(postgres, one))


async def stored(postgres: Postgres, secret: str) -> list[str]:
    """Tables that hold this text anywhere."""
    connection = await asyncpg.connect(postgres.owner_url)
    try:
        tables = await connection.fetch("select tablename from pg_tables where schemaname = 'public'")
        found: list[str] = []
        for (table,) in tables:
            query = f"select count(*) from {table} t where position($1::bytea in convert_to(t::text, 'utf8')) > 0"
            if await connection.fetchval(query, secret.encode()):
                found.append(table)
        hidden = await connection.fetchval(
            "select count(*) from evt_keys where position($1 in answer) > 0", secret.encode()
        )
        return [*found, "evt_keys"] if hidden else found
    finally:
        await connection.close()


def test_enforced_mode_takes_an_engines_token(start_api: StartApi, mortal_nats: MortalNats, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("correct-horse\n")
    env = {"AGENTOS_AUTH": "enforced", "AGENTOS_LOCAL_TOKEN_FILE": str(tmp_path / "token")}
    api = start_api(mortal_nats.url, env)
    api.wait_up()
    with httpx.Client(base_url=api.url) as client:
        anonymous = client.post("/v1/engines/register", json={"actor_id": "x"})
        assert (anonymous.status_code, anonymous.json()["error"]) == (401, "missing_bearer_token")
        client.headers["authorization"] = "Bearer correct-horse"
        made = register(client)
        del client.headers["authorization"]
        assert act(client, credentials(made))[0] == 201
        secret = made["token"]["engine_token"]
        room = client.post("/v1/rooms", json={"title": "Ops"}, headers={"authorization": f"Bearer {secret}"})
        assert room.status_code == 201
        event = client.get(f"/v1/events/{room.json()['event_id']}", headers=credentials(made)).json()["event"]
        assert (event["actor_type"], event["actor_id"]) == ("service", "summariser")
        wrong = {"authorization": f"Bearer engtok_{'A' * 43}"}
        assert act(client, wrong) == (401, "engine_token_invalid")
        assert act(client, {"authorization": f"Bearer {made['token']['token_id']}"}) == (401, "invalid_token")


def test_what_one_process_revokes_the_other_refuses(start_api: StartApi, mortal_nats: MortalNats) -> None:
    apis = [start_api(mortal_nats.url), start_api(mortal_nats.url)]
    for api in apis:
        api.wait_up()
    with httpx.Client(base_url=apis[0].url) as here, httpx.Client(base_url=apis[1].url) as there:
        for _ in range(20):
            made = register(here)
            token = made["token"]
            good = credentials(made)
            assert act(there, good)[0] == 201, "issued here, good there at once"
            wait_until(lambda: "agentos_engine_hints_seeing 1.0" in there.get("/metrics").text, 10)
            assert act(here, good)[0] == 201
            here.post(f"/v1/engines/{token['engine_id']}/tokens/{token['token_id']}/revoke", json={})
            revoked = time.monotonic()
            assert act(here, good) == (401, "engine_token_expired"), "where it is revoked, it counts from the answer on"
            while act(there, good)[0] == 201:
                assert time.monotonic() - revoked < 0.5, (
                    "elsewhere within a tenth of a second, and the machine's own delays"
                )
        made = register(there)
        assert act(here, credentials(made))[0] == 201
        there.post(f"/v1/engines/{made['engine']['engine_id']}/deactivate", json={})
        wait_until(lambda: act(here, credentials(made)) == (403, "engine_inactive"), 1)
        again = register(here)
        assert act(there, credentials(again))[0] == 201, "active again, and what was remembered of it does not count"


def test_without_nats_every_check_asks_the_store(start_api: StartApi, mortal_nats: MortalNats) -> None:
    apis = [start_api(mortal_nats.url), start_api(mortal_nats.url)]
    for api in apis:
        api.wait_up()
    with httpx.Client(base_url=apis[0].url) as here, httpx.Client(base_url=apis[1].url) as there:
        made = register(here)
        assert act(there, credentials(made))[0] == 201
        mortal_nats.kill()
        wait_until(lambda: not there.get("/readyz").json()["checks"]["nats"]["ok"], 20)
        for _ in range(10):
            made = register(here)
            token = made["token"]
            assert act(there, credentials(made))[0] == 201
            here.post(f"/v1/engines/{token['engine_id']}/tokens/{token['token_id']}/revoke", json={})
            assert act(there, credentials(made)) == (401, "engine_token_expired"), "counts from the answer on"


def ingest(client: httpx.Client, events: list[Any], headers: dict[str, str], **members: Any) -> httpx.Response:
    body = {"schema_version": "2.1", "events": events, **members}
    return client.post("/v1/engines/evidence/ingest", json=body, headers=headers)


BUILD = {
    "event_id": "ci-1",
    "event_type": "build.finished",
    "occurred_at": "2026-11-20T10:00:00Z",
    "data": {"ok": True},
}


def test_evidence_is_taken_once_by_its_own_id(client: httpx.Client) -> None:
    made = register(client, scopes={"action_types": ["evidence.ingest"]})
    headers = credentials(made)
    leak = {"event_id": "ci-2", "event_type": "log", "text": "ghp_" + "a1B2" * 9}
    answer = ingest(client, [BUILD, leak, BUILD, {**BUILD, "data": {}}, {"event_type": "x"}, 7], headers)
    assert answer.status_code == 200
    told = answer.json()
    assert (told["schema_version"], told["accepted"], told["deduped"], told["rejected"]) == ("2.1", 2, 1, 3)
    assert told["warnings"] == [{"index": 1, "code": "secret_redacted"}]
    assert [(result["index"], result["status"], result["reason_code"]) for result in told["results"]] == [
        (0, "accepted", None),
        (1, "accepted", None),
        (2, "deduped", None),
        (3, "rejected", "event_id_reused"),
        (4, "rejected", "missing_event_id"),
        (5, "rejected", "invalid_event"),
    ]
    body = {"engine_id": headers["x-engine-id"], "engine_token": headers["x-engine-token"]}
    assert ingest(client, [BUILD], {}, **body).json()["deduped"] == 1
    stored_events = client.get("/v1/events", params={"event_type": "engine.evidence.ingested"}).json()["events"]
    assert len(stored_events) == 2
    first = stored_events[0]
    assert (first["stream_type"], first["actor_type"], first["actor_id"]) == ("workspace", "service", "summariser")
    assert first["occurred_at"] == "2026-11-20T10:00:00.000Z"
    assert (first["data"]["engine_id"], first["data"]["source_event_id"], first["data"]["event"]) == (
        headers["x-engine-id"],
        "ci-1",
        BUILD,
    )


async def test_commands_on_nats_take_engine_credentials(api: Api, mortal_nats: MortalNats) -> None:
    with httpx.Client(base_url=api.url) as client:
        good = credentials(register(client))
    bus = await nats.connect(mortal_nats.url_of("integration"), inbox_prefix=b"_INBOX_integration")
    try:
        made = await bus.request("agentos.cmd.ws_dev.room.create", b'{"title":"Ops"}', timeout=5, headers=good)
        event_id = orjson.loads(made.data)["event_id"]
        async with httpx.AsyncClient(base_url=api.url) as reader:
            event = (await reader.get(f"/v1/events/{event_id}")).json()["event"]
        assert (event["actor_type"], event["actor_id"]) == ("service", "summariser")
        bad = {**good, "x-engine-token": "engtok_none"}
        refused = await bus.request("agentos.cmd.ws_dev.room.create", b'{"title":"Ops"}', timeout=5, headers=bad)
        assert orjson.loads(refused.data)["error"] == "engine_token_invalid"
    finally:
        await bus.close()


def test_refusals_of_ingestion(client: httpx.Client) -> None:
    good = credentials(register(client, scopes={"action_types": ["evidence.ingest"]}))
    plain = credentials(register(client))

    def code(answer: httpx.Response) -> tuple[int, str]:
        return answer.status_code, answer.json()["error"]

    assert code(ingest(client, [], {})) == (401, "missing_engine_token")
    assert code(ingest(client, [], {}, engine_id="eng_none")) == (401, "missing_engine_token")
    assert code(ingest(client, [], {}, engine_id="eng_none", engine_token="x")) == (401, "engine_token_invalid")
    assert code(ingest(client, [], plain)) == (403, "engine_action_not_allowed")
    assert code(ingest(client, [BUILD] * 101, good)) == (400, "invalid_events")
    assert code(ingest(client, [], good, schema_version="9")) == (400, "invalid_schema_version")
    assert code(ingest(client, [], good, schema_version="")) == (400, "missing_schema_version")
    assert code(ingest(client, [], good, extra=1)) == (400, "unknown_field")
    assert ingest(client, [], good).json()["results"] == []


def test_a_repeated_ingestion_with_one_key_gets_the_first_answer(client: httpx.Client) -> None:
    good = credentials(register(client, scopes={"action_types": ["evidence.ingest"]})) | {"idempotency-key": "k"}
    first, again = ingest(client, [BUILD], good), ingest(client, [BUILD], good)
    assert (first.json()["accepted"], again.content, again.headers["idempotency-replayed"]) == (
        1,
        first.content,
        "true",
    )
    other = ingest(client, [], good)
    assert (other.status_code, other.json()["error"]) == (422, "idempotency_key_reused")
