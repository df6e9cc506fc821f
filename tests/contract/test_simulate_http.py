"""What other policies would have made of decisions on record: every one, no more than those, and nothing recorded."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4  # noqa: TID251 - a test's own workspace

import httpx
import pytest

from tests.fixtures.stack import Stack

PATH = "/v1/policy/simulate"
PERMIT = "permit (principal, action, resource);\n"
NO_SHELL = PERMIT + '@id("no-shell") forbid (principal, action in Action::"tool_call", resource == Tool::"shell");'
NO_BOTS = PERMIT + '@id("no-bots") forbid (principal is Agent, action, resource);'
ASK = PERMIT + '@id("ask") @effect("require_approval") forbid (principal, action == Action::"note.add", resource);'


@pytest.fixture
def client(stack: Stack) -> Iterator[httpx.Client]:
    headers = {"x-workspace-id": f"ws_{uuid4().hex[:12]}"}
    with httpx.Client(base_url=stack.url, headers=headers, timeout=30) as made:
        yield made


def made(client: httpx.Client, path: str, **body: Any) -> dict[str, Any]:
    answer = client.post(path, json=body)
    assert answer.status_code in (200, 201), answer.text
    told: dict[str, Any] = answer.json()
    return told


def counts(told: dict[str, Any]) -> tuple[int, int, int, int]:
    return told["looked_at"], told["changed"], told["unchanged"], told["not_replayable"]


def call(client: httpx.Client, room_id: str, tool: str) -> str:
    run_id = made(client, "/v1/runs", room_id=room_id)["run_id"]
    made(client, f"/v1/runs/{run_id}/start")
    step_id = made(client, f"/v1/runs/{run_id}/steps", kind="tool", title="t")["step_id"]
    event_id: str = made(client, f"/v1/steps/{step_id}/toolcalls", tool_name=tool)["event_id"]
    return event_id


def test_which_decisions_would_change(client: httpx.Client) -> None:
    room_id = made(client, "/v1/rooms", title="Ops")["room_id"]
    shell, other = call(client, room_id, "shell"), call(client, room_id, "http.get")
    note = made(client, "/v1/policy/evaluate", action="note.add", room_id=room_id)["event_id"]
    mail = made(client, "/v1/policy/evaluate", action="external.write", room_id=room_id)["decision_id"]

    told = made(client, PATH, bundle=PERMIT)
    assert counts(told) == (4, 0, 4, 0)
    assert told["changes"] == told["turned"] == []

    told = made(client, PATH, bundle={"a.cedar": NO_SHELL})
    assert counts(told) == (4, 1, 3, 0)
    (change,) = told["changes"]
    assert (change["event_id"], change["event_type"], change["tool_name"]) == (shell, "tool.invoked", "shell")
    assert change["before"] == {"decision": "allow", "reason_code": "default_allow"}
    assert change["after"]["decision"] == "deny"
    assert change["after"]["determining_rules"] == [{"rule_id": "no-shell", "effect": "deny", "source": "file"}]
    assert told["turned"] == [{"before": "allow", "after": "deny", "count": 1}]
    assert client.get(change["link"]).json()["event"]["event_id"] == shell

    told = made(client, PATH, bundle=ASK)
    assert [change["event_id"] for change in told["changes"]] == [note]
    assert told["turned"] == [{"before": "allow", "after": "require_approval", "count": 1}]

    told = made(client, PATH, bundle='forbid (principal, action, resource) when { context.zone == "sandbox" };')
    assert counts(told) == (4, 4, 0, 0)  # nothing permits anything: the refusal becomes a denial too
    by_id = {change["event_id"]: change for change in told["changes"]}
    assert {shell, other, note} < by_id.keys()
    assert {change["after"]["reason_code"] for change in told["changes"]} == {"policy.no_match_default"}
    assert {"before": "require_approval", "after": "deny", "count": 1} in told["turned"]
    assert mail


def test_an_agents_decisions_are_its_own(client: httpx.Client) -> None:
    agent = made(client, "/v1/agents", display_name="Summariser")
    asked = {"actor_type": "agent", "actor_id": agent["agent_id"], "principal_id": agent["principal_id"]}
    event_id = made(client, "/v1/policy/evaluate", action="note.add", **asked)["event_id"]
    made(client, "/v1/policy/evaluate", action="note.add")
    told = made(client, PATH, bundle=NO_BOTS)
    assert [(change["event_id"], change["actor_id"]) for change in told["changes"]] == [(event_id, agent["agent_id"])]


def test_what_else_counted_then_still_counts(client: httpx.Client) -> None:
    made(client, "/v1/policy/kill-switch", action="engage", scope="workspace")
    made(client, "/v1/policy/evaluate", action="note.add")
    made(client, "/v1/policy/kill-switch", action="release", scope="workspace", reason="it is right again")
    assert counts(made(client, PATH, bundle=PERMIT)) == (1, 0, 1, 0)


def test_the_newest_of_a_time(client: httpx.Client) -> None:
    ids = [made(client, "/v1/policy/evaluate", action="note.add")["event_id"] for _ in range(3)]
    told = made(client, PATH, bundle=ASK, limit=2)
    assert (told["looked_at"], told["complete"]) == (2, False)
    assert [change["event_id"] for change in told["changes"]] == [ids[2], ids[1]]
    told = made(client, PATH, bundle=ASK, limit=3)
    assert (told["looked_at"], told["complete"]) == (3, True)
    long_ago = {"from": "2020-01-01T00:00:00Z", "to": "2020-01-02T00:00:00Z"}
    assert made(client, PATH, bundle=ASK, **long_ago)["looked_at"] == 0


def test_nothing_is_recorded(client: httpx.Client) -> None:
    made(client, "/v1/policy/evaluate", action="note.add")
    before = client.get("/v1/events").json()["events"]
    made(client, PATH, bundle=ASK)
    assert client.get("/v1/events").json()["events"] == before
    assert made(client, "/v1/policy/evaluate", action="note.add")["decision"] == "allow"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "missing_bundle"),
        ({"bundle": ""}, "invalid_bundle"),
        ({"bundle": {}}, "invalid_bundle"),
        ({"bundle": {"a.txt": PERMIT}}, "invalid_bundle"),
        ({"bundle": "permit"}, "invalid_bundle"),
        ({"bundle": "permit (principal, action, resource) when { context.colour };"}, "invalid_bundle"),
        ({"bundle": PERMIT, "limit": 0}, "invalid_limit"),
        ({"bundle": PERMIT, "from": "yesterday"}, "invalid_from"),
        ({"bundle": PERMIT, "from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, "invalid_from"),
        ({"bundle": PERMIT, "colour": "red"}, "unknown_field"),
    ],
)
def test_bad_input(client: httpx.Client, body: dict[str, Any], code: str) -> None:
    answer = client.post(PATH, json=body)
    assert (answer.status_code, answer.json()["error"]) == (400, code)


def test_a_token_for_some_rooms_may_not(client: httpx.Client) -> None:
    agent = made(client, "/v1/agents", display_name="Summariser")
    room_id = made(client, "/v1/rooms", title="Ops")["room_id"]
    granted = made(
        client,
        "/v1/capabilities/grant",
        issued_to_principal_id=agent["principal_id"],
        granted_by_principal_id=agent["principal_id"],
        scopes={"rooms": [room_id]},
    )
    answer = client.post(PATH, json={"bundle": PERMIT}, headers={"authorization": f"Bearer {granted['token']}"})
    assert answer.status_code == 403
