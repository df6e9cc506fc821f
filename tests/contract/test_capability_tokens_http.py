"""Capability tokens as bearer credentials in open mode: who acts, and how far."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4  # noqa: TID251 - a test's own workspace

import httpx
import pytest

from agentos_shared.domain.token_bounds import Narrowing
from agentos_shared.tokens.biscuits import attenuate
from tests.fixtures.stack import Stack


@pytest.fixture
def client(stack: Stack) -> Iterator[httpx.Client]:
    headers = {"x-workspace-id": f"ws_{uuid4().hex[:12]}"}
    with httpx.Client(base_url=stack.url, headers=headers, timeout=20) as made:
        yield made


def post(client: httpx.Client, path: str, token: str | None = None, **body: Any) -> dict[str, Any]:
    answer = client.post(path, json=body, headers=bearer(token))
    assert answer.status_code in (200, 201), answer.text
    made: dict[str, Any] = answer.json()
    return made


def bearer(token: str | None) -> dict[str, str]:
    return {} if token is None else {"authorization": f"Bearer {token}"}


def refused(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return answer.status_code, answer.json()["error"]


class Setting:
    """Two rooms, an agent, and a token of the agent's that covers one of them."""

    def __init__(self, client: httpx.Client, **scopes: Any) -> None:
        self.client = client
        self.room, self.other = (post(client, "/v1/rooms", title=title)["room_id"] for title in ("own", "other"))
        agent = post(client, "/v1/agents", display_name="A")
        self.agent_id, self.principal_id = agent["agent_id"], agent["principal_id"]
        owner = post(client, "/v1/principals/legacy/ensure", actor_type="user", actor_id="owner")
        self.owner_id = owner["principal"]["principal_id"]
        self.scopes = {"rooms": [self.room], "action_types": ["thread.create", "run.create"], **scopes}
        self.granted = self.grant(scopes=self.scopes)
        self.token, self.public_key = self.granted["token"], self.granted["public_key"]

    def grant(self, **members: Any) -> dict[str, Any]:
        body = {"issued_to_principal_id": self.principal_id, "granted_by_principal_id": self.owner_id, **members}
        return post(self.client, "/v1/capabilities/grant", **body)

    def thread(self, room: str, token: str) -> httpx.Response:
        return self.client.post(f"/v1/rooms/{room}/threads", json={"title": "T"}, headers=bearer(token))

    def narrow(self, **members: Any) -> str:
        return attenuate(self.token, self.public_key, Narrowing.model_validate(members))


@pytest.fixture
def setting(client: httpx.Client) -> Setting:
    return Setting(client)


