"""What refusals lead to, over HTTP: constraints, repeated mistakes, and quarantine by itself."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4  # noqa: TID251 - a test's own workspace

import httpx
import pytest

from tests.fixtures.stack import Stack, wait_until


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


def read(client: httpx.Client, path: str, **query: Any) -> dict[str, Any]:
    answer = client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def position(answer: dict[str, Any]) -> str:
    return f"{answer['stream_type']}/{answer['stream_id']}@{answer['stream_seq']}"


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]


def agent_of(client: httpx.Client) -> dict[str, Any]:
    made = post(client, "/v1/agents", display_name="Watcher")
    return {"actor_type": "agent", "actor_id": made["agent_id"], "principal_id": made["principal_id"]}


EDIT: dict[str, Any] = {"decision": "approve", "edited_request": {"to": "bo"}}


def ask(client: httpx.Client, action: str = "external.write", **members: Any) -> dict[str, Any]:
    return post(client, "/v1/policy/evaluate", action=action, **members)


def types(client: httpx.Client) -> list[str]:
    found = read(client, "/v1/events", stream_type="workspace", stream_id=client.headers["x-workspace-id"], limit=200)
    return [event["event_type"] for event in found["events"]]


def test_the_chain_is_in_the_stream_in_order(client: httpx.Client) -> None:
    first, second = ask(client), ask(client)
    found = read(client, "/v1/events", stream_type="workspace", stream_id=client.headers["x-workspace-id"])["events"]
    chain = ["policy.decided", "policy.requires_approval", "learning.from_failure", "constraint.learned"]
    assert [event["event_type"] for event in found] == [*chain, *chain, "mistake.repeated"]
    assert len({event["correlation_id"] for event in found[:4]}) == 1
    decided, refused, failure, learned = found[:4]
    assert (failure["causation_id"], refused["causation_id"]) == (refused["event_id"], decided["event_id"])
    assert found[7]["causation_id"] == learned["event_id"]
    assert first["decision_id"] == failure["entity_id"] != second["decision_id"]
    page = read(client, "/v1/constraints", min_position=position(second))
    (constraint,) = page["constraints"]
    assert (constraint["seen_count"], constraint["repeat_count"], constraint["status"]) == (2, 2, "candidate")
    assert (constraint["category"], constraint["subject_key"]) == ("action", "actor:user:anon")
    assert read(client, f"/v1/constraints/{constraint['constraint_id']}")["constraint"] == constraint


def test_an_agent_that_repeats_a_mistake_goes_into_quarantine(client: httpx.Client) -> None:
    agent = agent_of(client)
    for _ in range(3):
        assert ask(client, **agent)["reason_code"] == "external_write_requires_approval"

    def quarantined() -> bool:
        found = read(client, f"/v1/agents/{agent['actor_id']}")["agent"]
        return bool(found["quarantine_reason"] == "auto_repeated_external_write_requires_approval")

    wait_until(quarantined, 10)
    (event,) = read(client, "/v1/events", event_types="agent.quarantined")["events"]
    assert (event["data"]["mode"], event["actor_type"], event["actor_id"]) == ("auto", "service", "policy_guard")
    for _ in range(4):
        assert ask(client, **agent)["reason_code"] == "agent_quarantined"
    assert types(client).count("agent.quarantined") == 1


def test_mistakes_in_different_rooms_add_up(client: httpx.Client) -> None:
    agent = agent_of(client)
    for number in range(3):
        room_id = post(client, "/v1/rooms", title=f"R{number}")["room_id"]
        last = ask(client, room_id=room_id, **agent)
        assert last["reason_code"] == "external_write_requires_approval"
        page = read(client, "/v1/constraints", agent_id=agent["actor_id"], min_position=position(last))
        assert max(one["repeat_count"] for one in page["constraints"]) == number + 1

    def quarantined() -> bool:
        return read(client, f"/v1/agents/{agent['actor_id']}")["agent"]["quarantined_at"] is not None

    wait_until(quarantined, 10)


def test_an_agent_that_waits_for_an_approval_does_not(client: httpx.Client) -> None:
    agent = agent_of(client)
    asked = ask(client, **agent)
    who = {"actor_type": "agent", "actor_id": agent["actor_id"]}
    approval = post(client, "/v1/approvals", action="external.write", action_digest=asked["action_digest"], **who)
    read(client, "/v1/approvals", min_position=position(approval))
    last = [ask(client, **agent) for _ in range(5)][-1]
    assert last["reason_code"] == "external_write_requires_approval"
    (constraint,) = read(client, "/v1/constraints", agent_id=agent["actor_id"], min_position=position(last))[
        "constraints"
    ]
    assert (constraint["seen_count"], constraint["repeat_count"]) == (6, 1)
    assert read(client, f"/v1/agents/{agent['actor_id']}")["agent"]["quarantined_at"] is None


def test_nobody_brings_another_agent_into_quarantine(client: httpx.Client) -> None:
    agent = agent_of(client)
    asked = [ask(client, actor_type="agent", actor_id=agent["actor_id"]) for _ in range(4)]
    assert {answer["reason_code"] for answer in asked} == {"agent_principal_required"}
    last = asked[-1]
    (constraint,) = read(client, "/v1/constraints", min_position=position(last))["constraints"]
    assert (constraint["agent_id"], constraint["repeat_count"]) == (None, 4)


def test_a_person_activates_and_retires(client: httpx.Client) -> None:
    agent = agent_of(client)
    room_id = post(client, "/v1/rooms", title="Ops")["room_id"]
    last = ask(client, room_id=room_id, **agent)
    (constraint,) = read(client, "/v1/constraints", min_position=position(last), status="candidate")["constraints"]
    path = f"/v1/constraints/{constraint['constraint_id']}"
    assert code(client.post(f"{path}/activate", json={})) == (400, "missing_effect")
    assert code(client.post(f"{path}/activate", json={"effect": "allow"})) == (400, "invalid_effect")
    as_agent = {"effect": "deny", "actor_type": "agent", "actor_id": agent["actor_id"]}
    assert code(client.post(f"{path}/activate", json=as_agent)) == (403, "activator_must_be_user")
    assert code(client.post(f"{path}/retire", json={})) == (409, "constraint_not_active")
    post(client, f"{path}/activate", effect="deny", expires_at="2099-01-01T00:00:00Z")
    assert ask(client, room_id=room_id, **agent)["reason_code"] == "constraint.learned"
    found = read(client, path)["constraint"]
    assert (found["status"], found["effect"], found["expires_at"]) == ("active", "deny", "2099-01-01T00:00:00.000Z")
    post(client, f"{path}/retire", reason="it is right again")
    assert ask(client, room_id=room_id, **agent)["reason_code"] == "external_write_requires_approval"
    assert read(client, path)["constraint"]["status"] == "retired"


def test_what_a_person_decides_counts_in_every_room_from_the_answer_on(client: httpx.Client) -> None:
    agent = agent_of(client)
    here, there = (post(client, "/v1/rooms", title=title)["room_id"] for title in ("Here", "There"))
    last = ask(client, room_id=here, **agent)
    (constraint,) = read(client, "/v1/constraints", min_position=position(last))["constraints"]
    path = f"/v1/constraints/{constraint['constraint_id']}"
    wish = {"room_id": there, "actor_type": "agent", **agent}
    approval = post(client, "/v1/approvals", action="external.write", scope={"type": "workspace"})["approval_id"]
    post(client, f"/v1/approvals/{approval}/decide", decision="approve")
    for _ in range(2):  # the third refusal would bring it into quarantine
        post(client, f"{path}/activate", effect="deny")
        assert ask(client, **wish)["reason_code"] == "constraint.learned"
        post(client, f"{path}/retire")
        assert ask(client, **wish)["reason_code"] == "approval_allows_action"


def test_refused_tool_calls_are_learned_from(client: httpx.Client) -> None:
    room_id = post(client, "/v1/rooms", title="Ops")["room_id"]
    run_id = post(client, "/v1/runs", room_id=room_id)["run_id"]
    post(client, f"/v1/runs/{run_id}/start")
    step_id = post(client, f"/v1/runs/{run_id}/steps", kind="tool")["step_id"]
    wish: dict[str, Any] = {"tool_name": "shell", "input": {"command": "ls"}}
    switch = {"scope": "tool", "target": "shell"}
    post(client, "/v1/policy/kill-switch", action="engage", **switch)
    refusals = [post(client, f"/v1/steps/{step_id}/toolcalls", **wish) for _ in range(2)]
    assert {refusal["reason_code"] for refusal in refusals} == {"kill_switch_active"}
    assert read(client, "/v1/constraints", min_position=position(refusals[-1]))["constraints"] == [], "nobody's mistake"
    post(client, "/v1/policy/kill-switch", action="release", reason="done", **switch)
    wish["capability_token_id"] = "cap_none"
    answers = [post(client, f"/v1/steps/{step_id}/toolcalls", **wish) for _ in range(2)]
    assert {answer["reason_code"] for answer in answers} == {"capability_token_not_found"}
    last = answers[-1]
    (constraint,) = read(client, "/v1/constraints", min_position=position(last))["constraints"]
    assert (constraint["category"], constraint["repeat_count"], constraint["room_id"]) == ("tool", 2, room_id)


def test_what_people_deny_or_rewrite_is_learned_from(client: httpx.Client) -> None:
    who = {"actor_type": "service", "actor_id": "mailer"}
    for decision, reason in (({"decision": "deny", "reason": "not him"}, "approval_denied"), (EDIT, "approval_edited")):
        room_id = post(client, "/v1/rooms", title="Ops")["room_id"]
        wish = {"action": "email.send", "request": {"to": "ada"}, "room_id": room_id, **who}
        decided = [
            post(client, f"/v1/approvals/{post(client, '/v1/approvals', **wish)['approval_id']}/decide", **decision)
            for _ in range(2)
        ]
        events = read(client, "/v1/events", stream_type="room", stream_id=room_id)["events"]
        told = [event for event in events if event["event_type"] != "room.created"]
        assert [event["event_type"] for event in told] == [
            *("approval.requested", "learning.from_failure", "constraint.learned", "approval.decided"),
            *("approval.requested", "learning.from_failure", "constraint.learned", "mistake.repeated"),
            "approval.decided",
        ]
        assert told[-1]["event_id"] == decided[-1]["event_id"], "the answer is about the decision"
        failure = told[1]["data"]
        assert (failure["category"], failure["reason_code"], failure["blocked"]) == ("action", reason, False)
        assert (failure["context"], failure["subject_key"]) == ({"to": "ada"}, "actor:service:mailer")
        assert failure["reason"] == decision.get("reason", "A person allowed something else in its place.")
        (constraint,) = [
            one
            for one in read(client, "/v1/constraints", min_position=position(decided[-1]))["constraints"]
            if one["reason_code"] == reason
        ]
        assert (constraint["seen_count"], constraint["status"]) == (2, "candidate")


def test_failed_tool_calls_are_learned_from(client: httpx.Client) -> None:
    room_id = post(client, "/v1/rooms", title="Ops")["room_id"]
    run_id = post(client, "/v1/runs", room_id=room_id)["run_id"]
    post(client, f"/v1/runs/{run_id}/start")
    step_id = post(client, f"/v1/runs/{run_id}/steps", kind="tool")["step_id"]
    call = post(client, f"/v1/steps/{step_id}/toolcalls", tool_name="shell", input={"command": "ls"})["tool_call_id"]
    failed = post(client, f"/v1/toolcalls/{call}/fail", message="no such file")
    events = read(client, "/v1/events", stream_type="room", stream_id=room_id)["events"]
    types = [event["event_type"] for event in events]
    assert types[-3:] == ["learning.from_failure", "constraint.learned", "tool.failed"]
    assert failed["event_id"] == events[-1]["event_id"]
    assert events[-3]["data"]["reason"] == "no such file"
    (constraint,) = read(client, "/v1/constraints", min_position=position(failed))["constraints"]
    assert (constraint["category"], constraint["reason_code"], constraint["seen_count"]) == ("tool", "tool_failed", 1)


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ({"status": "lost"}, "invalid_status"),
        ({"limit": "0"}, "invalid_limit"),
        ({"cursor": "x"}, "invalid_cursor"),
        ({"min_position": "x"}, "invalid_min_position"),
    ],
)
def test_malformed_lists_are_refused(client: httpx.Client, query: dict[str, str], error: str) -> None:
    assert code(client.get("/v1/constraints", params=query)) == (400, error)


def test_what_is_of_another_workspace_is_not_there(client: httpx.Client) -> None:
    last = ask(client)
    (constraint,) = read(client, "/v1/constraints", min_position=position(last))["constraints"]
    headers = {"x-workspace-id": "ws_other"}
    path = f"/v1/constraints/{constraint['constraint_id']}"
    for answer in (
        client.get(path, headers=headers),
        client.get("/v1/constraints/cst_none"),
        client.post(f"{path}/activate", json={"effect": "deny"}, headers=headers),
        client.post("/v1/constraints/cst_none/retire", json={}),
    ):
        assert code(answer) == (404, "constraint_not_found")
