"""The gate from outside: what it answers, what it puts on record, what it stops, and how it fails."""

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from uuid import uuid4  # noqa: TID251 - a test's own workspace

import httpx
import pytest

from tests.fixtures.stack import Stack, wait_until

EXTERNAL = {"action": "external.write"}


@contextmanager
def calling(url: str) -> Iterator[httpx.Client]:
    headers = {"x-workspace-id": f"ws_{uuid4().hex[:12]}"}
    with httpx.Client(base_url=url, headers=headers, timeout=20) as made:
        yield made


@pytest.fixture
def client(stack: Stack) -> Iterator[httpx.Client]:
    with calling(stack.url) as made:
        yield made


def make(client: httpx.Client, path: str, body: Any = None, status: int = 201) -> dict[str, Any]:
    answer = client.post(path, json={} if body is None else body)
    assert answer.status_code == status, (path, answer.status_code, answer.text)
    made: dict[str, Any] = answer.json()
    return made


def evaluate(client: httpx.Client, **body: Any) -> dict[str, Any]:
    return make(client, "/v1/policy/evaluate", body, 200)


def events(client: httpx.Client, **query: Any) -> list[dict[str, Any]]:
    answer = client.get("/v1/events", params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["events"]
    return found


def room_of(client: httpx.Client, **more: Any) -> str:
    return str(make(client, "/v1/rooms", {"title": "Ops", **more})["room_id"])


def step_of(client: httpx.Client, room: str, **more: Any) -> tuple[str, str]:
    """A running run and a step of it."""
    run = make(client, "/v1/runs", {"room_id": room, **more})["run_id"]
    make(client, f"/v1/runs/{run}/start", status=200)
    return run, make(client, f"/v1/runs/{run}/steps", {"kind": "work"})["step_id"]


def approve(client: httpx.Client, **body: Any) -> str:
    approval = str(make(client, "/v1/approvals", {**EXTERNAL, **body})["approval_id"])
    make(client, f"/v1/approvals/{approval}/decide", {"decision": "approve"}, 200)
    return approval


def test_a_decision_and_what_it_means_are_on_record(client: httpx.Client) -> None:
    room = room_of(client)
    got = evaluate(client, **EXTERNAL, room_id=room, context={"to": "ada"}, actor_type="service", actor_id="mailer")
    assert (got["decision"], got["reason_code"]) == ("require_approval", "external_write_requires_approval")
    decided, asked = [
        event for event in events(client, stream_type="room", stream_id=room) if "policy" in event["event_type"]
    ]
    assert (decided["event_type"], asked["event_type"]) == ("policy.decided", "policy.requires_approval")
    assert decided["entity_id"] == asked["entity_id"] == got["decision_id"]
    assert asked["causation_id"] == decided["event_id"]
    assert asked["correlation_id"] == decided["correlation_id"]
    told = asked["data"]
    assert {name: told[name] for name in ("category", "action", "reason_code", "enforcement_mode", "blocked")} == {
        "category": "action",
        "action": "external.write",
        "reason_code": "external_write_requires_approval",
        "enforcement_mode": "enforce",
        "blocked": True,
    }
    assert (asked["actor_type"], asked["actor_id"]) == ("service", "mailer")
    assert decided["data"]["action_digest"] == got["action_digest"]
    for name in ("risk", "risk_factors", "valid_until", "context_digest", "enforcement_grade"):
        assert decided["data"][name] == got[name], name
    assert got["risk_factors"] == {"zone_supervised": 10, "leaves_the_machine": 25, "changes_something": 5} | (
        {"cannot_be_undone": 20}
    )
    assert (got["risk"], got["enforcement_grade"], got["valid_until"]) == (60, "host_enforced", None)
    assert decided["data"]["latency_us"] > 0
    assert (decided["data"]["on_behalf_of"], decided["data"]["delegation"]) == (None, [])
    detail = client.get(f"/v1/events/{asked['event_id']}").json()["event"]
    assert detail["policy_context"] == {"to": "ada"}


def test_what_is_allowed_is_one_event_and_has_no_reason(client: httpx.Client) -> None:
    got = evaluate(client, action="internal.read")
    assert (got["decision"], got["reason_code"], got["approval_id"]) == ("allow", "default_allow", None)
    assert "reason" not in got
    recorded = [event["event_type"] for event in events(client)]
    assert recorded == ["policy.decided"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "missing_action"),
        ({"action": "  "}, 400, "missing_action"),
        ({"action": "x", "room_id": "room_none"}, 404, "room_not_found"),
        ({"action": "x", "run_id": "run_none"}, 404, "run_not_found"),
        ({"action": "x", "thread_id": "th_none"}, 404, "thread_not_found"),
        ({"action": "x", "step_id": "step_none"}, 404, "step_not_found"),
        ({"action": "x", "zone": "moon"}, 400, "invalid_zone"),
        ({"action": "x", "colour": "red"}, 400, "unknown_field"),
    ],
)
def test_what_cannot_be_asked(client: httpx.Client, body: dict[str, Any], status: int, code: str) -> None:
    answer = client.post("/v1/policy/evaluate", json=body)
    assert (answer.status_code, answer.json()["error"]) == (status, code)
    assert events(client) == []


