"""Kill switches over HTTP, and what they stop."""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4  # noqa: TID251 - a test's own workspace

import httpx
import pytest

from tests.fixtures.stack import Stack

PATH = "/v1/policy/kill-switch"
NO_STOPS = {"requested": 0, "observed": 0, "complete": True, "runs": []}


def client_of(stack: Stack) -> httpx.Client:
    return httpx.Client(base_url=stack.url, headers={"x-workspace-id": f"ws_{uuid4().hex[:12]}"}, timeout=20)


@pytest.fixture
def client(stack: Stack) -> Iterator[httpx.Client]:
    with client_of(stack) as made:
        yield made


def post(client: httpx.Client, path: str, **body: Any) -> dict[str, Any]:
    answer = client.post(path, json=body)
    assert answer.status_code in (200, 201), answer.text
    made: dict[str, Any] = answer.json()
    return made


def told(client: httpx.Client) -> dict[str, Any]:
    answer = client.get(PATH)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]


def verdict(client: httpx.Client, action: str, **members: Any) -> str:
    decided: str = post(client, "/v1/policy/evaluate", action=action, **members)["reason_code"]
    return decided


def test_nothing_is_stopped_at_first(client: httpx.Client) -> None:
    assert told(client) == {"engaged": False, "switches": [], "stops": NO_STOPS}
    untouched = client.post(PATH, json={"action": "release", "reason": "to be sure"})
    assert code(untouched) == (409, "kill_switch_not_engaged")


def test_engage_and_release(client: httpx.Client) -> None:
    first = post(client, PATH, action="engage", reason="odd letters", actor_id="ada")
    assert first["switches"] == [{"scope": "external_write", "target": None, "reason": "odd letters"}]
    room_id = post(client, "/v1/rooms", title="Ops")["room_id"]
    post(client, PATH, action="engage", scope="room", target=room_id)
    room, writes = told(client)["switches"]
    assert (room["scope"], room["target"], room["engaged_by_id"]) == ("room", room_id, "anon")
    assert (writes["scope"], writes["target"], writes["reason"]) == ("external_write", None, "odd letters")
    assert (writes["engaged_by_type"], writes["engaged_by_id"], writes["forced"]) == ("user", "ada", False)
    again = post(client, PATH, action="engage", reason="another")
    assert len(again["switches"]) == 2
    post(client, PATH, action="release", reason="it is right again")
    assert [switch["scope"] for switch in told(client)["switches"]] == ["room"]
    elsewhere = client.get(PATH, headers={"x-workspace-id": f"ws_{uuid4().hex[:12]}"}).json()
    assert elsewhere == {"engaged": False, "switches": [], "stops": NO_STOPS}


def test_it_counts_from_the_answer_on(client: httpx.Client) -> None:
    room_id = post(client, "/v1/rooms", title="Ops")["room_id"]
    wish = {"action": "external.write", "room_id": room_id}
    approval = post(client, "/v1/approvals", **wish, scope={"type": "workspace"})["approval_id"]
    post(client, f"/v1/approvals/{approval}/decide", decision="approve")
    assert verdict(client, **wish) == "approval_allows_action"
    for _ in range(5):
        post(client, PATH, action="engage")
        assert verdict(client, **wish) == "kill_switch_active"
        assert verdict(client, "note.write", room_id=room_id) == "default_allow"
        post(client, PATH, action="release", reason="it is right again")
        assert verdict(client, **wish) == "approval_allows_action"
    post(client, PATH, action="engage", scope="workspace")
    assert verdict(client, "note.write") == "kill_switch_active"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, (400, "missing_action")),
        ({"action": "arm"}, (400, "invalid_action")),
        ({"action": "engage", "scope": "planet"}, (400, "invalid_scope")),
        ({"action": "engage", "scope": "tool"}, (400, "missing_target")),
        ({"action": "engage", "target": "x"}, (400, "invalid_target")),
        ({"action": "engage", "scope": "room", "target": "room_none"}, (404, "room_not_found")),
        ({"action": "engage", "scope": "agent", "target": "agt_none"}, (404, "agent_not_found")),
        ({"action": "release"}, (400, "missing_reason")),
        ({"action": "release", "reason": "x", "actor_type": "agent", "actor_id": "a"}, (403, "releaser_must_be_user")),
        ({"action": "engage", "expected_version": 3}, (409, "version_conflict")),
    ],
)
def test_what_is_refused(client: httpx.Client, body: dict[str, Any], expected: tuple[int, str]) -> None:
    assert code(client.post(PATH, json=body)) == expected


def test_what_the_environment_engages_is_shown_and_stays(start_stack: Callable[..., Stack]) -> None:
    stack = start_stack(env={"POLICY_KILL_SWITCH_EXTERNAL_WRITE": "1"})
    with client_of(stack) as client:
        (forced,) = told(client)["switches"]
        assert (forced["scope"], forced["forced"], forced["engaged_at"]) == ("external_write", True, None)
        released = client.post(PATH, json={"action": "release", "reason": "please"})
        assert code(released) == (409, "kill_switch_forced")
        assert verdict(client, "external.write") == "kill_switch_active"
        assert verdict(client, "note.write") == "default_allow"


