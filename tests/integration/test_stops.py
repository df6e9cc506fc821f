"""Whatever stops an agent counts from its answer on, while many ask at once."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event
from typing import Any, NamedTuple
from uuid import uuid4  # noqa: TID251 - a test's own workspace

import httpx
import pytest

from tests.fixtures.stack import Stack

CLIENTS = 6
ROUNDS = 10


class Asked(NamedTuple):
    """One answer of the gate, and when it was asked for and given."""

    began: float
    ended: float
    decision: str
    reason_code: str


@pytest.fixture
def client(stack: Stack) -> Iterator[httpx.Client]:
    headers = {"x-workspace-id": f"ws_{uuid4().hex[:12]}"}
    limits = httpx.Limits(max_connections=CLIENTS + 2)
    with httpx.Client(base_url=stack.url, headers=headers, timeout=20, limits=limits) as made:
        yield made


def post(client: httpx.Client, path: str, **body: Any) -> dict[str, Any]:
    answer = client.post(path, json=body)
    assert answer.status_code in (200, 201), answer.text
    made: dict[str, Any] = answer.json()
    return made


def asking(client: httpx.Client, wish: dict[str, Any], stop: Event, started: Event) -> list[Asked]:
    """Ask the gate again and again, until told to stop."""
    told: list[Asked] = []
    while not stop.is_set():
        began = time.monotonic()
        answer = post(client, "/v1/policy/evaluate", **wish)
        told.append(Asked(began, time.monotonic(), answer["decision"], answer["reason_code"]))
        started.set()
    return told


def during(client: httpx.Client, wish: dict[str, Any], act: Callable[[], object]) -> tuple[float, list[Asked]]:
    """When an act was answered, and what others were answered who asked before, while and after it was done."""
    stop, started = Event(), Event()
    with ThreadPoolExecutor(CLIENTS) as pool:
        running = [pool.submit(asking, client, wish, stop, started) for _ in range(CLIENTS)]
        assert started.wait(10)
        act()
        answered = time.monotonic()
        for _ in range(3):
            post(client, "/v1/policy/evaluate", **wish)
        stop.set()
        return answered, [one for each in running for one in each.result()]


def no_more_after(answered: float, told: list[Asked], reason_code: str) -> float:
    """Check that nothing was allowed that was asked for after the answer.

    Returns:
        Seconds from the answer to the last allowed answer that was still under way; negative when there was none.
    """
    assert any(one.decision == "allow" for one in told)
    later = [one for one in told if one.began > answered]
    assert {(one.decision, one.reason_code) for one in later} <= {("deny", reason_code)}
    return max(one.ended for one in told if one.decision == "allow") - answered


def test_a_kill_switch_leaves_no_gap(client: httpx.Client) -> None:
    wish = {"action": "external.write"}
    approval = post(client, "/v1/approvals", action="external.write", scope={"type": "workspace"})["approval_id"]
    post(client, f"/v1/approvals/{approval}/decide", decision="approve")
    switch = "/v1/policy/kill-switch"
    for _ in range(ROUNDS):
        answered, told = during(client, wish, lambda: post(client, switch, action="engage"))
        assert no_more_after(answered, told, "kill_switch_active") < 1
        post(client, switch, action="release", reason="next round")


def test_quarantine_leaves_no_gap(client: httpx.Client) -> None:
    made = post(client, "/v1/agents", display_name="Watcher")
    path = f"/v1/agents/{made['agent_id']}"
    wish = {
        "action": "note.write",
        "actor_type": "agent",
        "actor_id": made["agent_id"],
        "principal_id": made["principal_id"],
    }
    for _ in range(ROUNDS):
        answered, told = during(client, wish, lambda: post(client, f"{path}/quarantine"))
        no_more_after(answered, told, "agent_quarantined")
        post(client, f"{path}/unquarantine")


def test_taking_back_an_ancestor_leaves_no_gap(client: httpx.Client) -> None:
    names = ("ada", "bob", "eve")
    ada, bob, eve = (
        post(client, "/v1/principals/legacy/ensure", actor_type="user", actor_id=name)["principal"]["principal_id"]
        for name in names
    )
    scopes = {"action_types": ["note.write"]}
    for _ in range(ROUNDS):
        given = {"issued_to_principal_id": bob, "granted_by_principal_id": ada, "scopes": scopes}
        root = post(client, "/v1/capabilities/grant", **given)["token_id"]
        handed = {"issued_to_principal_id": eve, "granted_by_principal_id": bob, "scopes": scopes}
        child = post(client, "/v1/capabilities/grant", **handed, parent_token_id=root)["token_id"]
        wish = {"action": "note.write", "actor_id": "eve", "principal_id": eve, "capability_token_id": child}
        answered, told = during(client, wish, partial(post, client, "/v1/capabilities/revoke", token_id=root))
        no_more_after(answered, told, "capability_token_revoked")


TOOL = {"tool_name": "shell", "input": {"command": "ls"}}


def calls_until_stopped(client: httpx.Client, wish: dict[str, Any], stop: Callable[[], object], by: str) -> None:
    """Many call tools while somebody stops them: of what is on record nothing was done after the stop was."""
    room = post(client, "/v1/rooms", title="Ops")["room_id"]
    run = post(client, "/v1/runs", room_id=room)["run_id"]
    post(client, f"/v1/runs/{run}/start")
    step = post(client, f"/v1/runs/{run}/steps", kind="work")["step_id"]
    halted, started = Event(), Event()

    def calling() -> list[str]:
        told = []
        while not halted.is_set():
            answer = post(client, f"/v1/steps/{step}/toolcalls", **TOOL, **wish)
            told.append(answer.get("reason_code") or "done")
            started.set()
        return told

    with ThreadPoolExecutor(CLIENTS) as pool:
        running = [pool.submit(calling) for _ in range(CLIENTS)]
        assert started.wait(10)
        stop()
        after = post(client, f"/v1/steps/{step}/toolcalls", **TOOL, **wish)
        halted.set()
        told = {one for each in running for one in each.result()}
    assert after["reason_code"] == by
    assert "done" in told
    assert told <= {"done", by}
    own = {"stream_type": "workspace", "stream_id": client.headers["x-workspace-id"]}
    events = client.get("/v1/events", params=own).json()["events"]
    stops = ("kill_switch.engaged", "agent.quarantined", "agent.capability.revoked")
    at = max(one["recorded_at"] for one in events if one["event_type"] in stops)
    acts = client.get("/v1/events", params={"stream_type": "room", "stream_id": room, "event_type": "tool.invoked"})
    # One process records one after the other; what has the same millisecond may have come before.
    assert [one["recorded_at"] for one in acts.json()["events"] if one["recorded_at"] > at] == []


@pytest.mark.parametrize("scope", ["workspace", "tool"])
def test_no_tool_is_called_after_a_switch_was_engaged(client: httpx.Client, scope: str) -> None:
    switch = {"scope": scope, "target": "shell"} if scope == "tool" else {"scope": scope}
    engage = partial(post, client, "/v1/policy/kill-switch", action="engage", **switch)
    calls_until_stopped(client, {}, engage, "kill_switch_active")


def test_no_tool_is_called_after_the_agent_was_put_into_quarantine(client: httpx.Client) -> None:
    made = post(client, "/v1/agents", display_name="Watcher")
    wish = {"actor_type": "agent", "actor_id": made["agent_id"], "principal_id": made["principal_id"]}
    quarantine = partial(post, client, f"/v1/agents/{made['agent_id']}/quarantine")
    calls_until_stopped(client, wish, quarantine, "agent_quarantined")


def test_no_tool_is_called_by_a_capability_after_it_was_taken_back(client: httpx.Client) -> None:
    ada, bob = (
        post(client, "/v1/principals/legacy/ensure", actor_type="user", actor_id=name)["principal"]["principal_id"]
        for name in ("ada", "bob")
    )
    given = {"issued_to_principal_id": bob, "granted_by_principal_id": ada, "scopes": {"tools": ["*"]}}
    token = post(client, "/v1/capabilities/grant", **given)["token_id"]
    wish = {"actor_id": "bob", "principal_id": bob, "capability_token_id": token}
    revoke = partial(post, client, "/v1/capabilities/revoke", token_id=token)
    calls_until_stopped(client, wish, revoke, "capability_token_revoked")