def test_rooms_of_others_are_unknown_here(stack: Stack, client: httpx.Client) -> None:
    with calling(stack.url) as other:
        answer = client.post("/v1/policy/evaluate", json={"action": "x", "room_id": room_of(other)})
    assert (answer.status_code, answer.json()["error"]) == (404, "room_not_found")


def test_the_highest_zone_counts(client: httpx.Client) -> None:
    calm, grave = room_of(client), room_of(client, zone="high_stakes")
    run, _ = step_of(client, calm, zone="high_stakes")
    assert evaluate(client, action="email.send", room_id=calm)["reason_code"] == "action_zone_requires_high_stakes"
    for place in ({"room_id": grave}, {"room_id": calm, "run_id": run}, {"run_id": run}):
        got = evaluate(client, action="email.send", zone="sandbox", **place)
        assert (got["zone"], got["reason_code"]) == ("high_stakes", "action_pre_approval_required")
    assert evaluate(client, action="email.send", zone="sandbox")["zone"] == "sandbox"
    assert evaluate(client, action="email.send", zone="sandbox", room_id=calm)["zone"] == "supervised"


def test_a_decision_knows_all_that_was_acknowledged_before(client: httpx.Client) -> None:
    """Grants, revocations and quarantine count from their answers on, in whatever room they were given."""
    here, there = room_of(client), room_of(client)
    for _ in range(15):
        grant = approve(client, room_id=there, scope={"type": "workspace"})
        got = evaluate(client, **EXTERNAL, room_id=here)
        assert (got["decision"], got["approval_id"]) == ("allow", grant)
        make(client, f"/v1/grants/{grant}/revoke", {"reason": "enough"}, 200)
        assert evaluate(client, **EXTERNAL, room_id=here)["decision"] == "require_approval"
    agent = make(client, "/v1/agents", {"display_name": "Bot"})
    asks = {"actor_type": "agent", "actor_id": agent["agent_id"], "principal_id": agent["principal_id"]}
    for _ in range(5):
        assert evaluate(client, action="invoice.file", **asks)["decision"] == "allow"
        make(client, f"/v1/agents/{agent['agent_id']}/quarantine", status=200)
        assert evaluate(client, action="invoice.file", **asks)["reason_code"] == "agent_quarantined"
        assert evaluate(client, action="invoice.read", **asks)["decision"] == "allow"
        make(client, f"/v1/agents/{agent['agent_id']}/unquarantine", status=200)


def test_a_resource_is_matched_and_is_part_of_the_act(client: httpx.Client) -> None:
    scope = {"type": "pattern", "resource_glob": "https://example.org/*"}
    grant = approve(client, action="external.write", scope=scope)
    ask = {"action": "external.write", "resource": "https://example.org/x", "context": {"n": 1}}
    got = evaluate(client, **ask)
    assert (got["decision"], got["approval_id"]) == ("allow", grant)
    other = evaluate(client, **ask | {"resource": "https://example.net/x"})
    assert other["decision"] == "require_approval"
    assert evaluate(client, action="external.write")["decision"] == "require_approval"
    assert other["action_digest"] != got["action_digest"], "an approval of one is none of the other"
    act = {"action": "external.write", "parameters": {"n": 1, "resource": ask["resource"]}}
    use = {**act, "action_digest": got["action_digest"], "resource": ask["resource"]}
    assert make(client, f"/v1/approvals/{grant}/consume", use, 200)["ok"] is True
    elsewhere = {**ask, "resource": "https://example.net/x"}
    digest = evaluate(client, **elsewhere)["action_digest"]
    other_act = act | {"action_digest": digest, "parameters": {"n": 1, "resource": elsewhere["resource"]}}
    for claimed in (ask["resource"], elsewhere["resource"]):
        refused = client.post(f"/v1/approvals/{grant}/consume", json=other_act | {"resource": claimed})
        assert refused.json()["error"] == "approval_action_mismatch"


