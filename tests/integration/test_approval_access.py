"""Who may decide where credentials are asked for."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fixtures.api_process import StartApi
from tests.fixtures.stack import Nats


@pytest.fixture
def client(start_api: StartApi, nats: Nats, tmp_path: Path) -> Iterator[httpx.Client]:
    """The local user's."""
    token = tmp_path / "token"
    token.write_text("correct-horse\n")
    api = start_api(nats.url("api"), {"AGENTOS_AUTH": "enforced", "AGENTOS_LOCAL_TOKEN_FILE": str(token)})
    api.wait_up()
    with httpx.Client(base_url=api.url, headers={"authorization": "Bearer correct-horse"}, timeout=20) as made:
        yield made


def make(client: httpx.Client, path: str, **body: Any) -> dict[str, Any]:
    answer = client.post(path, json=body).raise_for_status()
    made: dict[str, Any] = answer.json()
    return made


def test_engines_ask_and_only_the_user_decides(client: httpx.Client) -> None:
    engine = make(client, "/v1/engines/register", actor_id="summariser")
    token = engine["token"]["engine_token"]
    as_engine: tuple[dict[str, str], ...] = (
        {"x-engine-id": engine["engine_id"], "x-engine-token": token},
        {"authorization": f"Bearer {token}"},
    )
    for headers in as_engine:
        asked = httpx.post(f"{client.base_url}/v1/approvals", json={"action": "email.send"}, headers=headers)
        assert asked.status_code == 201, asked.text
        path = f"/v1/approvals/{asked.json()['approval_id']}"
        body = {"decision": "approve", "actor_type": "user", "actor_id": "ceo"}
        refused = httpx.post(f"{client.base_url}{path}/decide", json=body, headers=headers)
        assert (refused.status_code, refused.json()["error"]) == (403, "approver_must_be_user")
        stranger = httpx.post(f"{client.base_url}{path}/decide", json=body)
        assert (stranger.status_code, stranger.json()["error"]) == (401, "missing_bearer_token")
        decided = make(client, f"{path}/decide", **body | {"actor_type": "agent", "actor_id": "bot"})
        assert decided["approval_status"] == "approved"
        event = client.get(f"/v1/events/{decided['event_id']}").json()["event"]
        assert (event["actor_type"], event["actor_id"]) == ("user", "local"), "the credential says who it is"


def test_whoever_sees_one_room_is_told_nothing_of_the_others(client: httpx.Client) -> None:
    room = make(client, "/v1/rooms", title="Inside")["room_id"]
    engine = make(client, "/v1/engines/register", actor_id="inside", scopes={"rooms": [room]})
    headers = {"x-engine-id": engine["engine_id"], "x-engine-token": engine["token"]["engine_token"]}
    path = f"/v1/approvals/{make(client, '/v1/approvals', action='email.send', room_id=room)['approval_id']}"
    with httpx.Client(base_url=client.base_url, headers=headers, timeout=20) as inside:
        for answer in (
            inside.get(f"{path}/similar"),
            inside.post(f"{path}/scope-preview", json={"scope": {"type": "workspace"}}),
        ):
            assert (answer.status_code, answer.json()["error"]) == (403, "engine_room_not_allowed"), answer.text
        seen = inside.post(f"{path}/seen", json={"actor_type": "user", "actor_id": "ceo"})
        assert (seen.status_code, seen.json()["error"]) == (403, "approver_must_be_user")
    assert make(client, f"{path}/seen")["ok"] is True


def test_in_open_mode_deciding_may_take_the_local_users_token(start_api: StartApi, nats: Nats, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("correct-horse\n")
    api = start_api(nats.url("api"), {"AGENTOS_APPROVER": "session", "AGENTOS_LOCAL_TOKEN_FILE": str(token)})
    api.wait_up()
    with httpx.Client(base_url=api.url, timeout=20) as client:
        asked = make(client, "/v1/approvals", action="email.send", actor_type="agent", actor_id="bot")
        decide = f"/v1/approvals/{asked['approval_id']}/decide"
        body = {"decision": "approve", "actor_type": "user", "actor_id": "ceo", "scope": {"type": "workspace"}}
        item = {"approval_id": asked["approval_id"], **body}
        for headers in ({}, {"authorization": "Bearer wrong"}):
            refused = client.post(decide, json=body, headers=headers)
            assert (refused.status_code, refused.json()["error"]) == (403, "approver_session_required")
            bulk = {"commands": [{"type": "approval.decide", "body": item}]}
            (result,) = client.post("/v1/commands", json=bulk, headers=headers).json()["results"]
            assert (result["status"], result["error"]) == (403, "approver_session_required")
            (result,) = client.post("/v1/approvals/decide-batch", json={"decisions": [item]}, headers=headers).json()[
                "results"
            ]
            assert result["error"] == "approver_session_required"
        proof = {"authorization": "Bearer correct-horse"}
        decided = client.post(decide, json=body, headers=proof).raise_for_status().json()
        event = client.get(f"/v1/events/{decided['event_id']}").json()["event"]
        assert (event["actor_type"], event["actor_id"]) == ("user", "local")
        revoke = f"/v1/grants/{asked['approval_id']}/revoke"
        assert client.post(revoke, json={}).json()["error"] == "approver_session_required"
        assert client.post(revoke, json={}, headers=proof).status_code == 200

        # Whatever else only people do takes the same proof; anybody may stop, as who it is.
        agent = make(client, "/v1/agents", display_name="Mailer")["agent_id"]
        switch = {"action": "engage", "scope": "agent", "target": agent}
        service = {"actor_type": "service", "actor_id": "watchdog"}
        rule = {"host": "api.example.org", "effect": "allow"}
        kill = "/v1/policy/kill-switch"
        assert client.post(kill, json={**switch, **service}).status_code == 200
        for path, wish in (
            (kill, switch),
            (kill, {**switch, "action": "release", "reason": "done", **service}),
            (kill, {**switch, "action": "release", "reason": "done"}),
            (f"/v1/agents/{agent}/unquarantine", service),
            ("/v1/egress/rules", rule),
        ):
            answer = client.post(path, json=wish)
            assert (answer.status_code, answer.json()["error"]) == (403, "approver_session_required"), (path, wish)
        released = client.post(kill, json={**switch, "action": "release", "reason": "done"}, headers=proof)
        assert released.status_code == 200, released.text
