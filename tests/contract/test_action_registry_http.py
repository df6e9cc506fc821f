"""The action registry over HTTP."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4  # noqa: TID251 - a test's own workspace

import httpx
import pytest

from tests.fixtures.stack import Stack

SEEDED = [
    "api.call.idempotent",
    "api.call.mutating",
    "artifact.create",
    "artifact.update",
    "email.send",
    "external.write",
    "payment.execute",
]


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


def actions(client: httpx.Client, after: dict[str, Any] | None = None, **query: Any) -> dict[str, Any]:
    if after is not None:
        query["min_position"] = f"{after['stream_type']}/{after['stream_id']}@{after['stream_seq']}"
    answer = client.get("/v1/action-registry", params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]


def test_some_actions_are_known_from_the_start(client: httpx.Client) -> None:
    found = actions(client)["actions"]
    assert [action["action_type"] for action in found] == SEEDED
    easy = {"artifact.create", "artifact.update", "api.call.idempotent"}
    for action in found:
        reversible = action["action_type"] in easy
        told = (action["reversible"], action["zone_required"], action["requires_pre_approval"])
        assert told == ((True, "supervised", False) if reversible else (False, "high_stakes", True))
        assert action["post_review_required"] is reversible
        assert action["created_at"] is action["updated_at"] is None
        assert action["metadata"].keys() == {"cost_impact", "recovery_difficulty"}


def test_users_register_and_edit(client: httpx.Client) -> None:
    new = {"action_type": "invoice.send", "reversible": True, "metadata": {"cost_impact": "high"}}
    undo = {"undo_action": "invoice.cancel", "undo_window_s": 60, "idempotency_key": "x-request-id"}
    assert client.post("/v1/action-registry", json=new).status_code == 201
    edited = client.post("/v1/action-registry", json={"action_type": "invoice.send", **undo})
    assert edited.status_code == 201
    assert client.post("/v1/action-registry", json={"action_type": "invoice.send", **undo}).status_code == 200
    mail = post(client, "/v1/action-registry", action_type="email.send", requires_pre_approval=False)
    by_type = {action["action_type"]: action for action in actions(client, mail)["actions"]}
    assert list(by_type) == sorted([*SEEDED, "invoice.send"])
    invoice = by_type["invoice.send"]
    assert {name: invoice[name] for name in undo} == undo
    assert (invoice["metadata"], invoice["zone_required"]) == ({"cost_impact": "high"}, None)
    assert invoice["created_at"] < invoice["updated_at"]
    assert by_type["email.send"]["requires_pre_approval"] is False
    assert by_type["email.send"]["zone_required"] == "high_stakes"
    drill = {"action_type": "invoice.send", "undo_succeeded": True, "read_back_matched": True}
    done = post(client, "/v1/action-registry/drills", **drill)
    assert done["undo_verified"] is True
    by_type = {action["action_type"]: action for action in actions(client, done)["actions"]}
    assert by_type["invoice.send"]["undo_verified"] is True
    elsewhere = client.get("/v1/action-registry", headers={"x-workspace-id": f"ws_{uuid4().hex[:12]}"}).json()
    assert [action["action_type"] for action in elsewhere["actions"]] == SEEDED


def test_pages_hold_both_kinds_once_and_in_order(client: httpx.Client) -> None:
    names = ("zebra.ride", "a.first", "email.send", "Big.one")
    made = [post(client, "/v1/action-registry", action_type=name, post_review_required=True) for name in names]
    whole = [action["action_type"] for action in actions(client, made[-1])["actions"]]
    assert whole == sorted({*SEEDED, "zebra.ride", "a.first", "Big.one"})
    for size in (1, 2, 3):
        seen: list[str] = []
        cursor: str | None = None
        while True:
            page = actions(client, limit=size, cursor=cursor or "")
            assert len(page["actions"]) <= size
            seen += [action["action_type"] for action in page["actions"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert seen == whole


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("", {}, (400, "missing_action_type")),
        ("", {"action_type": ""}, (400, "missing_action_type")),
        ("", {"action_type": "what ever"}, (400, "invalid_action_type")),
        ("", {"action_type": "x", "zone_required": "moon"}, (400, "invalid_zone_required")),
        ("", {"action_type": "x", "side_effect": "none"}, (400, "invalid_side_effect")),
        ("", {"action_type": "x", "undo_window_s": 86_401}, (400, "invalid_undo_window_s")),
        ("", {"action_type": "x", "actor_type": "agent", "actor_id": "a"}, (403, "agent_action_not_allowed")),
        ("/drills", {"undo_succeeded": True, "read_back_matched": True}, (400, "missing_action_type")),
        ("/drills", {"action_type": "email.send", "read_back_matched": True}, (400, "missing_undo_succeeded")),
        (
            "/drills",
            {"action_type": "email.send", "undo_succeeded": True, "read_back_matched": True},
            (404, "action_not_found"),
        ),
    ],
)
def test_what_is_refused(client: httpx.Client, path: str, body: dict[str, Any], expected: tuple[int, str]) -> None:
    assert code(client.post(f"/v1/action-registry{path}", json=body)) == expected


def test_a_drill_needs_something_to_undo(client: httpx.Client) -> None:
    post(client, "/v1/action-registry", action_type="invoice.send")
    drill = {"action_type": "invoice.send", "undo_succeeded": True, "read_back_matched": True}
    assert code(client.post("/v1/action-registry/drills", json=drill)) == (409, "action_without_undo")
