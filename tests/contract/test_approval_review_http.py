"""What a person needs to decide on approvals well, from outside."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4  # noqa: TID251 - a test's own workspace

import httpx
import orjson
import pytest

from tests.contract.test_approvals_http import after, ask, asked, decide, make, read, refused, row
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
    act: dict[str, Any] = {"action": "payment.execute", "room_id": room}
    digest = make(client, "/v1/policy/evaluate", {**act, "context": {"amount": 7}}, 200)["action_digest"]
    use = {"action_digest": digest, "parameters": {"amount": 7}, **act}
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
    assert (problem["denied_by"], problem["reason_codes"][0]) == (["agent_quarantined"], "agent_quarantined")
    make(client, f"/v1/agents/{agent}/unquarantine", status=200)
    make(client, f"{path}/decide", edit, 200)
    found = row(client, path)
    assert (found["status"], found["action"], found["edited_request"]) == ("approved", "email.send", {"to": "bo"})
    assert found["action_digest"] != made["action_digest"]


def test_an_edit_is_no_more_than_what_was_asked_for(client: httpx.Client) -> None:
    call = {"tool_name": "ls", "input": {"path": "/tmp"}}
    path = asked(client, action="tool.call", request=call)
    for edited, widened in (
        ({**call, "tool_name": "rm"}, ["tool_name"]),
        ({"path": "/"}, ["category", "tool_name"]),
    ):
        edit = {"decision": "approve", "edited_request": edited}
        problem = refused(client.post(f"{path}/decide", json=edit), 409, "approval_edit_widens")
        assert (problem["widened"], problem["reason_codes"]) == (widened, ["default_allow"])
    narrower = {"decision": "approve", "edited_request": {**call, "input": {"path": "/tmp/x"}}}
    made = make(client, f"{path}/decide", narrower, 200)
    assert made["approval_status"] == "approved"


def test_what_a_person_looks_at_before_deciding(client: httpx.Client, room: str) -> None:
    agent = make(client, "/v1/agents", {"display_name": "Mailer"})
    who = {"actor_type": "agent", "actor_id": agent["agent_id"]}
    wish = {"action": "external.write", "room_id": room, "context": {"url": "https://example.org/x"}, **who}
    asking = make(client, "/v1/policy/evaluate", {**wish, "principal_id": agent["principal_id"]}, 200)
    members = {"action": "external.write", "room_id": room, "request": wish["context"], **who}
    made = ask(client, **members)
    assert made["action_digest"] == asking["action_digest"]
    path = f"/v1/approvals/{made['approval_id']}"
    review = read(client, path)["review"]
    assert review["principal_id"] == agent["principal_id"]
    for decision in (review["asked"], review["now"]):
        assert (decision["decision"], decision["reason_codes"]) == ("require_approval", asking["reason_codes"])
        assert decision["determining_rules"] == asking["determining_rules"]
    assert (review["now"]["event_id"], len(review["asked"]["event_id"])) == (None, 36)
    assert (review["reversible"], review["side_effect"], review["destination"]) == (
        False,
        "external_write",
        "example.org",
    )
    assert (review["zone"], review["risk"]) == ("supervised", asking["risk"])
    assert {"cannot_be_undone", "leaves_the_machine"} <= review["risk_factors"].keys()
    assert (review["delegation"], review["on_behalf_of"]) == ([], None)
    seen = {"decision": "approve", "expected_policy_hash": review["now"]["policy_bundle_hash"]}
    make(client, f"{path}/decide", seen, 200)
    assert read(client, path, wait_s=1)["review"] is None

    strange = read(client, asked(client, action="moon.land"))["review"]
    assert (strange["asked"], strange["registered"], strange["reversible"]) == (None, False, None)
    assert "unregistered_action" in strange["risk_factors"]
    call = {"tool_name": "shell", "input": {"rm": "-rf"}}
    tool = read(client, asked(client, action="tool.call", request=call))["review"]
    assert (tool["now"]["decision"], tool["now"]["reason_codes"]) == ("allow", ["default_allow"])
    make(client, "/v1/policy/kill-switch", {"action": "engage", "scope": "tool", "target": "shell"}, 200)
    tool = read(client, asked(client, action="tool.call", request=call))["review"]
    assert (tool["now"]["decision"], tool["now"]["reason_codes"]) == ("deny", ["kill_switch_active"])


def test_what_was_decided_on_the_same_action_before(client: httpx.Client, room: str) -> None:
    answers = (("ada", "approve"), ("bo", "deny"), ("ada", "approve"))
    for to, decision in answers:
        decide(client, asked(client, room_id=room, request={"to": to, "cc": None}), decision, reason=to)
    decide(client, asked(client, action="payment.execute"), "approve")
    open_one = asked(client, room_id=room, request={"to": "ada", "cc": "eve"})
    same = asked(client, room_id=room, request={"to": "ada", "cc": None})
    told = read(client, f"{same}/similar")
    assert (told["approved"], told["denied"], told["looked_at"]) == (2, 1, 3)
    first, second, third = told["similar"]
    assert [first["same_action"], second["same_action"], third["same_action"]] == [True, True, False]
    assert first["decided_at"] >= second["decided_at"]
    assert (third["decision"], third["equal"], third["different"]) == ("deny", ["cc"], ["to"])
    told = read(client, f"{open_one}/similar", limit=1)
    (alike,) = told["similar"]
    assert (alike["same_action"], alike["equal"], alike["decision_reason"]) == (False, ["to"], "ada")
    refused(client.get(f"{same}/similar", params={"limit": 51}), 400, "invalid_limit")
    refused(client.get("/v1/approvals/appr_none/similar"), 404, "approval_not_found")


def test_what_a_scope_would_have_covered(client: httpx.Client, room: str) -> None:
    other = make(client, "/v1/rooms", {"title": "Other"})["room_id"]
    wishes = [(room, 30), (room, 40), (room, 50), (other, 10)]
    for place, amount in wishes:
        body = {"action": "external.write", "room_id": place, "context": {"amount": amount}}
        assert make(client, "/v1/policy/evaluate", body, 200)["decision"] == "require_approval"
    exact = {"action": "payment.execute", "room_id": room}
    assert make(client, "/v1/policy/evaluate", exact, 200)["decision"] == "require_approval"
    path = asked(client, action="external.write", room_id=room, request={"amount": 30})

    def preview(**scope: Any) -> tuple[int, int, int]:
        told = make(client, f"{path}/scope-preview", {"scope": scope}, 200)
        assert (told["looked_at"], told["complete"]) == (5, True)
        assert len(told["samples"]) == told["count"]
        return told["count"], told["needs_exact"], told["beyond_limits"]

    assert preview(type="once")[0] == 1
    assert preview(type="room") == (3, 0, 0)
    assert preview(type="room", max_uses=2) == (2, 0, 1)
    assert preview(type="workspace") == (4, 0, 0)
    assert preview(type="pattern", action="*") == (4, 1, 0)
    assert preview(type="pattern", arg_constraints={"amount": 40}) == (1, 0, 0)
    assert preview(type="pattern", max_total_amount=80, amount_pointer="/amount") == (3, 0, 1)
    told = make(client, f"{path}/scope-preview", {"scope": {"type": "room"}}, 200)
    assert [sample["parameters"]["amount"] for sample in told["samples"]] == [50, 40, 30]
    assert told["scope"] == {"type": "room", "room_id": room}
    wrong = {"scope": {"type": "thread"}}
    refused(client.post(f"{path}/scope-preview", json=wrong), 400, "invalid_scope")
    refused(
        client.post("/v1/approvals/appr_none/scope-preview", json={"scope": {"type": "room"}}),
        404,
        "approval_not_found",
    )
    events = read(client, "/v1/events", limit=200)["events"]
    assert sum(event["event_type"] == "policy.decided" for event in events) == 5, "nothing of it is on record"


def test_a_run_whose_approval_is_held_is_let_go_and_not_given_out(client: httpx.Client, room: str) -> None:
    run = make(client, "/v1/runs", {"room_id": room})["run_id"]
    claim = {"actor_id": "worker", "room_id": room}
    lease = make(client, "/v1/runs/claim", claim, 200)["run"]
    assert lease["run_id"] == run
    path = asked(client, run_id=run)
    decide(client, path, "hold")
    assert read(client, f"/v1/runs/{run}")["run"]["status"] == "queued"
    beat = {"actor_id": "worker", "claim_token": lease["claim_token"]}
    refused(client.post(f"/v1/runs/{run}/lease/heartbeat", json=beat), 409, "lease_token_mismatch")
    for _ in range(3):
        assert make(client, "/v1/runs/claim", claim, 200)["claimed"] is False
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(make, client, "/v1/runs/claim", {**claim, "wait_s": 20}, 200)
        decide(client, path, "approve")
        again = waiting.result()["run"]
    assert (again["run_id"], again["attempt_no"]) == (run, 2)
    other = asked(client, run_id=run)
    decide(client, other, "hold", wake_at=after(seconds=1))
    released = read(client, "/v1/events", run_id=run, limit=200)["events"]
    reasons = [event["data"]["reason"] for event in released if event["event_type"] == "run.lease_released"]
    assert reasons == ["approval_held", "approval_held"]
    assert make(client, "/v1/runs/claim", {**claim, "wait_s": 20}, 200)["run"]["attempt_no"] == 3
    assert row(client, other)["status"] == "pending"


def test_steps_of_an_escalation_tell_people(client: httpx.Client, stack: Stack, tmp_path: Path) -> None:
    file, heard = stack.data_dir / "notifications.toml", tmp_path / "heard"
    desk, phone = f"desk_{uuid4().hex[:8]}", f"phone_{uuid4().hex[:8]}"
    script = orjson.dumps(f'cat > "{heard}.new" && echo "$1" > "{heard}" && mv "{heard}.new" "{heard}.json"').decode()
    file.write_text(
        f'[channels.{desk}]\ncommand = ["/bin/sh", "-c", {script}, "-", "{{title}}"]\n'
        f'[channels.{phone}]\ncommand = ["/bin/sh", "-c", "exit 3"]\n'
    )
    file.chmod(0o600)
    try:
        steps = [{"after_s": 1, "notify": desk}, {"after_s": 2, "notify": phone}, {"after_s": 3, "notify": "badge"}]
        path = asked(client, title="Send; $(it)", escalation=steps)
        types = {"event_types": "approval.escalated,approval.notified,approval.notification_failed"}

        def told() -> list[tuple[str, str]]:
            events = read(client, "/v1/events", **types)["events"]
            return [(one["event_type"], one["data"].get("channel") or one["data"]["notify"]) for one in events]

        wait_until(lambda: len(told()) == 5, 30, lambda: str(told()))
        assert set(told()) == {
            ("approval.escalated", desk),
            ("approval.notified", desk),
            ("approval.escalated", phone),
            ("approval.notification_failed", phone),
            ("approval.escalated", "badge"),
        }
        assert heard.read_text() == "Send; $(it)\n"
        message = orjson.loads(heard.with_suffix(".json").read_bytes())
        assert (message["approval_id"], message["step"], message["event"]) == (
            path.rsplit("/", 1)[1],
            1,
            "approval.escalated",
        )
        assert row(client, path)["notified_at"] is not None
    finally:
        file.unlink()