def events(client: httpx.Client, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get("/v1/events", params=query).json()["events"]
    return found


def test_the_holder_is_the_actor_whatever_the_request_claims(setting: Setting) -> None:
    claimed = {**bearer(setting.token), "x-actor-type": "user", "x-actor-id": "root"}
    answer = setting.client.post(f"/v1/rooms/{setting.room}/threads", json={"title": "T"}, headers=claimed)
    assert answer.status_code == 201, answer.text
    event = events(setting.client, room_id=setting.room, event_type="thread.created")[0]
    actor = (event["actor_type"], event["actor_id"], event["actor_principal_id"])
    assert actor == ("agent", setting.agent_id, setting.principal_id)


def test_a_token_is_held_to_its_rooms_and_actions(setting: Setting) -> None:
    client, headers = setting.client, bearer(setting.token)
    assert refused(setting.thread(setting.other, setting.token)) == (403, "capability_scope_room_not_allowed")
    assert refused(client.post("/v1/rooms", json={"title": "R"}, headers=headers)) == (
        403,
        "capability_scope_room_required",
    )
    thread = setting.thread(setting.room, setting.token).json()["thread_id"]
    message = client.post(f"/v1/threads/{thread}/messages", json={"content_md": "hi"}, headers=headers)
    assert refused(message) == (403, "capability_scope_action_not_allowed")


def test_a_token_is_narrowed_offline(setting: Setting) -> None:
    assert setting.thread(setting.room, setting.narrow(max_uses=100)).status_code == 201
    less = setting.narrow(action_types=["run.create"])
    assert refused(setting.thread(setting.room, less)) == (403, "capability_scope_action_not_allowed")
    past = setting.narrow(valid_until="2026-01-01T00:00:00Z")
    assert refused(setting.thread(setting.room, past)) == (401, "capability_token_expired")


def test_the_zone_ceiling_holds(client: httpx.Client) -> None:
    setting = Setting(client, zone_max="supervised")
    runs = {"room_id": setting.room, "title": "R"}
    assert client.post("/v1/runs", json=runs, headers=bearer(setting.token)).status_code == 201
    high = client.post("/v1/runs", json={**runs, "zone": "high_stakes"}, headers=bearer(setting.token))
    assert refused(high) == (403, "capability_scope_zone_exceeded")


def test_revoking_counts_at_once_and_takes_descendants_along(setting: Setting) -> None:
    child = setting.grant(
        granted_by_principal_id=setting.principal_id,
        parent_token_id=setting.granted["token_id"],
        scopes={"action_types": ["*"]},
    )["token"]
    narrowed = setting.narrow(max_uses=5)
    for token in (setting.token, child, narrowed):
        assert setting.thread(setting.room, token).status_code == 201
    post(setting.client, "/v1/capabilities/revoke", token_id=setting.granted["token_id"])
    for token in (setting.token, child, narrowed):
        assert refused(setting.thread(setting.room, token)) == (403, "capability_token_revoked")


def test_a_holder_hands_on_its_own_token_and_no_more_than_that(client: httpx.Client) -> None:
    setting = Setting(client, action_types=["thread.create", "capability.grant"])
    wider = setting.grant(scopes={"action_types": ["*"]})
    body = {
        "issued_to_principal_id": setting.principal_id,
        "granted_by_principal_id": setting.principal_id,
        "scopes": {"action_types": ["*"]},
    }

    def hand_on(parent: str | None, token: str) -> httpx.Response:
        wish = {**body, "parent_token_id": parent}
        return client.post("/v1/capabilities/grant", json=wish, headers=bearer(token))

    own = setting.granted["token_id"]
    for parent in (wider["token_id"], None):
        assert refused(hand_on(parent, setting.token)) == (403, "capability_scope_not_own")
    assert refused(hand_on(own, setting.narrow(max_uses=3))) == (403, "capability_token_narrowed")
    handed = hand_on(own, setting.token)
    assert handed.status_code == 201
    assert refused(setting.thread(setting.other, handed.json()["token"])) == (403, "capability_scope_room_not_allowed")
    engine = {"engine_name": "e", "actor_id": "e"}
    refusal = client.post("/v1/engines/register", json=engine, headers=bearer(wider["token"]))
    assert refused(refusal) == (403, "capability_scope_action_not_allowed")


def test_a_holder_gets_no_token_of_somebody_else(client: httpx.Client) -> None:
    setting = Setting(client, rooms=["*"], action_types=["*"])
    body = {"granted_by_principal_id": setting.principal_id, "parent_token_id": setting.granted["token_id"]}

    def hand_on(holder: str) -> httpx.Response:
        wish = {**body, "issued_to_principal_id": holder}
        return client.post("/v1/capabilities/grant", json=wish, headers=bearer(setting.token))

    assert refused(hand_on(setting.owner_id)) == (403, "holder_must_not_be_user")
    other = post(client, "/v1/agents", display_name="B")["principal_id"]
    handed = hand_on(other).json()
    assert handed["token_id"]
    assert handed["token"] is None
    assert hand_on(setting.principal_id).json()["token"]


def test_the_gate_decides_within_the_token(client: httpx.Client) -> None:
    setting = Setting(client, action_types=["artifact.create", "external.write"])

    def ask(action: str, token: str, **members: Any) -> dict[str, Any]:
        return post(client, "/v1/policy/evaluate", token, action=action, room_id=setting.room, **members)

    assert ask("artifact.create", setting.token)["decision"] == "allow"
    assert ask("payment.execute", setting.token)["reason_code"] == "capability_scope_action_not_allowed"
    less = setting.narrow(action_types=["external.write"])
    assert ask("artifact.create", less)["reason_code"] == "capability_scope_action_not_allowed"
    low = setting.narrow(zone_max="sandbox")
    assert ask("artifact.create", low)["reason_code"] == "capability_scope_zone_exceeded"
    other = setting.grant(scopes={"action_types": ["*"]})["token_id"]
    body = {"action": "artifact.create", "room_id": setting.room, "capability_token_id": other}
    assert refused(client.post("/v1/policy/evaluate", json=body, headers=bearer(setting.token))) == (
        403,
        "capability_scope_not_own",
    )


def test_a_token_is_told_once_and_stands_in_no_event(setting: Setting) -> None:
    body = {"issued_to_principal_id": setting.principal_id, "granted_by_principal_id": setting.owner_id}
    key = {"idempotency-key": uuid4().hex}
    first, again = (setting.client.post("/v1/capabilities/grant", json=body, headers=key).json() for _ in range(2))
    assert first["token"].startswith("agcap_")
    assert again["token"] is None
    assert again["token_id"] == first["token_id"]
    thread = post(setting.client, f"/v1/rooms/{setting.room}/threads", title="T")["thread_id"]
    post(setting.client, f"/v1/threads/{thread}/messages", content_md=f"look: {first['token']}")
    told = setting.client.get("/v1/events", params={"limit": 200}).text
    assert "agcap_" not in told
    assert "[redacted]" in told


@pytest.mark.parametrize("cut", [1, 100])
def test_bad_tokens_are_refused_in_open_mode_too(setting: Setting, cut: int) -> None:
    assert refused(setting.thread(setting.room, setting.token[:-cut])) == (401, "invalid_token")


def test_a_token_is_of_one_workspace(setting: Setting) -> None:
    other = {**bearer(setting.token), "x-workspace-id": f"ws_{uuid4().hex[:12]}"}
    answer = setting.client.post("/v1/rooms", json={"title": "R"}, headers=other)
    assert refused(answer) == (403, "capability_workspace_mismatch")


def test_a_token_of_some_rooms_reads_these_and_nothing_else(setting: Setting) -> None:
    client, headers = setting.client, bearer(setting.token)
    made: dict[str, dict[str, str]] = {}
    for room in (setting.room, setting.other):
        thread = post(client, f"/v1/rooms/{room}/threads", title="T")
        run = post(client, "/v1/runs", room_id=room, title="R")["run_id"]
        post(client, f"/v1/runs/{run}/start")
        step = post(client, f"/v1/runs/{run}/steps", kind="k", title="S")["step_id"]
        made[room] = {"thread": thread["thread_id"], "event": thread["event_id"], "run": run, "step": step}

    def read(path: str) -> httpx.Response:
        return client.get(path, headers=headers)

    for place, allowed in ((setting.room, True), (setting.other, False)):
        ids = made[place]
        for path in (
            f"/v1/rooms/{place}",
            f"/v1/rooms/{place}/threads",
            f"/v1/threads/{ids['thread']}",
            f"/v1/threads/{ids['thread']}/messages",
            f"/v1/runs/{ids['run']}",
            f"/v1/runs/{ids['run']}/steps",
            f"/v1/runs?room_id={place}",
            f"/v1/events?room_id={place}",
            f"/v1/events?run_id={ids['run']}",
            f"/v1/events/{ids['event']}",
            f"/v1/toolcalls?run_id={ids['run']}",
            f"/v1/toolcalls?step_id={ids['step']}",
            f"/v1/approvals?room_id={place}",
            f"/v1/search?q=hello&room_id={place}",
        ):
            if allowed:
                assert read(path).status_code == 200, path
            else:
                assert refused(read(path)) == (403, "capability_scope_room_not_allowed"), path
        with client.stream("HEAD", f"/v1/streams/rooms/{place}", headers=headers) as stream:
            assert stream.status_code == (200 if allowed else 403)
    own = setting.room
    for path in (
        "/v1/events",
        "/v1/runs",
        "/v1/runs?room_id=",
        f"/v1/runs?room_id={own}&room_id=",
        f"/v1/runs?room_id={own}&room_id={setting.other}",
        f"/v1/engines?room_id={own}",
        "/v1/agents",
        "/v1/metrics",
        "/metrics",
        f"/v1/capabilities?principal_id={setting.principal_id}",
        "/v1/streams/workspace",
        "/v1/pipeline/projection",
    ):
        assert refused(read(path)) == (403, "capability_scope_room_required"), path
    listed = read("/v1/rooms").json()["rooms"]
    assert [room["room_id"] for room in listed] == [own]
    assert read("/v1/runs/run_unknown").status_code == 404
    found = read(f"/v1/events?run_id={made[own]['run']}&stream_type=room&stream_id={setting.other}").json()["events"]
    assert all(event["room_id"] == own for event in found)


def test_an_agent_in_quarantine_may_only_read(setting: Setting) -> None:
    post(setting.client, f"/v1/agents/{setting.agent_id}/quarantine", quarantine_reason="odd")
    assert refused(setting.thread(setting.room, setting.token)) == (403, "agent_quarantined")
    assert setting.client.get(f"/v1/rooms/{setting.room}", headers=bearer(setting.token)).status_code == 200


def test_uses_are_counted_over_the_whole_chain(client: httpx.Client) -> None:
    setting = Setting(client, max_uses=4)
    child = setting.grant(
        granted_by_principal_id=setting.principal_id,
        parent_token_id=setting.granted["token_id"],
        scopes={"action_types": ["*"], "max_uses": 2},
    )["token"]
    once = setting.narrow(max_uses=1)
    spent = (403, "capability_uses_exhausted")
    assert setting.thread(setting.room, once).status_code == 201
    assert refused(setting.thread(setting.room, once)) == spent
    key = {**bearer(child), "idempotency-key": uuid4().hex}
    path = f"/v1/rooms/{setting.room}/threads"
    for _ in range(3):  # the same command, sent again, is one use
        assert client.post(path, json={"title": "T"}, headers=key).status_code == 201
    assert setting.thread(setting.room, child).status_code == 201
    assert refused(setting.thread(setting.room, child)) == spent
    assert setting.thread(setting.room, setting.token).status_code == 201
    assert refused(setting.thread(setting.room, setting.token)) == spent


def test_of_many_at_once_no_more_than_the_uses_succeed(client: httpx.Client) -> None:
    setting = Setting(client, max_uses=3)
    thread = {"type": "thread.create", "body": {"room_id": setting.room, "title": "T"}}
    bulk = {"commands": [thread] * 5}

    def send() -> list[int]:
        headers = {**bearer(setting.token), "idempotency-key": uuid4().hex}
        results = client.post("/v1/commands", json=bulk, headers=headers)
        return [result["status"] for result in results.json()["results"]]

    with ThreadPoolExecutor(4) as pool:
        statuses = [status for sent in pool.map(lambda _: send(), range(4)) for status in sent]
    assert sorted(statuses) == [201] * 3 + [403] * 17


def test_a_counted_capability_is_shown_and_not_only_named(client: httpx.Client) -> None:
    setting = Setting(client, action_types=["artifact.create"], max_uses=3)
    named = {"capability_token_id": setting.granted["token_id"], "principal_id": setting.principal_id}
    actor = {"actor_type": "agent", "actor_id": setting.agent_id}
    asked = post(client, "/v1/policy/evaluate", action="artifact.create", room_id=setting.room, **named, **actor)
    assert asked["reason_code"] == "capability_bearer_required"


def test_an_engine_of_some_rooms_reads_these_and_nothing_else(setting: Setting) -> None:
    client = setting.client
    engine = post(client, "/v1/engines/register", actor_id="e", scopes={"rooms": [setting.room]})
    headers = {"x-engine-id": engine["engine_id"], "x-engine-token": engine["token"]["engine_token"]}
    listed = client.get("/v1/rooms", headers=headers).json()["rooms"]
    assert [room["room_id"] for room in listed] == [setting.room]
    assert client.get(f"/v1/events?room_id={setting.room}", headers=headers).status_code == 200
    for path in (f"/v1/rooms/{setting.other}", f"/v1/events?room_id={setting.other}", "/v1/events", "/v1/engines"):
        assert refused(client.get(path, headers=headers)) == (403, "engine_room_not_allowed"), path
    assert refused(client.get("/v1/streams/workspace", headers=headers)) == (403, "engine_room_not_allowed")


def test_a_holder_collects_the_token_of_what_was_handed_on_to_it(setting: Setting) -> None:
    client = setting.client
    other = post(client, "/v1/agents", display_name="Helper")
    child = post(
        client,
        "/v1/capabilities/grant",
        issued_to_principal_id=other["principal_id"],
        granted_by_principal_id=setting.principal_id,
        parent_token_id=setting.granted["token_id"],
        scopes={"action_types": ["*"]},
        actor_type="agent",
        actor_id=setting.agent_id,
    )
    assert child["token"] is None, "who hands it on is not told"
    path = f"/v1/capabilities/{child['token_id']}/token"
    as_holder = {"actor_type": "agent", "actor_id": other["agent_id"]}
    stranger = client.post(path, json={"actor_type": "agent", "actor_id": setting.agent_id})
    assert refused(stranger) == (403, "capability_of_another")
    collected = client.post(path, json=as_holder)
    assert collected.status_code == 200, collected.text
    token = collected.json()["token"]
    assert setting.thread(setting.room, token).status_code == 201
    assert client.post(path, json={}, headers=bearer(token)).status_code == 403, "a token gets nobody another one"
    assert post(client, path)["token"] is not None, "a person may"
    found = events(client, event_type="agent.capability.collected")
    assert [one["actor_type"] for one in found] == ["agent", "user"]
    assert token not in str(found)
    assert refused(client.post("/v1/capabilities/nobody/token", json={})) == (404, "token_not_found")
    key = {"idempotency-key": "collect-once"}
    assert client.post(path, json=as_holder, headers=key).json()["token"] is not None
    assert client.post(path, json=as_holder, headers=key).json()["token"] is None
    post(client, "/v1/capabilities/revoke", token_id=setting.granted["token_id"])
    assert refused(client.post(path, json=as_holder)) == (409, "capability_token_revoked")