def test_once_lifts_what_no_grant_can(client: httpx.Client) -> None:
    ask = {"action": "email.send", "zone": "high_stakes", "context": {"to": "ada"}}
    digest = evaluate(client, **ask)["action_digest"]
    approve(client, action="email.send", scope={"type": "workspace"})
    assert evaluate(client, **ask)["reason_code"] == "action_pre_approval_required"
    once = approve(client, action="email.send", action_digest=digest)
    assert evaluate(client, **ask)["approval_id"] == once
    assert evaluate(client, **ask | {"context": {"to": "eve"}})["decision"] == "require_approval"


def test_a_tool_call_carries_what_allowed_it(client: httpx.Client) -> None:
    _, step = step_of(client, room_of(client))
    call = make(client, f"/v1/steps/{step}/toolcalls", {"tool_name": "echo"})
    event = client.get(f"/v1/events/{call['event_id']}").json()["event"]
    assert (event["policy_context"]["decision"], event["policy_context"]["reason_code"]) == ("allow", "default_allow")
    assert events(client, event_types="policy.decided") == []


def test_a_tool_call_that_is_refused_is_on_record_and_is_not_made(client: httpx.Client) -> None:
    room = room_of(client)
    run, step = step_of(client, room)
    agent = make(client, "/v1/agents", {"display_name": "Bot"})
    make(client, f"/v1/agents/{agent['agent_id']}/quarantine", status=200)
    body = {
        "tool_name": "rm",
        "input": {"path": "/"},
        "actor_type": "agent",
        "actor_id": agent["agent_id"],
        "principal_id": agent["principal_id"],
    }
    got = make(client, f"/v1/steps/{step}/toolcalls", body, 200)
    assert (got["decision"], got["reason_code"]) == ("deny", "agent_quarantined")
    assert "tool_call_id" not in got
    (denied,) = events(client, event_types="policy.denied")
    assert (denied["run_id"], denied["step_id"], denied["data"]["category"]) == (run, step, "tool_call")
    assert events(client, event_types="tool.invoked") == []
    # What is wrong with a call is told first, and is no refusal.
    for wrong, status, code in ((f"/v1/steps/{step}/toolcalls", 400, "missing_tool_name"),):
        answer = client.post(wrong, json={name: value for name, value in body.items() if name != "tool_name"})
        assert (answer.status_code, answer.json()["error"]) == (status, code)
    make(client, f"/v1/runs/{run}/cancel", status=200)
    assert client.post(f"/v1/steps/{step}/toolcalls", json=body).json()["error"] == "run_not_running"
    assert len(events(client, event_types="policy.denied")) == 1


def test_in_bulk_each_call_is_decided_by_itself(client: httpx.Client) -> None:
    _, step = step_of(client, room_of(client))
    names = [{"tool_name": f"t{number}", "step_id": step} for number in range(60)]
    for number in range(0, 60, 3):
        names[number]["capability_token_id"] = "none"
    commands = [{"type": "tool.invoke", "body": body} for body in names]
    results = make(client, "/v1/commands", {"commands": commands}, 200)["results"]
    assert [result["status"] for result in results] == [200, 201, 201] * 20
    assert {result["reason_code"] for result in results[::3]} == {"capability_token_not_found"}
    assert len(events(client, event_types="tool.invoked", limit=100)) == 40
    assert len(events(client, event_types="policy.denied", limit=100)) == 20


def test_a_retry_with_the_same_key_gets_the_same_decision(client: httpx.Client) -> None:
    headers = {"idempotency-key": "once"}
    first, second = (client.post("/v1/policy/evaluate", json=EXTERNAL, headers=headers) for _ in range(2))
    assert first.json() == second.json()
    assert second.headers["idempotency-replayed"] == "true"
    assert len(events(client, event_types="policy.decided")) == 1


