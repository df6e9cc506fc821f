"""What a person needs to decide on approvals well, from outside."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4  # noqa: TID251 - a test's own workspace

import httpx
import pytest

from tests.contract.test_approvals_http import ask, asked, decide, make, read, refused, row
from tests.fixtures.stack import Stack, wait_until


@pytest.fixture
def client(stack: Stack) -> Iterator[httpx.Client]:
    headers = {"x-workspace-id": f"ws_{uuid4().hex[:12]}"}
    with httpx.Client(base_url=stack.url, headers=headers, timeout=40) as made:
        yield made


@pytest.fixture
def room(client: httpx.Client) -> str:
    return str(make(client, "/v1/rooms", {"title": "Ops"})["room_id"])


def test_several_people_must_approve(client: httpx.Client, room: str) -> None:
    made = ask(client, room_id=room, required_approvals=2)
    path, use = f"/v1/approvals/{made['approval_id']}", {"action_digest": made["action_digest"]}
    first = decide(client, path, "approve", actor_id="ada", actor_type="user", reason="fine")
    assert (first["approval_status"], first["votes"], first["required_approvals"]) == ("pending", 1, 2)
    found = row(client, path)
    assert (found["status"], found["required_approvals"], found["decided_by_id"]) == ("pending", 2, None)
    (vote,) = found["votes"]
    assert (vote["actor_type"], vote["actor_id"], vote["reason"], vote["scope"]) == (
        "user",
        "ada",
        "fine",
        {"type": "once"},
    )
    assert vote["at"] == found["updated_at"]
    again = {"decision": "approve", "actor_id": "ada", "actor_type": "user"}
    refused(client.post(f"{path}/decide", json=again), 409, "approval_already_voted")
    wider = {"decision": "approve", "actor_id": "bo", "actor_type": "user", "scope": {"type": "room"}}
    problem = refused(client.post(f"{path}/decide", json=wider), 409, "approval_terms_differ")
    assert problem["terms"]["scope"] == {"type": "once"}
    refused(client.post(f"{path}/consume", json=use), 409, "approval_not_approved")
    last = decide(client, path, "approve", actor_id="bo", actor_type="user")
    assert (last["approval_status"], last["votes"]) == ("approved", 2)
    assert [vote["actor_id"] for vote in row(client, path)["votes"]] == ["ada", "bo"]
    make(client, f"{path}/consume", use, 200)
    events = read(client, "/v1/events", stream_type="room", stream_id=room)["events"]
    assert [event["event_type"] for event in events if event["entity_type"] == "approval"] == [
        "approval.requested",
        "approval.vote_recorded",
        "approval.vote_recorded",
        "approval.decided",
        "approval.consumed",
    ]

    denied = asked(client, room_id=room, required_approvals=2)
    decide(client, denied, "approve", actor_id="ada", actor_type="user")
    assert decide(client, denied, "deny", actor_id="bo", actor_type="user")["approval_status"] == "denied"


def test_of_many_payments_at_once_none_passes_the_total(client: httpx.Client, room: str) -> None:
    scope = {"type": "pattern", "max_total_amount": "100.00", "amount_pointer": "/amount"}
    made = ask(client, action="payment.execute", room_id=room, scope=scope)
    path = f"/v1/approvals/{made['approval_id']}"
    decide(client, path, "approve")
    use = {"action_digest": made["action_digest"], "parameters": {"amount": 7}}
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: client.post(f"{path}/consume", json=use), range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] * 14 + [409] * 6
    assert {answer.json()["error"] for answer in answers if answer.status_code == 409} == {"grant_amount_exceeded"}
    row(client, path)  # it is projected by now
    (grant,) = read(client, "/v1/grants")["grants"]
    assert (grant["uses"], grant["max_total_amount"], grant["total_amount"]) == (14, "100.00", "98")


def test_it_tells_when_what_happened(client: httpx.Client, room: str) -> None:
    made = ask(client, room_id=room)
    path = f"/v1/approvals/{made['approval_id']}"
    marks = ("seen_at", "seen_by_id", "decided_at", "delivered_at", "consumed_at")
    assert all(row(client, path)[name] is None for name in marks)
    seen = make(client, f"{path}/seen", {"actor_type": "user", "actor_id": "ada"}, 200)
    assert make(client, f"{path}/seen", {"actor_type": "user", "actor_id": "bo"}, 200)["event_id"] == seen["event_id"]
    refused(client.post(f"{path}/seen", json={"actor_type": "agent", "actor_id": "x"}), 403, "approver_must_be_user")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(row, client, path, wait_s=20)
        decide(client, path, "approve")
        assert waiting.result()["status"] == "approved"
    wait_until(lambda: row(client, path)["delivered_at"] is not None, 5)
    row(client, path, wait_s=1)
    make(client, f"{path}/consume", {"action_digest": made["action_digest"]}, 200)
    found = row(client, path)
    assert found["seen_by_id"] == "ada"
    times = ("requested_at", "seen_at", "decided_at", "delivered_at", "consumed_at")
    assert [found[name] for name in times] == sorted(found[name] for name in times)
    events = read(client, "/v1/events", stream_type="room", stream_id=room)["events"]
    assert [event["event_type"] for event in events if event["entity_type"] == "approval"] == [
        "approval.requested",
        "approval.seen",
        "approval.decided",
        "approval.delivered",
        "approval.consumed",
    ]


def test_a_decision_is_taken_once_and_on_what_was_seen(client: httpx.Client, room: str) -> None:
    path = asked(client, room_id=room)
    body = {"decision": "approve", "client_token": "click-1"}
    first = make(client, f"{path}/decide", body, 200)
    again = make(client, f"{path}/decide", body, 200)
    assert (again["approval_status"], again["event_id"]) == ("approved", first["event_id"])
    other = {"decision": "deny", "client_token": "click-1"}
    refused(client.post(f"{path}/decide", json=other), 422, "client_token_reused")

    path = asked(client, room_id=room)
    unseen = {"decision": "approve", "expected_policy_hash": "sha256:" + "4" * 64}
    problem = refused(client.post(f"{path}/decide", json=unseen), 409, "approval_policy_changed")
    seen = {**unseen, "expected_policy_hash": problem["policy_bundle_hash"]}
    assert make(client, f"{path}/decide", seen, 200)["approval_status"] == "approved"


def test_an_edit_must_pass_the_gate(client: httpx.Client) -> None:
    agent = make(client, "/v1/agents", {"display_name": "Mailer"})["agent_id"]
    who = {"actor_type": "agent", "actor_id": agent}
    made = ask(client, action="email.send", request={"to": "ada"}, **who)
    path = f"/v1/approvals/{made['approval_id']}"
    make(client, f"/v1/agents/{agent}/quarantine", {"quarantine_reason": "test"}, 200)
    edit = {"decision": "approve", "edited_request": {"to": "bo"}}
    problem = refused(client.post(f"{path}/decide", json=edit), 409, "approval_policy_denies")
    assert problem["denied_by"] == ["agent_quarantined"]
    make(client, f"/v1/agents/{agent}/unquarantine", status=200)
    make(client, f"{path}/decide", edit, 200)
    found = row(client, path)
    assert (found["status"], found["action"], found["edited_request"]) == ("approved", "email.send", {"to": "bo"})
    assert found["action_digest"] != made["action_digest"]
