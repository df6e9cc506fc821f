"""AGENTOS_AUTH=enforced from end to end: who gets in, over HTTP and NATS, in two API processes at once."""

import asyncio
import stat
from pathlib import Path
from typing import Any

import httpx
import nats as nats_client
import orjson
import pytest

from agentos_shared.domain.token_bounds import Narrowing
from agentos_shared.tokens.biscuits import attenuate
from tests.fixtures.api_process import Api, StartApi
from tests.fixtures.stack import Nats, wait_until

LOCAL = {"authorization": "Bearer correct-horse"}


class Enforced:
    """Two API processes on one database and one key, and a token of an agent's."""

    def __init__(self, start_api: StartApi, nats: Nats, directory: Path) -> None:
        (directory / "token").write_text("correct-horse\n")
        self.key = directory / "keys" / "capability-key"
        env = {
            "AGENTOS_AUTH": "enforced",
            "AGENTOS_LOCAL_TOKEN_FILE": str(directory / "token"),
            "AGENTOS_TOKEN_KEY_FILE": str(self.key),
        }
        self.first, self.second = (start_api(nats.url("api"), env) for _ in range(2))
        for api in (self.first, self.second):
            api.wait_up()
        self.room, self.other = (self.make("/v1/rooms", title="R")["room_id"] for _ in range(2))
        agent = self.make("/v1/agents", display_name="A")
        self.agent_id = agent["agent_id"]
        owner = self.make("/v1/principals/legacy/ensure", actor_type="user", actor_id="o")["principal"]["principal_id"]
        self.granted = self.make(
            "/v1/capabilities/grant",
            issued_to_principal_id=agent["principal_id"],
            granted_by_principal_id=owner,
            scopes={"rooms": [self.room], "action_types": ["thread.create"]},
        )

    def make(self, path: str, **body: Any) -> dict[str, Any]:
        answer = httpx.post(self.first.url + path, json=body, headers=LOCAL)
        assert answer.status_code in (200, 201), answer.text
        made: dict[str, Any] = answer.json()
        return made


@pytest.fixture
def enforced(start_api: StartApi, nats: Nats, tmp_path: Path) -> Enforced:
    return Enforced(start_api, nats, tmp_path)


def thread(api: Api, room: str, headers: dict[str, str]) -> tuple[int, str | None]:
    answer = httpx.post(f"{api.url}/v1/rooms/{room}/threads", json={"title": "T"}, headers=headers)
    return answer.status_code, answer.json().get("error")


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def test_credentials_get_in_and_nothing_else_does(enforced: Enforced) -> None:
    api, room, token = enforced.first, enforced.room, enforced.granted["token"]
    for path in ("/v1/rooms", f"/v1/rooms/{room}", "/v1/streams/workspace", "/metrics", "/docs", "/nothing"):
        refused = httpx.get(api.url + path)
        assert (refused.status_code, refused.json()["error"]) == (401, "missing_bearer_token"), path
    for path in ("/healthz", "/health"):
        assert httpx.get(api.url + path).status_code == 200
    refusals = {
        "correct-horse": None,
        "wrong": "invalid_token",
        "agcap_": "invalid_token",
        "engtok_" + "A" * 43: "engine_token_invalid",
        token[:-1]: "invalid_token",
    }
    for text, code in refusals.items():
        assert thread(api, room, bearer(text)) == (201 if code is None else 401, code), text
    engine = enforced.make("/v1/engines/register", actor_id="e", scopes={"rooms": [room]})
    for text in (token, engine["token"]["engine_token"]):
        assert thread(api, room, bearer(text)) == (201, None)
        assert thread(api, enforced.other, bearer(text))[0] == 403


def test_the_local_user_asks_about_anybody_and_holders_of_tokens_about_themselves(enforced: Enforced) -> None:
    path = enforced.first.url + "/access/v1/evaluation"
    resource = {"type": "room", "id": enforced.room}
    about = {"subject": {"type": "agent", "id": enforced.agent_id}, "action": {"name": "x"}, "resource": resource}
    assert httpx.post(path, json=about).json()["error"] == "missing_bearer_token"
    told = httpx.post(path, json=about, headers=LOCAL).json()
    # There is no policy service here: the answer is no.
    assert (told["decision"], told["context"]["reason_code"]) == (False, "policy_unavailable")
    event = httpx.get(f"{enforced.first.url}/v1/events/{told['context']['event_id']}", headers=LOCAL).json()["event"]
    assert event["actor_type"] == "user"
    token = bearer(enforced.granted["token"])
    assert httpx.post(path, json=about, headers=token).status_code == 200
    other = {**about, "subject": {"type": "user", "id": "ada"}}
    assert httpx.post(path, json=other, headers=token).json()["error"] == "subject_not_caller"
    assert httpx.post(path, json=other, headers=LOCAL).status_code == 200


def test_a_revocation_counts_in_every_process(enforced: Enforced) -> None:
    granted = enforced.granted
    narrowed = attenuate(granted["token"], granted["public_key"], Narrowing(max_uses=9))
    for api in (enforced.first, enforced.second):
        assert thread(api, enforced.room, bearer(narrowed)) == (201, None)
    enforced.make("/v1/capabilities/revoke", token_id=granted["token_id"])
    assert thread(enforced.first, enforced.room, bearer(narrowed)) == (403, "capability_token_revoked")
    wait_until(
        lambda: thread(enforced.second, enforced.room, bearer(narrowed)) == (403, "capability_token_revoked"),
        1,
        enforced.second.log,
    )


def test_nats_commands_show_the_same_tokens(enforced: Enforced, nats: Nats) -> None:
    async def ask(room: str, headers: dict[str, str]) -> Any:
        client = await nats_client.connect(nats.url("integration"), inbox_prefix="_INBOX_integration")
        try:
            body = orjson.dumps({"room_id": room, "title": "T"})
            reply = await client.request("agentos.cmd.ws_dev.thread.create", body, timeout=10, headers=headers)
            return orjson.loads(reply.data)
        finally:
            await client.close()

    assert asyncio.run(ask(enforced.room, {"x": "y"}))["error"] == "missing_bearer_token"
    headers = bearer(enforced.granted["token"])
    assert asyncio.run(ask(enforced.other, headers))["error"] == "capability_scope_room_not_allowed"
    made = asyncio.run(ask(enforced.room, headers))
    event = httpx.get(f"{enforced.first.url}/v1/events/{made['event_id']}", headers=LOCAL).json()["event"]
    assert (event["actor_type"], event["actor_id"]) == ("agent", enforced.agent_id)


def test_the_key_is_made_once_and_nobody_elses_to_read(enforced: Enforced, start_api: StartApi, nats: Nats) -> None:
    assert stat.S_IMODE(enforced.key.stat().st_mode) == 0o600
    assert list(enforced.key.parent.iterdir()) == [enforced.key]
    for api in (enforced.first, enforced.second):
        for line in (enforced.key.read_text().strip(), enforced.granted["token"]):
            assert line not in api.log()
    enforced.key.chmod(0o644)
    third = start_api(nats.url("api"), {"AGENTOS_TOKEN_KEY_FILE": str(enforced.key)})
    assert third.wait_end() != 0
    assert "readable by other users" in third.log()
