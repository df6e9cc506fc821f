"""Approvals and grants from outside: answers, refusals, lists, waiting, and what time brings about."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4  # noqa: TID251 - a test's own workspace

import httpx
import pytest

from agentos_shared.host.lifecycle import CLOCK
from tests.fixtures.stack import Stack, wait_until

WRONG_DIGEST = "sha256:" + "0" * 64


@pytest.fixture
def client(stack: Stack) -> Iterator[httpx.Client]:
    headers = {"x-workspace-id": f"ws_{uuid4().hex[:12]}"}
    limits = httpx.Limits(max_connections=64)
    with httpx.Client(base_url=stack.url, headers=headers, timeout=40, limits=limits) as made:
        yield made


def make(client: httpx.Client, path: str, body: Any = None, status: int = 201) -> dict[str, Any]:
    answer = client.post(path, json={} if body is None else body)
    assert answer.status_code == status, (path, answer.status_code, answer.text)
    made: dict[str, Any] = answer.json()
    return made


def read(client: httpx.Client, path: str, **query: Any) -> dict[str, Any]:
    answer = client.get(path, params=query)
    assert answer.status_code == 200, (path, answer.status_code, answer.text)
    found: dict[str, Any] = answer.json()
    return found


def refused(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert (answer.status_code, answer.json()["error"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    return problem


def position(answer: dict[str, Any]) -> str:
    return f"{answer['stream_type']}/{answer['stream_id']}@{answer['stream_seq']}"


def after(**time_left: float) -> str:
    return (CLOCK.now() + timedelta(**time_left)).isoformat().replace("+00:00", "Z")


@pytest.fixture
def room(client: httpx.Client) -> str:
    return str(make(client, "/v1/rooms", {"title": "Ops"})["room_id"])


def ask(client: httpx.Client, **members: Any) -> dict[str, Any]:
    return make(client, "/v1/approvals", {"action": "email.send", **members})


def asked(client: httpx.Client, **members: Any) -> str:
    """Path of a new approval."""
    return f"/v1/approvals/{ask(client, **members)['approval_id']}"


def decide(client: httpx.Client, path: str, decision: str, **members: Any) -> dict[str, Any]:
    return make(client, f"{path}/decide", {"decision": decision, **members}, 200)


def row(client: httpx.Client, path: str, **query: Any) -> dict[str, Any]:
    found: dict[str, Any] = read(client, path, **query)["approval"]
    return found


def test_the_life_of_an_approval(client: httpx.Client, room: str) -> None:
    run = make(client, "/v1/runs", {"room_id": room, "correlation_id": "corr-7"})["run_id"]
    step = None
    made = ask(client, title="Report", request={"to": "ada"}, context={"why": "night"}, run_id=run, step_id=step)
    path = f"/v1/approvals/{made['approval_id']}"
    found = row(client, path)
    assert found["approval_id"].startswith("appr_")
    assert (found["status"], found["room_id"], found["run_id"]) == ("pending", room, run)
    assert (found["request"], found["context"], found["scope"]) == ({"to": "ada"}, {"why": "night"}, {"type": "once"})
    assert (found["requested_by_type"], found["requested_by_id"]) == ("user", "anon")
    assert (found["correlation_id"], found["action_digest"]) == ("corr-7", made["action_digest"])
    nothing = ("decision", "decision_reason", "decided_at", "decided_by_id", "expires_at", "ended_at", "wake_at")
    assert all(found[name] is None for name in nothing)
    assert found["decide_by"] > after(hours=23)

    held = decide(client, path, "hold", reason="not now", wake_at=after(days=2))
    assert (held["ok"], held["approval_status"]) == (True, "held")
    found = row(client, path)
    assert (found["status"], found["decision"], found["decision_reason"]) == ("held", "hold", "not now")
    assert (found["decided_by_type"], found["decided_by_id"]) == ("user", "ceo")
    assert found["wake_at"] < found["decide_by"]
    decide(client, path, "approve")
    found = row(client, path)
    assert (found["status"], found["decision"], found["decision_reason"]) == ("approved", "approve", None)
    assert found["expires_at"] < after(hours=25)
    assert (found["decide_by"], found["wake_at"], found["ended_at"]) == (None, None, None)
    refused(client.post(f"{path}/consume", json={"action_digest": WRONG_DIGEST}), 409, "approval_action_mismatch")
    done = make(client, f"{path}/consume", {"action_digest": made["action_digest"]}, 200)
    assert done["approval_status"] == "consumed"
    found = row(client, path)
    assert (found["status"], found["uses"], found["ended_at"]) == ("consumed", 1, found["updated_at"])
    events = read(client, "/v1/events", stream_type="room", stream_id=room)["events"]
    own = [event for event in events if event["entity_type"] == "approval"]
    assert [event["event_type"] for event in own] == [
        "approval.requested",
        "approval.decided",
        "approval.decided",
        "approval.consumed",
    ]
    assert [event["causation_id"] for event in own[1:]] == [event["event_id"] for event in own[:-1]]
    assert {event["correlation_id"] for event in own} == {"corr-7"}


def test_what_is_wrong_with_a_request_is_told(client: httpx.Client, room: str) -> None:
    thread, other_thread = (
        make(client, f"/v1/rooms/{room}/threads", {"title": title})["thread_id"] for title in ("T", "U")
    )
    run = make(client, "/v1/runs", {"room_id": room, "thread_id": thread})["run_id"]
    other = make(client, "/v1/rooms", {"title": "Other"})["room_id"]
    for body, status, code in (
        ({}, 400, "missing_action"),
        ({"action": "  "}, 400, "missing_action"),
        ({"action": "x", "colour": "red"}, 400, "unknown_field"),
        ({"action": "x", "scope": {"type": "template", "template_ref": "t"}}, 400, "invalid_scope"),
        ({"action": "x", "scope": {"type": "galaxy"}}, 400, "invalid_scope"),
        ({"action": "x", "scope": {"type": "room"}}, 400, "invalid_scope"),
        ({"action": "x", "expires_at": after(seconds=-60)}, 400, "invalid_expires_at"),
        ({"action": "x", "expires_at": "soon"}, 400, "invalid_expires_at"),
        ({"action": "x", "decide_by": after(days=31)}, 400, "invalid_decide_by"),
        ({"action": "x", "action_digest": "x"}, 400, "invalid_action_digest"),
        ({"action": "x", "escalation": [{"after_s": 0, "notify": "a"}]}, 400, "invalid_escalation"),
        ({"action": "x", "run_id": run, "room_id": other}, 400, "run_room_mismatch"),
        ({"action": "x", "run_id": run, "thread_id": other_thread}, 400, "run_thread_mismatch"),
        ({"action": "x", "room_id": "room_none"}, 404, "room_not_found"),
        ({"action": "x", "thread_id": "th_none"}, 404, "thread_not_found"),
        ({"action": "x", "run_id": "run_none"}, 404, "run_not_found"),
        ({"action": "x", "step_id": "step_none"}, 404, "step_not_found"),
        ({"action": "x", "supersedes": "appr_none"}, 404, "approval_not_found"),
        ({"action": "x", "scope": {"type": "room", "room_id": "room_none"}}, 404, "room_not_found"),
    ):
        refused(client.post("/v1/approvals", json=body), status, code)
    assert read(client, "/v1/approvals")["approvals"] == [], "nothing was appended"


def test_what_is_wrong_with_a_decision_is_told(client: httpx.Client) -> None:
    path = asked(client)
    for body, status, code in (
        ({}, 400, "missing_decision"),
        ({"decision": "maybe"}, 400, "invalid_decision"),
        ({"decision": "approve", "scope": {"type": "galaxy"}}, 400, "invalid_scope"),
        ({"decision": "approve", "scope": {"type": "room"}}, 400, "invalid_scope"),
        ({"decision": "approve", "expires_at": after(seconds=-1)}, 400, "invalid_expires_at"),
        ({"decision": "approve", "wake_at": after(hours=1)}, 400, "invalid_wake_at"),
        ({"decision": "hold", "wake_at": after(seconds=-1)}, 400, "invalid_wake_at"),
        ({"decision": "deny", "edited_request": {"n": 1}}, 400, "invalid_edited_request"),
        ({"decision": "approve", "expected_digest": WRONG_DIGEST}, 409, "approval_action_mismatch"),
        ({"decision": "approve", "expected_version": 7}, 409, "version_conflict"),
        ({"decision": "approve", "scope": {"type": "run", "run_id": "run_none"}}, 404, "run_not_found"),
    ):
        refused(client.post(f"{path}/decide", json=body), status, code)
    assert row(client, path)["status"] == "pending"
    for verb, body in (("decide", {"decision": "deny"}), ("cancel", {}), ("consume", {"action_digest": WRONG_DIGEST})):
        refused(client.post(f"/v1/approvals/appr_none/{verb}", json=body), 404, "approval_not_found")
        elsewhere = client.post(f"{path}/{verb}", json=body, headers={"x-workspace-id": "ws_elsewhere"})
        refused(elsewhere, 404, "approval_not_found")
    refused(client.post("/v1/grants/appr_none/revoke", json={}), 404, "grant_not_found")
    refused(client.get("/v1/approvals/appr_none"), 404, "approval_not_found")
    refused(client.get(path, headers={"x-workspace-id": "ws_elsewhere"}), 404, "approval_not_found")
    refused(client.post(f"{path}/consume", json={}), 400, "missing_action_digest")
    digest = row(client, path)["action_digest"]
    refused(client.post(f"{path}/consume", json={"action_digest": digest}), 409, "approval_not_approved")
    for wait in ("31", "-1", "soon", "nan"):
        refused(client.get(path, params={"wait_s": wait}), 400, "invalid_wait_s")


@pytest.mark.parametrize("decision", ["approve", "deny"])
def test_a_decision_is_final(client: httpx.Client, decision: str) -> None:
    path = asked(client)
    decide(client, path, decision)
    for again in ("approve", "deny", "hold"):
        problem = refused(client.post(f"{path}/decide", json={"decision": again}), 409, "approval_already_decided")
        assert problem["approval_status"] == row(client, path)["status"]
    refused(client.post(f"{path}/cancel", json={}), 409, "approval_already_decided")


def test_what_is_approved_may_be_edited(client: httpx.Client) -> None:
    made = ask(client, request={"to": "ada"})
    path = f"/v1/approvals/{made['approval_id']}"
    decide(client, path, "approve", edited_request={"to": "bob"})
    found = row(client, path)
    assert (found["request"], found["edited_request"]) == ({"to": "ada"}, {"to": "bob"})
    refused(
        client.post(f"{path}/consume", json={"action_digest": made["action_digest"]}), 409, "approval_action_mismatch"
    )
    make(client, f"{path}/consume", {"action_digest": found["action_digest"]}, 200)
    wish = {"action": "email.send", "actor_type": "service", "actor_id": "mailer", "context": {"to": "ada"}}
    of_another = make(client, "/v1/policy/evaluate", wish, 200)["action_digest"]
    of_a_tool = asked(client, action_digest=of_another)
    edit = {"decision": "approve", "edited_request": {"to": "bob"}}
    refused(client.post(f"{of_a_tool}/decide", json=edit), 409, "approval_not_editable")


def test_what_is_seen_is_what_is_allowed(client: httpx.Client, room: str) -> None:
    wish = {"action": "email.send", "room_id": room, "actor_type": "service", "actor_id": "mailer"}
    digest = make(client, "/v1/policy/evaluate", {**wish, "context": {"to": "eve"}}, 200)["action_digest"]
    others: list[dict[str, Any]] = [
        {"action": "note.write", "request": {"to": "eve"}},
        {"action": "note.write"},
        {"request": {"to": "ada"}},
        {"request": {"to": "eve"}, "room_id": None},
        {"request": {"to": "eve"}, "actor_id": "other"},
        {"actor_id": "other"},
        {"action_digest": WRONG_DIGEST},
    ]
    for other in others:
        body = {"action_digest": digest, **wish, **other}
        problem = refused(client.post("/v1/approvals", json=body), 400, "approval_action_mismatch")
        assert "request" in problem["detail"] or "action" in problem["detail"]
    same = ask(client, **wish, request={"to": "eve"}, action_digest=digest)
    assert same["action_digest"] == digest
    path = asked(client, **wish, action_digest=digest)
    assert row(client, path)["request"] == {"to": "eve"}, "what the digest is made of"


def test_a_request_that_nobody_answers_is_escalated(client: httpx.Client) -> None:
    steps = [{"after_s": 1, "notify": "badge"}, {"after_s": 2, "notify": "chat"}]
    path = asked(client, escalation=steps)
    assert row(client, path)["escalate_at"] is not None
    wait_until(lambda: row(client, path)["escalations"] == 2, 10)
    found = row(client, path)
    assert (found["status"], found["escalate_at"]) == ("pending", None)
    events = read(client, "/v1/events", event_type="approval.escalated")["events"]
    assert [(event["data"]["step"], event["data"]["notify"]) for event in events] == [(1, "badge"), (2, "chat")]


def test_nothing_is_used_and_no_time_passes_while_a_switch_is_engaged(client: httpx.Client, room: str) -> None:
    made = ask(client, room_id=room)
    path = f"/v1/approvals/{made['approval_id']}"
    decide(client, path, "approve")
    waiting = asked(client, room_id=room, decide_by=after(seconds=2))
    switch = {"scope": "room", "target": room}
    make(client, "/v1/policy/kill-switch", {**switch, "action": "engage"}, 200)
    act = {"action_digest": made["action_digest"]}
    refused(client.post(f"{path}/consume", json=act), 409, "kill_switch_active")
    watched = asked(client, decide_by=after(seconds=2.5))
    wait_until(lambda: row(client, watched)["status"] == "expired", 10)
    assert row(client, waiting)["status"] == "pending", "its clock stands still"
    make(client, "/v1/policy/kill-switch", {**switch, "action": "release", "reason": "it is right again"}, 200)
    make(client, f"{path}/consume", act, 200)
    wait_until(lambda: row(client, waiting)["status"] == "expired", 10)
    types = [event["event_type"] for event in read(client, "/v1/events", room_id=room)["events"]]
    assert types.count("approval.resumed") == 1


def test_agents_and_services_never_decide(client: httpx.Client) -> None:
    path = asked(client, actor_type="agent", actor_id="bot", scope={"type": "workspace"})
    engine = make(client, "/v1/engines/register", {"actor_id": "summariser"})
    headers = {"x-engine-id": engine["engine_id"], "x-engine-token": engine["token"]["engine_token"]}
    body = {"decision": "approve"}
    for kind in ("agent", "service"):
        refused(client.post(f"{path}/decide", json={**body, "actor_type": kind}), 403, "approver_must_be_user")
        claimed = client.post(f"{path}/decide", json=body, headers={"x-actor-type": kind})
        refused(claimed, 403, "approver_must_be_user")
    by_engine = client.post(f"{path}/decide", json={**body, "actor_type": "user"}, headers=headers)
    refused(by_engine, 403, "approver_must_be_user")
    item = {"approval_id": path.rsplit("/", 1)[1], **body, "actor_type": "agent", "actor_id": "bot"}
    (result,) = make(client, "/v1/approvals/decide-batch", {"decisions": [item]}, 200)["results"]
    assert (result["status"], result["error"]) == (403, "approver_must_be_user")
    assert row(client, path)["status"] == "pending"
    decide(client, path, "approve")
    revoke = f"/v1/grants/{path.rsplit('/', 1)[1]}/revoke"
    refused(client.post(revoke, json={"actor_type": "agent"}), 403, "approver_must_be_user")


def test_a_request_is_taken_back_or_replaced(client: httpx.Client, room: str) -> None:
    path = asked(client, room_id=room, actor_type="agent", actor_id="bot")
    stranger = {"actor_type": "agent", "actor_id": "other"}
    refused(client.post(f"{path}/cancel", json=stranger), 403, "approval_of_another")
    back = {"actor_type": "agent", "actor_id": "bot", "reason": "done"}
    assert make(client, f"{path}/cancel", back, 200)["approval_status"] == "cancelled"
    refused(client.post(f"{path}/decide", json={"decision": "approve"}), 409, "approval_cancelled")
    old = asked(client, room_id=room)
    new = ask(client, room_id=room, supersedes=old.rsplit("/", 1)[1])["approval_id"]
    assert (row(client, old)["status"], row(client, old)["superseded_by"]) == ("superseded", new)
    refused(client.post(f"{old}/decide", json={"decision": "approve"}), 409, "approval_superseded")
    refused(
        client.post("/v1/approvals", json={"action": "x", "supersedes": new}), 404, "approval_not_found"
    )  # it is of a room


def test_lists_filter_and_page(client: httpx.Client, room: str) -> None:
    mine = [ask(client, room_id=room)["approval_id"] for _ in range(3)]
    other = ask(client)
    denied = decide(client, f"/v1/approvals/{other['approval_id']}", "deny")
    query = {"min_position": position(denied)}

    def ids(**more: Any) -> list[str]:
        return [found["approval_id"] for found in read(client, "/v1/approvals", **query, **more)["approvals"]]

    assert ids() == [other["approval_id"], *reversed(mine)]
    assert (ids(status="denied"), ids(status="held")) == ([other["approval_id"]], [])
    assert ids(room_id=room) == ids(status="pending", room_id=room) == list(reversed(mine))
    assert ids(room_id="room_none") == []
    first = read(client, "/v1/approvals", limit=3, **query)
    rest = read(client, "/v1/approvals", limit=3, cursor=first["next_cursor"])
    both = first["approvals"] + rest["approvals"]
    assert [found["approval_id"] for found in both] == ids()
    assert rest["next_cursor"] is None
    refused(client.get("/v1/approvals", params={"status": "lost"}), 400, "invalid_status")
    refused(client.get("/v1/approvals", params={"limit": "0"}), 400, "invalid_limit")
    refused(client.get("/v1/approvals", params={"cursor": "x"}), 400, "invalid_cursor")
    refused(client.get("/v1/approvals", params={"min_position": "x"}), 400, "invalid_min_position")
    elsewhere = client.get("/v1/approvals", headers={"x-workspace-id": "ws_elsewhere"}).json()
    assert elsewhere == {"approvals": [], "next_cursor": None}


def test_what_is_allowed_once_is_for_whoever_asked(client: httpx.Client, room: str) -> None:
    made = ask(client, room_id=room, actor_type="service", actor_id="mailer")
    path = f"/v1/approvals/{made['approval_id']}"
    decide(client, path, "approve")
    use = {"action_digest": made["action_digest"]}
    for kind in ("service", "agent"):
        other = {**use, "actor_type": kind, "actor_id": "other"}
        refused(client.post(f"{path}/consume", json=other), 403, "approval_of_another")
    make(client, f"{path}/consume", {**use, "actor_type": "service", "actor_id": "mailer"}, 200)


def test_an_approval_is_used_only_while_the_gate_does_not_deny_it(client: httpx.Client, room: str) -> None:
    agent = make(client, "/v1/agents", {"display_name": "Mailer"})
    who = {"actor_type": "agent", "actor_id": agent["agent_id"]}
    for person in ({}, who):
        made = ask(client, room_id=room, **who)
        path = f"/v1/approvals/{made['approval_id']}"
        decide(client, path, "approve")
        use = {"action_digest": made["action_digest"], **person}
        make(client, f"/v1/agents/{agent['agent_id']}/quarantine", {"quarantine_reason": "test"}, 200)
        refused(client.post(f"{path}/consume", json=use), 403, "agent_quarantined")
        make(client, f"/v1/agents/{agent['agent_id']}/unquarantine", status=200)
        make(client, f"{path}/consume", use, 200)
    asks = {**who, "principal_id": agent["principal_id"], "action": "external.write", "room_id": room}
    made = ask(client, **{name: asks[name] for name in ("action", "room_id", *who)})
    path = f"/v1/approvals/{made['approval_id']}"
    decide(client, path, "approve")
    other = {**asks, "context": {"to": "eve"}}
    learned = make(client, "/v1/policy/evaluate", other, 200)
    assert learned["decision"] == "require_approval"
    (constraint,) = wait_for_constraints(client, agent["agent_id"])
    make(client, f"/v1/constraints/{constraint}/activate", {"effect": "deny"}, 200)
    use = {"action_digest": made["action_digest"], **who}
    problem = refused(client.post(f"{path}/consume", json=use), 409, "approval_policy_denies")
    assert (problem["reason_code"], problem["denied_by"]) == ("constraint.learned", [constraint])
    make(client, f"/v1/constraints/{constraint}/retire", {}, 200)
    make(client, f"{path}/consume", use, 200)


def wait_for_constraints(client: httpx.Client, agent_id: str) -> list[str]:
    found: list[str] = []

    def look() -> bool:
        rows = read(client, "/v1/constraints")["constraints"]
        found[:] = [row["constraint_id"] for row in rows if row["agent_id"] == agent_id]
        return bool(found)

    wait_until(look, 10)
    return found


def test_grants_are_listed_counted_and_revoked(client: httpx.Client, room: str) -> None:
    made = ask(client, room_id=room)
    path = f"/v1/approvals/{made['approval_id']}"
    revoke = f"/v1/grants/{made['approval_id']}/revoke"
    refused(client.post(revoke, json={}), 404, "grant_not_found")
    decide(client, path, "approve", scope={"type": "room", "max_uses": 2}, expires_at=after(hours=1))
    decide(client, asked(client), "approve")  # once: no grant
    wish = {"action": "email.send", "room_id": room}
    digest = make(client, "/v1/policy/evaluate", wish, 200)["action_digest"]
    act = {"action_digest": digest, **wish}
    bare = {"action_digest": digest, "room_id": room}
    refused(client.post(f"{path}/consume", json=bare), 400, "missing_action")
    others: list[dict[str, Any]] = [{"action_digest": WRONG_DIGEST}, {"room_id": None}, {"parameters": {"to": "eve"}}]
    for other in [*others, {"actor_type": "agent", "actor_id": "bot"}]:
        refused(client.post(f"{path}/consume", json={**act, **other}), 409, "approval_action_mismatch")
    used = make(client, f"{path}/consume", act, 200)
    (grant,) = read(client, "/v1/grants", min_position=position(used))["grants"]
    assert (grant["approval_id"], grant["status"], grant["uses"]) == (made["approval_id"], "active", 1)
    assert grant["scope"] == {"type": "room", "room_id": room, "max_uses": 2}
    assert (grant["action"], grant["granted_by_id"], grant["max_uses"]) == ("email.send", "ceo", 2)
    assert grant["expires_at"] < after(hours=2)
    make(client, f"{path}/consume", act, 200)
    refused(client.post(f"{path}/consume", json=act), 409, "grant_used_up")
    gone = make(client, revoke, {"reason": "enough"}, 200)
    assert gone["approval_status"] == "revoked"
    again = make(client, revoke, {}, 200)
    assert again["event_id"] == gone["event_id"], "nothing more was appended"
    refused(client.post(f"{path}/consume", json=act), 409, "approval_not_approved")
    (grant,) = read(client, "/v1/grants", status="revoked", min_position=position(gone))["grants"]
    assert (grant["uses"], grant["revoke_reason"], grant["revoked_by_id"]) == (2, "enough", "ceo")
    assert read(client, "/v1/grants", status="active", room_id=room)["grants"] == []
    assert row(client, path)["status"] == "revoked"
    refused(client.get("/v1/grants", params={"status": "lost"}), 400, "invalid_status")
    denied = asked(client)
    decide(client, denied, "deny")
    refused(client.post(f"/v1/grants/{denied.rsplit('/', 1)[1]}/revoke", json={}), 409, "grant_not_active")


def test_many_are_decided_at_once_each_by_itself(client: httpx.Client, room: str) -> None:
    first, second = (ask(client, room_id=room)["approval_id"] for _ in range(2))
    third = ask(client)["approval_id"]
    body = {
        "decisions": [
            {"approval_id": first, "decision": "approve", "reason": "fine"},
            {"approval_id": first, "decision": "deny"},
            {"approval_id": "appr_none", "decision": "deny"},
            {"approval_id": second, "decision": "maybe"},
            {"decision": "approve"},
            {"approval_id": third, "decision": "hold"},
        ]
    }
    key = {"idempotency-key": "batch-1"}
    answer = client.post("/v1/approvals/decide-batch", json=body, headers=key)
    assert answer.status_code == 200
    told = [(result["status"], result.get("error")) for result in answer.json()["results"]]
    assert told == [
        (200, None),
        (409, "approval_already_decided"),
        (404, "approval_not_found"),
        (400, "invalid_decision"),
        (400, "missing_approval_id"),
        (200, None),
    ]
    assert answer.json()["results"][0]["approval_status"] == "approved"
    assert answer.json()["results"][1]["approval_status"] == "approved", "a conflict tells how it stands"
    told_ids = [result["approval_id"] for result in answer.json()["results"]]
    assert told_ids == [first, first, "appr_none", second, None, third]
    again = client.post("/v1/approvals/decide-batch", json=body, headers=key)
    assert (again.json(), again.headers["idempotency-replayed"]) == (answer.json(), "true")
    statuses = [row(client, f"/v1/approvals/{one}")["status"] for one in (first, second, third)]
    assert statuses == ["approved", "pending", "held"]
    by_ada = {"actor_type": "user", "actor_id": "ada", "decisions": [{"approval_id": second, "decision": "deny"}]}
    make(client, "/v1/approvals/decide-batch", by_ada, 200)
    assert row(client, f"/v1/approvals/{second}")["decided_by_id"] == "ada"
    wrongs: tuple[dict[str, Any], ...] = ({}, {"decisions": []}, {"decisions": [{"approval_id": first}] * 201})
    for wrong in wrongs:
        answer = client.post("/v1/approvals/decide-batch", json=wrong)
        assert answer.status_code == 400
        assert answer.json()["error"] in ("missing_decisions", "invalid_decisions")


def test_of_fifty_uses_of_one_approval_one_succeeds(client: httpx.Client, room: str) -> None:
    made = ask(client, room_id=room)
    path = f"/v1/approvals/{made['approval_id']}"
    decide(client, path, "approve")
    body = {"action_digest": made["action_digest"]}
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: client.post(f"{path}/consume", json=body), range(50)))
    codes = [answer.json().get("error") for answer in answers]
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 49
    assert codes.count("approval_already_consumed") == 49
    events = read(client, "/v1/events", stream_type="room", stream_id=room, event_type="approval.consumed")["events"]
    assert len(events) == 1


def test_who_waits_is_woken_by_the_decision(client: httpx.Client, room: str) -> None:
    took: list[float] = []
    path = ""
    for decision, status in (("approve", "approved"), ("deny", "denied"), ("approve", "approved")):
        path = asked(client, room_id=room)
        with ThreadPoolExecutor() as pool:

            def wait(path: str = path) -> tuple[dict[str, Any], float]:
                found = row(client, path, wait_s=30)
                return found, time.monotonic()

            waiting = pool.submit(wait)
            with pytest.raises(TimeoutError):
                waiting.result(0.3)
            decide(client, path, "hold")  # no decision yet
            with pytest.raises(TimeoutError):
                waiting.result(0.3)
            decide(client, path, decision)
            decided = time.monotonic()
            found, woken = waiting.result(10)
        assert found["status"] == status
        took.append(woken - decided)
    assert min(took) < 0.05, took
    assert row(client, path, wait_s=30)["status"] == "approved", "it is decided: nobody waits"


def test_who_waits_in_vain_is_answered_in_time(client: httpx.Client) -> None:
    path = asked(client)
    began = time.monotonic()
    assert row(client, path, wait_s=0.4)["status"] == "pending"
    assert 0.4 <= time.monotonic() - began < 2


def status_becomes(client: httpx.Client, path: str, status: str) -> Callable[[], bool]:
    return lambda: row(client, path)["status"] == status


def test_time_ends_what_nobody_decides_and_what_nobody_uses(client: httpx.Client, room: str) -> None:
    until = CLOCK.now() + timedelta(seconds=2)
    text = until.isoformat().replace("+00:00", "Z")
    pending = asked(client, room_id=room, decide_by=text)
    unused = asked(client, room_id=room)
    decide(client, unused, "approve", expires_at=text)
    grant = asked(client, room_id=room)
    decide(client, grant, "approve", scope={"type": "room"}, expires_at=text)
    waking = asked(client)
    decide(client, waking, "hold", wake_at=text)
    with ThreadPoolExecutor() as pool:
        found = pool.submit(row, client, pending, wait_s=20).result(20)
    assert found["status"] == "expired", "who waited for the decision learns that there is none"
    refused(client.post(f"{pending}/decide", json={"decision": "approve"}), 409, "approval_expired")
    for path, status in ((unused, "lapsed"), (grant, "lapsed"), (waking, "pending")):
        wait_until(status_becomes(client, path, status), 10)
    digest = row(client, unused)["action_digest"]
    refused(client.post(f"{unused}/consume", json={"action_digest": digest}), 409, "approval_expired")
    assert row(client, waking)["wake_at"] is None
    decide(client, waking, "approve")
    types = ("approval.expired", "approval.lapsed")
    events = read(client, "/v1/events", room_id=room, event_types=",".join(types))["events"]
    assert sorted(event["event_type"] for event in events) == sorted([*types, "approval.lapsed"])
    for event in events:
        late = datetime.fromisoformat(event["recorded_at"]) - until
        assert timedelta(0) <= late + timedelta(milliseconds=1) < timedelta(seconds=1), event
        assert (event["actor_type"], event["actor_id"]) == ("service", "approvals")
    (lapsed,) = read(client, "/v1/grants", status="lapsed")["grants"]
    assert lapsed["approval_id"] == grant.rsplit("/", 1)[1]


def test_at_the_end_an_approval_is_decided_or_expired_and_never_both(client: httpx.Client, room: str) -> None:
    end = CLOCK.now() + timedelta(seconds=2)
    text = end.isoformat().replace("+00:00", "Z")
    paths = [asked(client, room_id=room, decide_by=text) for _ in range(24)]
    instants = [end + timedelta(milliseconds=number - 12) for number in range(24)]

    def decide_at(place: int) -> httpx.Response:
        wait_until(lambda: CLOCK.now() >= instants[place] - timedelta(milliseconds=30), 10)
        while CLOCK.now() < instants[place]:
            continue
        return client.post(f"{paths[place]}/decide", json={"decision": "approve"})

    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(decide_at, range(24)))
    for path, answer in zip(paths, answers, strict=True):
        if answer.status_code == 200:
            assert row(client, path)["status"] == "approved"
        else:
            refused(answer, 409, "approval_expired")
            assert row(client, path, wait_s=10)["status"] == "expired"
    events = read(client, "/v1/events", stream_type="room", stream_id=room, limit=200)["events"]
    for path in paths:
        own = {event["event_type"] for event in events if event["entity_id"] == path.rsplit("/", 1)[1]}
        assert own & {"approval.decided", "approval.expired"} in ({"approval.decided"}, {"approval.expired"})
