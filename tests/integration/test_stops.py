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