def test_without_the_policy_service_everything_is_denied(start_stack: Callable[..., Stack]) -> None:
    stack = start_stack()
    with calling(stack.url) as client:
        _, step = step_of(client, room_of(client))
        approve(client, scope={"type": "workspace"})
        assert evaluate(client, **EXTERNAL)["decision"] == "allow"
        sleeping = stack.pid("policy")
        os.kill(sleeping, signal.SIGSTOP)
        headers = {"idempotency-key": "kept"}
        with ThreadPoolExecutor() as pool:  # it hangs: whoever asks waits for two seconds, and then it is no
            asked = pool.submit(evaluate, client, **EXTERNAL)
            keyed = pool.submit(client.post, "/v1/policy/evaluate", json=EXTERNAL, headers=headers)
            called = pool.submit(make, client, f"/v1/steps/{step}/toolcalls", {"tool_name": "echo"}, 200)
            for got in (asked.result(), called.result()):
                assert (got["decision"], got["reason_code"]) == ("deny", "policy_unavailable")
                assert got["next_steps"]
            assert keyed.result().json()["reason_code"] == "policy_unavailable"
        os.kill(sleeping, signal.SIGKILL)
        got = evaluate(client, action="internal.read")
        assert got["reason_code"] in ("policy_unavailable", "default_allow")
        stack.wait_healthy({"policy": sleeping})
        # That nobody could decide is no answer that a key would keep.
        assert client.post("/v1/policy/evaluate", json=EXTERNAL, headers=headers).json()["decision"] == "allow"
        assert evaluate(client, **EXTERNAL)["decision"] == "allow"
        make(client, f"/v1/steps/{step}/toolcalls", {"tool_name": "echo"})
        assert {event["data"]["reason_code"] for event in events(client, event_types="policy.denied")} == {
            "policy_unavailable"
        }
        gone = stack.kill("nats")
        assert evaluate(client, action="internal.read")["reason_code"] in ("policy_unavailable", "default_allow")
        stack.wait_healthy({"nats": gone})
        wait_until(lambda: evaluate(client, **EXTERNAL)["decision"] == "allow", 10)


def test_what_the_environment_stops_and_marks(start_stack: Callable[..., Stack]) -> None:
    environment = {"POLICY_KILL_SWITCH_EXTERNAL_WRITE": "on", "POLICY_ENFORCEMENT_MODE": "shadow"}
    stack = start_stack(env=environment)
    with calling(stack.url) as client:
        approve(client, scope={"type": "workspace"})
        got = evaluate(client, **EXTERNAL)
        assert (got["decision"], got["reason_code"]) == ("deny", "kill_switch_active")
        assert evaluate(client, action="email.send", zone="high_stakes")["reason_code"] == "kill_switch_active"
        assert evaluate(client, action="internal.read")["decision"] == "allow"
        for event in events(client, event_types="policy.denied"):
            assert (event["data"]["enforcement_mode"], event["data"]["blocked"]) == ("shadow", False)


ASKS = """
@id("base") permit (principal, action, resource);
@id("ask-before-rm") @effect("require_approval")
forbid (principal, action in Action::"tool_call", resource == Tool::"rm");
"""


def test_policies_are_taken_while_it_runs_and_an_approval_meets_what_they_ask_for(
    start_stack: Callable[..., Stack],
) -> None:
    stack = start_stack()
    file = stack.data_dir / "policies" / "mine.cedar"
    with calling(stack.url) as client:
        _, step = step_of(client, room_of(client))
        path = f"/v1/steps/{step}/toolcalls"
        before = evaluate(client, action="internal.read")["policy_bundle_hash"]
        file.parent.mkdir(exist_ok=True)
        file.write_text(ASKS, encoding="utf-8")
        wait_until(lambda: evaluate(client, action="internal.read")["policy_bundle_hash"] != before, 10)
        call = {"tool_name": "rm", "input": {"path": "/tmp/x"}}
        asked = make(client, path, call, 200)
        assert (asked["decision"], asked["reason_code"]) == ("require_approval", "policy.rule_matched")
        assert asked["determining_rules"][0]["rule_id"] == "ask-before-rm"
        make(client, path, {"tool_name": "ls"})
        approve(client, action="tool.call", action_digest=asked["action_digest"])
        assert make(client, path, call | {"input": {"path": "/"}}, 200)["decision"] == "require_approval"
        done = make(client, path, call)
        event = client.get(f"/v1/events/{done['event_id']}").json()["event"]
        assert event["policy_context"]["reason_code"] == "approval_allows_action"
        assert make(client, path, call, 200)["decision"] == "require_approval"  # it was for once
        assert len(events(client, event_types="approval.consumed")) == 1
        # A broken bundle is refused; what was in force stays.
        taken = evaluate(client, action="internal.read")["policy_bundle_hash"]
        file.write_text("permit (", encoding="utf-8")
        log = stack.data_dir / "logs" / "policy.log"
        wait_until(lambda: "policies_refused" in log.read_text(encoding="utf-8"), 10)
        assert evaluate(client, action="internal.read")["policy_bundle_hash"] == taken
        assert make(client, path, call, 200)["decision"] == "require_approval"
