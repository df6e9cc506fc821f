"""Labels of resources, and access to what is labelled, over HTTP."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4  # noqa: TID251 - a test's own workspace

import httpx
import pytest

from tests.fixtures.stack import Stack

LABELS = "/v1/resources/labels"
ACCESS = "/v1/data/access/requests"
FILE = {"resource_type": "file", "resource_id": "salaries.csv"}


@pytest.fixture
def client(stack: Stack) -> Iterator[httpx.Client]:
    headers = {"x-workspace-id": f"ws_{uuid4().hex[:12]}"}
    with httpx.Client(base_url=stack.url, headers=headers, timeout=20) as made:
        yield made


def post(client: httpx.Client, path: str, **body: Any) -> dict[str, Any]:
    answer = client.post(path, json=body)
    assert answer.status_code in (200, 201), answer.text
    made: dict[str, Any] = answer.json()
    return made


def labels(client: httpx.Client, after: dict[str, Any] | None = None, **query: Any) -> list[dict[str, Any]]:
    if after is not None:
        query["min_position"] = f"{after['stream_type']}/{after['stream_id']}@{after['stream_seq']}"
    answer = client.get(LABELS, params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["labels"]
    return found


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]


def asked(client: httpx.Client, **members: Any) -> tuple[str, str]:
    told = post(client, ACCESS, **{"action": "data.read", **FILE, **members})
    return told["decision"], told["reason_code"]


def test_labels_are_set_replaced_and_listed(client: httpx.Client) -> None:
    made = client.post(LABELS, json={**FILE, "label": "confidential", "purpose_tags": ["payroll"]})
    assert made.status_code == 201
    told = {**FILE, "label": "confidential", "room_id": None, "purpose_tags": ["payroll"]}
    assert made.json()["label"] == told
    same = client.post(LABELS, json={**FILE, "label": "confidential", "purpose_tags": ["payroll"]})
    assert (same.status_code, same.json()["label"]) == (200, told)
    other = post(client, LABELS, resource_type="table", resource_id="people", label="sensitive_pii")
    last = post(client, LABELS, **FILE, label="public")
    found = labels(client, last)
    assert [(row["resource_id"], row["label"]) for row in found] == [
        ("salaries.csv", "public"),
        ("people", "sensitive_pii"),
    ]
    assert [row["resource_id"] for row in labels(client, other, resource_type="table")] == ["people"]
    assert [row["label"] for row in labels(client, last, resource_id="salaries.csv")] == ["public"]
    elsewhere = client.get(LABELS, headers={"x-workspace-id": f"ws_{uuid4().hex[:12]}"})
    assert elsewhere.json()["labels"] == []


def test_access_follows_the_label_from_the_answer_on(client: httpx.Client) -> None:
    room_id = post(client, "/v1/rooms", title="Payroll")["room_id"]
    assert asked(client) == ("allow", "default_allow")
    post(client, LABELS, **FILE, label="restricted", room_id=room_id)
    assert asked(client) == ("deny", "data_access_restricted_room_mismatch")
    assert asked(client, room_id=room_id) == ("allow", "default_allow")
    post(client, LABELS, **FILE, label="confidential", purpose_tags=["payroll"])
    assert asked(client) == ("require_approval", "data_access_purpose_hint_mismatch")
    assert asked(client, purpose_tags=["payroll"]) == ("allow", "default_allow")
    assert asked(client, justification="asked by the auditor") == ("allow", "default_allow")
    told = post(client, ACCESS, action="data_write", **FILE)
    assert (told["resolved_label"], told["resolved_purpose_tags"]) == ("confidential", ["payroll"])
    assert told["resolved_room_id"] is None
    events = client.get("/v1/events", params={"limit": 200}).json()["events"]
    counts = [event["event_type"] for event in events]
    assert counts.count("data.access.denied") == 1
    assert counts.count("data.access.justified") == 1
    assert counts.count("data.access.unjustified") == 2
    assert counts.count("data.access.purpose_hint_mismatch") == 3


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        (LABELS, {"label": "public"}, (400, "invalid_resource")),
        (LABELS, {**FILE, "resource_type": "a/b", "label": "public"}, (400, "invalid_resource")),
        (LABELS, FILE, (400, "invalid_label")),
        (LABELS, {**FILE, "label": "secret"}, (400, "invalid_label")),
        (LABELS, {**FILE, "label": "public", "purpose_tags": "x"}, (400, "invalid_purpose_tags")),
        (LABELS, {**FILE, "label": "public", "room_id": "room_none"}, (404, "room_not_found")),
        (
            LABELS,
            {**FILE, "label": "public", "actor_type": "agent", "actor_id": "a"},
            (403, "agent_action_not_allowed"),
        ),
        (ACCESS, FILE, (400, "invalid_action")),
        (ACCESS, {**FILE, "action": "external.write"}, (400, "invalid_action")),
        (ACCESS, {"action": "data.read"}, (400, "invalid_resource")),
        (ACCESS, {**FILE, "action": "data.read", "purpose_tags": [1]}, (400, "invalid_purpose_tags")),
        (ACCESS, {**FILE, "action": "data.read", "room_id": "room_none"}, (404, "room_not_found")),
        (ACCESS, {**FILE, "action": "data.read", "run_id": "run_none"}, (404, "run_not_found")),
    ],
)
def test_what_is_refused(client: httpx.Client, path: str, body: dict[str, Any], expected: tuple[int, str]) -> None:
    assert code(client.post(path, json=body)) == expected


def test_an_agent_in_quarantine_may_still_read(client: httpx.Client) -> None:
    made = post(client, "/v1/agents", display_name="Watcher")
    agent = {"actor_type": "agent", "actor_id": made["agent_id"], "principal_id": made["principal_id"]}
    post(client, f"/v1/agents/{made['agent_id']}/quarantine")
    assert asked(client, **agent) == ("allow", "default_allow")
    assert asked(client, action="data.write", **agent) == ("deny", "agent_quarantined")
