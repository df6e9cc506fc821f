"""AuthZEN's questions: the gate's own answers, in AuthZEN's form."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4  # noqa: TID251 - a test's own workspace

import httpx
import pytest

from tests.fixtures.stack import Stack

ONE = "/access/v1/evaluation"
ALL = "/access/v1/evaluations"
ADA = {"type": "user", "id": "ada"}
EMAIL = {"name": "email.send", "properties": {"to": "list@example.org"}}
CREATE = {"name": "artifact.create"}


@pytest.fixture
def client(stack: Stack) -> Iterator[httpx.Client]:
    headers = {"x-workspace-id": f"ws_{uuid4().hex[:12]}"}
    with httpx.Client(base_url=stack.url, headers=headers, timeout=20) as made:
        yield made


def workspace(client: httpx.Client) -> dict[str, str]:
    return {"type": "workspace", "id": client.headers["x-workspace-id"]}


def made(client: httpx.Client, path: str, **body: Any) -> dict[str, Any]:
    answer = client.post(path, json=body)
    assert answer.status_code in (200, 201), answer.text
    told: dict[str, Any] = answer.json()
    return told


def test_only_what_is_plainly_allowed_is_true(client: httpx.Client) -> None:
    place = workspace(client)
    allowed = made(client, ONE, subject=ADA, action=CREATE, resource=place)
    assert (allowed["decision"], allowed["context"]["reason_code"]) == (True, "default_allow")
    asks = made(client, ONE, subject=ADA, action=EMAIL, resource=place)
    context = asks["context"]
    assert (asks["decision"], context["decision"]) == (False, "require_approval")
    assert context["reason"] == "This action belongs into the zone high_stakes."
    assert context["next_steps"]
    assert context["action_digest"].startswith("sha256:")
    denied = made(client, ONE, subject=ADA, action=CREATE, resource=place, context={"zone": "sandbox"})
    assert (denied["decision"], denied["context"]["decision"]) == (False, "deny")


def test_each_question_is_on_record(client: httpx.Client) -> None:
    room_id = made(client, "/v1/rooms", title="Ops")["room_id"]
    room = {"type": "room", "id": room_id}
    context = made(client, ONE, subject=ADA, action=EMAIL, resource=room)["context"]
    event = client.get(f"/v1/events/{context['event_id']}").raise_for_status().json()["event"]
    assert event["room_id"] == room_id
    assert (event["actor_type"], event["actor_id"]) == ("user", "ada")
    assert event["data"]["decision_id"] == context["decision_id"]


def test_the_approval_that_is_asked_for_makes_it_true(client: httpx.Client) -> None:
    room = {"type": "room", "id": made(client, "/v1/rooms", title="Ops")["room_id"]}
    digest = made(client, ONE, subject=ADA, action=EMAIL, resource=room)["context"]["action_digest"]
    approval = made(client, "/v1/approvals", action="email.send", room_id=room["id"], action_digest=digest)
    made(client, f"/v1/approvals/{approval['approval_id']}/decide", decision="approve")
    allowed = made(client, ONE, subject=ADA, action=EMAIL, resource=room)
    assert (allowed["decision"], allowed["context"]["approval_id"]) == (True, approval["approval_id"])
    other = {**EMAIL, "properties": {"to": "all@example.org"}}
    assert made(client, ONE, subject=ADA, action=other, resource=room)["decision"] is False


def test_an_agent_tool_and_host(client: httpx.Client) -> None:
    agent = made(client, "/v1/agents", display_name="Summariser")
    subject = {"type": "agent", "id": agent["agent_id"]}
    call, tool = {"name": "tool.call", "properties": {"cmd": "ls"}}, {"type": "tool", "id": "shell"}
    unproven = made(client, ONE, subject=subject, action=call, resource=tool)
    assert unproven["context"]["reason_code"] == "agent_principal_required"
    subject["properties"] = {"principal_id": agent["principal_id"]}
    assert made(client, ONE, subject=subject, action=call, resource=tool)["decision"] is True
    host = made(client, ONE, subject=ADA, action={"name": "http.get"}, resource={"type": "host", "id": "example.org"})
    assert host["context"]["reason_code"] == "external_write_requires_approval"
    made(client, "/v1/policy/kill-switch", action="engage", scope="tool", target="shell")
    stopped = made(client, ONE, subject=subject, action=call, resource=tool)
    assert (stopped["decision"], stopped["context"]["reason_code"]) == (False, "kill_switch_active")


def test_labelled_data(client: httpx.Client) -> None:
    made(client, "/v1/resources/labels", resource_type="file", resource_id="a.csv", label="restricted")
    resource = {"type": "file", "id": "a.csv"}
    told = made(client, ONE, subject=ADA, action={"name": "data.read"}, resource=resource)
    assert told["context"]["reason_code"] == "data_access_restricted_room_mismatch"


@pytest.mark.parametrize(
    ("semantic", "actions", "expected"),
    [
        (None, (CREATE, EMAIL, CREATE), [True, False, True]),
        ("execute_all", (EMAIL, CREATE), [False, True]),
        ("deny_on_first_deny", (CREATE, EMAIL, CREATE), [True, False]),
        ("permit_on_first_permit", (EMAIL, CREATE, EMAIL), [False, True]),
        ("permit_on_first_permit", (EMAIL, EMAIL), [False, False]),
    ],
)
def test_several_questions(
    client: httpx.Client, semantic: str | None, actions: tuple[Any, ...], expected: list[bool]
) -> None:
    options = {} if semantic is None else {"options": {"evaluations_semantic": semantic}}
    wishes = [{"action": action} for action in actions]
    told = made(client, ALL, subject=ADA, resource=workspace(client), evaluations=wishes, **options)
    assert [one["decision"] for one in told["evaluations"]] == expected


def test_one_question_at_the_path_of_several(client: httpx.Client) -> None:
    told = made(client, ALL, subject=ADA, action=CREATE, resource=workspace(client))
    assert told["decision"] is True
    assert "evaluations" not in told


def test_a_question_that_cannot_be_asked_is_false_among_others(client: httpx.Client) -> None:
    place = workspace(client)
    wishes = [{"resource": {"type": "room", "id": "room_nowhere"}}, {"resource": place}]
    told = made(client, ALL, subject=ADA, action=CREATE, evaluations=wishes)["evaluations"]
    assert [one["decision"] for one in told] == [False, True]
    assert told[0]["context"]["error"]["status"] == 404
    assert told[0]["context"]["reason_code"] == "room_not_found"


def test_a_key_gets_the_same_decisions_again(client: httpx.Client) -> None:
    key = {"idempotency-key": "k-1"}
    body = {"subject": ADA, "resource": workspace(client), "evaluations": [{"action": CREATE}, {"action": EMAIL}]}
    first, again = (client.post(ALL, json=body, headers=key).json() for _ in range(2))
    assert first == again


@pytest.mark.parametrize(
    ("path", "change", "code"),
    [
        (ONE, {"subject": None}, (400, "invalid_subject")),
        (ONE, {"subject": {"type": "robot", "id": "r"}}, (400, "invalid_subject")),
        (ONE, {"action": {"name": ""}}, (400, "invalid_action")),
        (ONE, {"colour": "red"}, (400, "unknown_field")),
        (ONE, {"context": {"zone": "nowhere"}}, (400, "invalid_context")),
        (ONE, {"resource": {"type": "room", "id": "room_nowhere"}}, (404, "room_not_found")),
        (ONE, {"resource": {"type": "workspace", "id": "ws_other"}}, (400, "invalid_resource")),
        (ONE, {"resource": {"type": "tool", "id": "shell"}}, (400, "invalid_action")),
        (ALL, {"options": {"evaluations_semantic": "whatever"}}, (400, "invalid_options")),
        (ALL, {"subject": None, "evaluations": [{}]}, (400, "missing_subject")),
        (ALL, {"evaluations": [{}] * 201}, (400, "invalid_evaluations")),
    ],
)
def test_bad_input(client: httpx.Client, path: str, change: dict[str, Any], code: tuple[int, str]) -> None:
    body = {"subject": ADA, "action": CREATE, "resource": workspace(client)} | change
    answer = client.post(path, json=body)
    assert (answer.status_code, answer.json()["error"]) == code
    assert answer.headers["content-type"] == "application/problem+json"


def test_the_holder_of_a_token_asks_for_itself(client: httpx.Client) -> None:
    place = workspace(client)
    agent = made(client, "/v1/agents", display_name="Summariser")
    principal = agent["principal_id"]
    granted = made(
        client,
        "/v1/capabilities/grant",
        issued_to_principal_id=principal,
        granted_by_principal_id=principal,
        scopes={"action_types": ["artifact.create"]},
    )
    client.headers["authorization"] = f"Bearer {granted['token']}"
    body = {"action": CREATE, "resource": place}
    answer = client.post(ONE, json={"subject": ADA, **body})
    assert (answer.status_code, answer.json()["error"]) == (403, "subject_not_caller")
    itself = {"type": "agent", "id": agent["agent_id"]}
    assert made(client, ONE, subject=itself, **body)["decision"] is True
    beyond = made(client, ONE, subject=itself, action=EMAIL, resource=place)
    assert beyond["context"]["reason_code"] == "capability_scope_action_not_allowed"
