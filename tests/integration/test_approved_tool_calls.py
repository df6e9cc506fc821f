"""Acts that a policy asks an approval for: it is used by one act, in whichever stream it is, and never twice."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx

from tests.fixtures.stack import Stack, wait_until

TOOL = {"tool_name": "mail", "input": {"to": "ada"}}
POLICIES = """
@id("all") permit (principal, action, resource);
@id("mail.asks") @effect("require_approval")
forbid (principal, action in Action::"tool_call", resource == Tool::"mail");
"""


@contextmanager
def calling(url: str) -> Iterator[httpx.Client]:
    limits = httpx.Limits(max_connections=64)
    with httpx.Client(base_url=url, timeout=40, limits=limits) as made:
        yield made


def post(client: httpx.Client, path: str, body: Any = None) -> dict[str, Any]:
    answer = client.post(path, json=body or {})
    assert answer.status_code in (200, 201), (path, answer.status_code, answer.text)
    made: dict[str, Any] = answer.json()
    return made


def step_in(client: httpx.Client, room: str) -> str:
    """Path of the tool calls of a new step."""
    run = post(client, "/v1/runs", {"room_id": room})["run_id"]
    post(client, f"/v1/runs/{run}/start")
    made = post(client, f"/v1/runs/{run}/steps", {"kind": "work"})["step_id"]
    return f"/v1/steps/{made}/toolcalls"


def approve(client: httpx.Client, **members: Any) -> str:
    made = post(client, "/v1/approvals", {"action": "tool.call", **members})["approval_id"]
    post(client, f"/v1/approvals/{made}/decide", {"decision": "approve"})
    return str(made)


def approval(client: httpx.Client, approval_id: str) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"/v1/approvals/{approval_id}").raise_for_status().json()["approval"]
    return found


def one_acts(client: httpx.Client, path: str, approval_id: str) -> dict[str, Any]:
    """Of twenty at once one is made, by this approval; its event."""
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: client.post(path, json=TOOL), range(20)))
    made = [answer for answer in answers if answer.status_code == 201]
    assert len(made) == 1, [answer.text for answer in answers]
    told = {answer.json().get("error") or answer.json()["decision"] for answer in answers if answer not in made}
    assert told <= {"approval_already_consumed", "require_approval"}
    assert (approval(client, approval_id)["status"], approval(client, approval_id)["uses"]) == ("consumed", 1)
    event: dict[str, Any] = client.get(f"/v1/events/{made[0].json()['event_id']}").json()["event"]
    assert (event["event_type"], event["policy_context"]["approval_id"]) == ("tool.invoked", approval_id)
    return event


def test_one_approval_is_one_tool_call(start_stack: Callable[..., Stack]) -> None:
    stack = start_stack()
    policies = stack.data_dir / "policies"
    policies.mkdir(exist_ok=True)
    (policies / "mail.cedar").write_text(POLICIES)
    with calling(stack.url) as client:
        room = post(client, "/v1/rooms", {"title": "Ops"})["room_id"]
        path = step_in(client, room)
        wait_until(lambda: post(client, path, TOOL).get("decision") == "require_approval", 20)
        asked = post(client, path, TOOL)
        assert asked["reason_code"] == "policy.rule_matched"

        # In the room's own stream: in one append with the act.
        here = approve(client, action_digest=asked["action_digest"], room_id=room)
        assert post(client, path, {**TOOL, "input": {"to": "bob"}})["decision"] == "require_approval"
        event = one_acts(client, path, here)
        events = client.get("/v1/events", params={"stream_type": "room", "stream_id": room, "limit": 200}).json()[
            "events"
        ]
        used = next(one for one in events if one["event_type"] == "approval.consumed")
        assert (used["recorded_at"], used["stream_seq"]) == (event["recorded_at"], event["stream_seq"] - 1)

        # In the workspace's: used before the act.
        path = step_in(client, room)
        there = approve(client, action_digest=post(client, path, TOOL)["action_digest"])
        one_acts(client, path, there)

        # A grant is counted, and ends when it is revoked.
        grant = approve(client, room_id=room, scope={"type": "room"})
        for number in (1, 2):
            path = step_in(client, room)
            assert "tool_call_id" in post(client, path, TOOL)
            assert approval(client, grant)["uses"] == number
        post(client, f"/v1/grants/{grant}/revoke")
        assert post(client, step_in(client, room), TOOL)["decision"] == "require_approval"