def test_a_drill_tells_what_would_have_been_stopped_and_stops_nothing(client: httpx.Client) -> None:
    room_id = post(client, "/v1/rooms", title="Ops")["room_id"]
    run_id = post(client, "/v1/runs", room_id=room_id)["run_id"]
    post(client, f"/v1/runs/{run_id}/start")
    step_id = post(client, f"/v1/runs/{run_id}/steps", kind="tool")["step_id"]
    call = post(client, f"/v1/steps/{step_id}/toolcalls", tool_name="shell", input={"command": "ls"})
    post(
        client, "/v1/action-registry", action_type="invoice.send", side_effect="external_write", zone_required="sandbox"
    )
    post(client, "/v1/policy/evaluate", action="note.write", actor_id="ada")
    approval = post(client, "/v1/approvals", action="external.write", scope={"type": "workspace"})["approval_id"]
    post(client, f"/v1/approvals/{approval}/decide", decision="approve")
    allowed = post(client, "/v1/policy/evaluate", action="external.write")
    refused = post(client, "/v1/policy/evaluate", action="email.send")
    assert (allowed["decision"], refused["decision"]) == ("allow", "require_approval")

    def drilled(**query: Any) -> list[tuple[str, str | None]]:
        answer = client.get(f"{PATH}/drill", params=query)
        assert answer.status_code == 200, answer.text
        assert (answer.json()["looked_at"], answer.json()["complete"]) == (3, True)
        return [(act["action"], act["tool_name"]) for act in answer.json()["stopped"]]

    assert drilled() == [("external.write", None)]
    assert drilled(scope="tool", target="shell") == [("tool.call", "shell")]
    assert drilled(scope="tool", target="echo") == []
    assert drilled(scope="room", target=room_id) == [("tool.call", "shell")]
    assert drilled(scope="agent", target="ada") == [("note.write", None)]
    assert len(drilled(scope="workspace", minutes=1)) == 3
    (act,) = client.get(f"{PATH}/drill", params={"scope": "tool", "target": "shell"}).json()["stopped"]
    assert (act["event_id"], act["run_id"]) == (call["event_id"], run_id)
    assert told(client) == {"engaged": False, "switches": [], "stops": NO_STOPS}


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ({"scope": "planet"}, "invalid_scope"),
        ({"scope": "tool"}, "missing_target"),
        ({"scope": "tool", "target": "x" * 301}, "invalid_target"),
        ({"target": "x"}, "invalid_target"),
        ({"minutes": "0"}, "invalid_minutes"),
        ({"minutes": "1441"}, "invalid_minutes"),
        ({"minutes": "x"}, "invalid_minutes"),
    ],
)
def test_malformed_drills_are_refused(client: httpx.Client, query: dict[str, str], error: str) -> None:
    assert code(client.get(f"{PATH}/drill", params=query)) == (400, error)


def test_of_each_run_it_is_told_whether_it_was_seen_to_stop(client: httpx.Client) -> None:
    rooms = [post(client, "/v1/rooms", title=title)["room_id"] for title in ("Here", "There")]

    def started(room_id: str) -> str:
        run_id: str = post(client, "/v1/runs", room_id=room_id)["run_id"]
        post(client, f"/v1/runs/{run_id}/start")
        return run_id

    def asked(after: dict[str, Any]) -> tuple[int, int, dict[str, str | None]]:
        where = f"{after['stream_type']}/{after['stream_id']}@{after['stream_seq']}"
        answer = client.get(f"{PATH}/runs", params={"min_position": where})
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert found["complete"] is True
        return found["requested"], found["observed"], {run["run_id"]: run["stop_observed_at"] for run in found["runs"]}

    over, first, second, other = started(rooms[0]), started(rooms[0]), started(rooms[0]), started(rooms[1])
    last = post(client, f"/v1/runs/{over}/complete")
    assert asked(last) == (0, 0, {})
    last = post(client, PATH, action="engage", scope="external_write")
    assert asked(last) == (0, 0, {})
    last = post(client, PATH, action="engage", scope="room", target=rooms[0])
    assert asked(last) == (2, 0, {first: None, second: None})
    last = post(client, f"/v1/runs/{first}/cancel", reason="stopped")
    requested, observed, runs = asked(last)
    assert (requested, observed, set(runs)) == (2, 1, {first, second})
    assert runs[first] is not None
    last = post(client, PATH, action="engage", scope="workspace")
    requested, observed, runs = asked(last)
    assert (requested, observed, runs[other]) == (3, 1, None)
    post(client, PATH, action="release", scope="room", target=rooms[0], reason="it is right again")
    last = post(client, PATH, action="release", scope="workspace", reason="it is right again")
    assert asked(last) == (0, 0, {})
    assert code(client.get(f"{PATH}/runs", params={"min_position": "x"})) == (400, "invalid_min_position")


def test_a_run_goes_with_the_agent_that_claimed_it(client: httpx.Client) -> None:
    room_id = post(client, "/v1/rooms", title="Ops")["room_id"]
    run_id = post(client, "/v1/runs", room_id=room_id)["run_id"]
    lease = post(client, "/v1/runs/claim", actor_id="watcher")["run"]
    last = post(client, PATH, action="engage", scope="agent", target="watcher")
    where = f"{last['stream_type']}/{last['stream_id']}@{last['stream_seq']}"
    (run,) = client.get(f"{PATH}/runs", params={"min_position": where}).json()["runs"]
    assert (run["run_id"], run["actor_id"], run["stop_observed_at"]) == (run_id, "watcher", None)
    freed = client.post(f"/v1/runs/{run_id}/lease/release", json={"claim_token": lease["claim_token"]})
    assert freed.status_code == 200, freed.text
    (run,) = client.get(f"{PATH}/runs", params={"min_position": "room/" + room_id + "@5"}).json()["runs"]
    assert (run["status"], run["stop_observed_at"] is None) == ("queued", False)
