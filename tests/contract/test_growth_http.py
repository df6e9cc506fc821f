"""Incidents, experiments, scorecards, lessons and evidence from outside: answers, refusals, lists."""

import asyncio
from collections.abc import Iterator
from typing import Any
from uuid import uuid4  # noqa: TID251 - a test's own workspace

import httpx
import pytest

from tests.fixtures.stack import Stack, wait_until


@pytest.fixture
def workspace() -> str:
    return f"ws_{uuid4().hex[:12]}"


@pytest.fixture
def client(stack: Stack, workspace: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.url, headers={"x-workspace-id": workspace}, timeout=20) as made:
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


@pytest.fixture
def room(client: httpx.Client) -> str:
    return str(make(client, "/v1/rooms", {"title": "Ops"})["room_id"])


def run_of(client: httpx.Client, room: str, **members: Any) -> str:
    return str(make(client, "/v1/runs", {"room_id": room, **members})["run_id"])


def done(client: httpx.Client, room: str, end: str = "complete", **members: Any) -> str:
    """A run with a step, a tool call and an artifact, that has ended."""
    run = run_of(client, room, **members)
    make(client, f"/v1/runs/{run}/start", status=200)
    step = make(client, f"/v1/runs/{run}/steps", {"kind": "work"})["step_id"]
    call = make(client, f"/v1/steps/{step}/toolcalls", {"tool_name": "echo"})["tool_call_id"]
    make(client, f"/v1/toolcalls/{call}/succeed", status=200)
    make(client, f"/v1/steps/{step}/artifacts", {"kind": "note", "content": {"type": "text", "text": "hello"}})
    make(client, f"/v1/runs/{run}/{end}", status=200)
    return run


def test_the_life_of_an_incident(client: httpx.Client, room: str) -> None:
    opened = make(client, "/v1/incidents", {"title": "Disk full", "room_id": room, "severity": "warning"})
    assert opened["deduped"] is False
    path = f"/v1/incidents/{opened['incident_id']}"
    row = read(client, path)["incident"]
    assert (row["status"], row["severity"], row["room_id"], row["rca"]) == ("open", "low", room, {})
    assert (row["created_by_type"], row["created_by_id"], row["learning_count"]) == ("user", "ceo", 0)

    refused(client.post(f"{path}/close", json={}), 409, "incident_close_blocked_missing_rca")
    refused(client.post(f"{path}/rca", json={}), 400, "missing_rca_payload")
    make(client, f"{path}/rca", {"summary": "logs", "analysis": {"cause": "rotation"}}, 200)
    refused(client.post(f"{path}/close", json={}), 409, "incident_close_blocked_missing_learning")
    refused(client.post(f"{path}/learning", json={}), 400, "missing_note")
    learnt = make(client, f"{path}/learning", {"note": "rotate", "tags": ["logs"]})
    assert learnt["learning_id"].startswith("learn_")
    make(client, f"{path}/acknowledge", status=200)
    again = make(client, f"{path}/acknowledge", status=200)
    assert again["ok"] is True
    assert make(client, f"{path}/close", {"reason": "fixed"}, 200)["ok"] is True

    told = read(client, path)
    row = told["incident"]
    assert (row["status"], row["closed_reason"], row["learning_count"]) == ("closed", "fixed", 1)
    assert row["rca"] == {"cause": "rotation", "summary": "logs"}
    assert None not in (row["rca_updated_at"], row["acknowledged_at"], row["closed_at"])
    (learning,) = told["learning"]
    assert (learning["learning_id"], learning["note"], learning["tags"]) == (learnt["learning_id"], "rotate", ["logs"])

    refused(client.post(f"{path}/close", json={}), 409, "incident_already_closed")
    for verb, body in (("rca", {"summary": "x"}), ("learning", {"note": "x"})):
        refused(client.post(f"{path}/{verb}", json=body), 409, "incident_closed")
    events = read(client, "/v1/events", stream_type="room", stream_id=room)["events"]
    assert [event["event_type"] for event in events if event["entity_type"] == "incident"] == [
        "incident.opened",
        "incident.rca.updated",
        "incident.learning.logged",
        "incident.acknowledged",
        "incident.closed",
    ]


def test_what_is_wrong_with_an_incident_is_told(client: httpx.Client, room: str) -> None:
    for body, status, code in (
        ({}, 400, "missing_title"),
        ({"title": "x", "severity": "huge"}, 400, "invalid_severity"),
        ({"title": "x", "idempotency_key": "k" * 201}, 400, "invalid_idempotency_key"),
        ({"title": "x", "room_id": "room_none"}, 404, "room_not_found"),
        ({"title": "x", "thread_id": "th_none"}, 404, "thread_not_found"),
        ({"title": "x", "run_id": "run_none"}, 404, "run_not_found"),
    ):
        refused(client.post("/v1/incidents", json=body), status, code)
    other = make(client, "/v1/rooms", {"title": "Other"})["room_id"]
    thread = make(client, f"/v1/rooms/{other}/threads", {"title": "T"})["thread_id"]
    mine = make(client, f"/v1/rooms/{room}/threads", {"title": "T"})["thread_id"]
    run = run_of(client, room, thread_id=mine)
    wrong = {"title": "x", "run_id": run}
    refused(client.post("/v1/incidents", json={**wrong, "room_id": other}), 400, "run_room_mismatch")
    refused(client.post("/v1/incidents", json={**wrong, "thread_id": thread}), 400, "run_thread_mismatch")
    refused(
        client.post("/v1/incidents", json={"title": "x", "room_id": room, "thread_id": thread}), 404, "thread_not_found"
    )
    for verb in ("acknowledge", "rca", "learning", "close"):
        refused(client.post(f"/v1/incidents/inc_none/{verb}", json={}), 404, "incident_not_found")
    refused(client.get("/v1/incidents/inc_none"), 404, "incident_not_found")
    refused(client.get("/v1/incidents", params={"status": "lost"}), 400, "invalid_status")
    refused(client.get("/v1/incidents", params={"limit": "0"}), 400, "invalid_limit")
    refused(client.get("/v1/incidents", params={"cursor": "x"}), 400, "invalid_cursor")


def test_an_incident_of_a_run_is_where_the_run_is(client: httpx.Client, room: str) -> None:
    thread = make(client, f"/v1/rooms/{room}/threads", {"title": "T"})["thread_id"]
    run = run_of(client, room, thread_id=thread, correlation_id="corr-7")
    incident = make(client, "/v1/incidents", {"summary": "it broke", "run_id": run})["incident_id"]
    row = read(client, f"/v1/incidents/{incident}")["incident"]
    assert (row["room_id"], row["thread_id"], row["run_id"], row["correlation_id"]) == (room, thread, run, "corr-7")
    assert (row["title"], row["summary"]) == ("it broke", "it broke")


async def test_a_hundred_opens_with_one_key_give_one_incident(stack: Stack, workspace: str) -> None:
    limits = httpx.Limits(max_connections=100)
    async with httpx.AsyncClient(
        base_url=stack.url, headers={"x-workspace-id": workspace}, limits=limits, timeout=30
    ) as client:
        room = (await client.post("/v1/rooms", json={"title": "Ops"})).json()["room_id"]
        body = {"title": "Disk full", "room_id": room, "idempotency_key": "disk"}
        answers = await asyncio.gather(*(client.post("/v1/incidents", json=body) for _ in range(100)))
        assert sorted(answer.status_code for answer in answers) == [200] * 99 + [201]
        assert sum(answer.json()["deduped"] for answer in answers) == 99
        assert len({answer.json()["incident_id"] for answer in answers}) == 1
        events = (await client.get("/v1/events", params={"event_type": "incident.opened"})).json()["events"]
        assert [event["idempotency_key"] for event in events] == ["disk"]


async def test_one_key_in_many_rooms_at_once_opens_one_incident(stack: Stack, workspace: str) -> None:
    async with httpx.AsyncClient(base_url=stack.url, headers={"x-workspace-id": workspace}, timeout=30) as client:
        made = [(await client.post("/v1/rooms", json={"title": "R"})).json()["room_id"] for _ in range(10)]
        bodies = [{"title": "x", "room_id": room, "idempotency_key": "k"} for room in made]
        answers = await asyncio.gather(*(client.post("/v1/incidents", json=body) for body in bodies))
        assert sorted(answer.status_code for answer in answers) == [201] + [409] * 9
        codes = {answer.json().get("error") for answer in answers} - {None}
        assert codes == {"idempotency_conflict_unresolved"}


def test_a_key_is_unique_within_its_workspace(client: httpx.Client, stack: Stack, room: str) -> None:
    body = {"title": "x", "idempotency_key": "k"}
    one = make(client, "/v1/incidents", body)
    assert make(client, "/v1/incidents", {**body, "title": "y"}, 200) == {
        **one,
        "deduped": True,
        "incident_id": one["incident_id"],
    }
    refused(client.post("/v1/incidents", json={**body, "room_id": room}), 409, "idempotency_conflict_unresolved")
    with httpx.Client(base_url=stack.url, headers={"x-workspace-id": f"ws_{uuid4().hex[:12]}"}) as stranger:
        other = make(stranger, "/v1/incidents", body)
        assert other["incident_id"] != one["incident_id"]
        refused(stranger.get(f"/v1/incidents/{one['incident_id']}"), 404, "incident_not_found")
        refused(
            stranger.post(f"/v1/incidents/{one['incident_id']}/rca", json={"summary": "x"}), 404, "incident_not_found"
        )


def test_incidents_are_listed_by_room_and_status_in_pages(client: httpx.Client, room: str) -> None:
    made = [make(client, "/v1/incidents", {"title": str(n), "room_id": room}) for n in range(5)]
    elsewhere = make(client, "/v1/incidents", {"title": "elsewhere"})["incident_id"]
    closed = f"/v1/incidents/{made[0]['incident_id']}"
    make(client, f"{closed}/rca", {"summary": "x"}, 200)
    make(client, f"{closed}/learning", {"note": "x"})
    last = make(client, f"{closed}/close", status=200)
    position = f"room/{room}@{last['stream_seq']}"

    def ids(**query: Any) -> list[str]:
        rows = read(client, "/v1/incidents", min_position=position, **query)["incidents"]
        return [row["incident_id"] for row in rows]

    assert ids(status="closed") == [made[0]["incident_id"]]
    assert set(ids(room_id=room)) == {one["incident_id"] for one in made}
    assert set(ids(room_id=room, status="open")) == {one["incident_id"] for one in made[1:]}
    wait_until(lambda: elsewhere in ids(), 5)
    assert ids(room_id="room_none") == []
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = read(client, "/v1/incidents", room_id=room, limit=2, **({"cursor": cursor} if cursor else {}))
        seen += [row["incident_id"] for row in page["incidents"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) == 5


PLAN = {"title": "Shorter", "hypothesis": "Half is enough", "budget_cap_units": 50, "risk_tier": "low"}


def test_the_life_of_an_experiment(client: httpx.Client, room: str) -> None:
    experiment = make(client, "/v1/experiments", {**PLAN, "room_id": room, "success_criteria": {"q": 0.9}})
    path = f"/v1/experiments/{experiment['experiment_id']}"
    run = run_of(client, room, experiment_id=experiment["experiment_id"])
    problem = refused(client.post(f"{path}/close", json={}), 409, "experiment_has_active_runs")
    assert problem["active_run_count"] == 1
    make(client, f"/v1/runs/{run}/start", status=200)
    make(client, f"/v1/runs/{run}/complete", status=200)
    make(client, f"{path}/update", {"budget_cap_units": 75, "metadata": {"note": "more"}}, 200)
    row = read(client, path)["experiment"]
    assert (row["budget_cap_units"], row["title"], row["metadata"]) == (75, "Shorter", {"note": "more"})
    assert row["success_criteria"] == {"q": 0.9}
    closed = make(client, f"{path}/close", {"reason": "enough"}, 200)
    assert (closed["ok"], closed["status"], closed["active_run_count"]) == (True, "closed", 0)
    row = read(client, path)["experiment"]
    assert (row["status"], row["closed_reason"], row["closed_at"] is None) == ("closed", "enough", False)
    for verb in ("update", "close"):
        refused(client.post(f"{path}/{verb}", json={}), 409, "experiment_not_open")
    refused(
        client.post("/v1/runs", json={"room_id": room, "experiment_id": experiment["experiment_id"]}),
        409,
        "experiment_not_open",
    )


def test_an_experiment_is_stopped_by_force(client: httpx.Client, room: str) -> None:
    experiment = make(client, "/v1/experiments", PLAN)["experiment_id"]
    run_of(client, room, experiment_id=experiment)
    stopped = make(client, f"/v1/experiments/{experiment}/close", {"force": True}, 200)
    assert (stopped["status"], stopped["active_run_count"]) == ("stopped", 1)
    rows = read(
        client,
        "/v1/experiments",
        status="stopped",
        min_position=f"{stopped['stream_type']}/{stopped['stream_id']}@{stopped['stream_seq']}",
    )["experiments"]
    assert [row["experiment_id"] for row in rows] == [experiment]


def test_what_is_wrong_with_an_experiment_is_told(client: httpx.Client, room: str) -> None:
    for change, status, code in (
        ({"title": ""}, 400, "missing_title"),
        ({"hypothesis": ""}, 400, "missing_hypothesis"),
        ({"budget_cap_units": -1}, 400, "invalid_budget_cap_units"),
        ({"budget_cap_units": None}, 400, "invalid_budget_cap_units"),
        ({"risk_tier": "huge"}, 400, "invalid_risk_tier"),
        ({"room_id": "room_none"}, 404, "room_not_found"),
    ):
        refused(client.post("/v1/experiments", json={**PLAN, **change}), status, code)
    for verb in ("update", "close"):
        refused(client.post(f"/v1/experiments/exp_none/{verb}", json={}), 404, "experiment_not_found")
    refused(client.get("/v1/experiments/exp_none"), 404, "experiment_not_found")
    refused(client.get("/v1/experiments", params={"status": "lost"}), 400, "invalid_status")
    elsewhere = make(client, "/v1/rooms", {"title": "Other"})["room_id"]
    experiment = make(client, "/v1/experiments", {**PLAN, "room_id": elsewhere})["experiment_id"]
    refused(
        client.post("/v1/runs", json={"room_id": room, "experiment_id": experiment}), 400, "experiment_room_mismatch"
    )
    refused(
        client.post(f"/v1/experiments/{experiment}/update", json={"budget_cap_units": -1}),
        400,
        "invalid_budget_cap_units",
    )


CARD = {"template_key": "quality", "template_version": "1", "metrics": [{"key": "q", "value": 0.9}]}


def test_evidence_scorecard_and_lesson_of_a_run(client: httpx.Client, room: str) -> None:
    experiment = make(client, "/v1/experiments", {**PLAN, "room_id": room})["experiment_id"]
    run = done(client, room, experiment_id=experiment)
    finalized = client.post(f"/v1/runs/{run}/evidence/finalize", json={})
    assert finalized.status_code in (200, 201)  # the engine service may have been quicker
    evidence = read(client, f"/v1/runs/{run}/evidence")["evidence"]
    assert finalized.json()["evidence"] == evidence
    again = make(client, f"/v1/runs/{run}/evidence/finalize", status=200)
    assert (again["created"], again["evidence"]) == (False, evidence)
    assert (evidence["run_status"], evidence["event_count"]) == ("succeeded", 7)
    assert evidence["manifest"]["completeness"]["all_toolcalls_terminal"] is True
    assert [len(evidence["manifest"]["pointers"][name]) for name in ("step_ids", "tool_call_ids", "artifact_ids")] == [
        1,
        1,
        1,
    ]
    refused(
        client.post("/v1/scorecards", json={**CARD, "requires_evidence": True}), 400, "missing_evidence_for_template"
    )
    scorecard = make(
        client,
        "/v1/scorecards",
        {
            **CARD,
            "requires_evidence": True,
            "run_id": run,
            "evidence_id": evidence["evidence_id"],
            "experiment_id": experiment,
        },
    )
    row = read(client, f"/v1/scorecards/{scorecard['scorecard_id']}")["scorecard"]
    assert (row["score"], row["decision"], row["run_id"]) == (0.9, "pass", run)
    assert row["metrics"] == [{"key": "q", "value": 0.9, "weight": 1}]
    for query in ({"run_id": run}, {"experiment_id": experiment}, {}):
        listed = read(client, "/v1/scorecards", **query)["scorecards"]
        assert [one["scorecard_id"] for one in listed] == [scorecard["scorecard_id"]]
    assert read(client, "/v1/scorecards", agent_id="agt_none")["scorecards"] == []

    lesson = make(
        client,
        "/v1/lessons",
        {"category": "evaluation", "summary": "Score first", "run_id": run, "scorecard_id": scorecard["scorecard_id"]},
    )
    position = f"workspace/{lesson['stream_id']}@{lesson['stream_seq']}"
    for query in ({"run_id": run}, {"scorecard_id": scorecard["scorecard_id"]}, {}):
        listed = read(client, "/v1/lessons", min_position=position, **query)["lessons"]
        assert [one["lesson_id"] for one in listed] == [lesson["lesson_id"]]


def test_what_is_wrong_with_scorecards_and_lessons_is_told(client: httpx.Client, room: str) -> None:
    for change, status, code in (
        ({"template_key": ""}, 400, "missing_template_key"),
        ({"template_version": ""}, 400, "missing_template_version"),
        ({"metrics": []}, 400, "invalid_metrics"),
        ({"metrics": [{"key": "a", "value": 1}] * 2}, 400, "invalid_metrics"),
        ({"experiment_id": "exp_none"}, 404, "experiment_not_found"),
        ({"run_id": "run_none"}, 404, "run_not_found"),
        ({"evidence_id": "evd_none"}, 404, "evidence_not_found"),
        ({"agent_id": "agt_none"}, 404, "agent_not_found"),
        ({"principal_id": "nobody"}, 404, "principal_not_found"),
    ):
        refused(client.post("/v1/scorecards", json={**CARD, **change}), status, code)
    refused(client.get("/v1/scorecards/scd_none"), 404, "scorecard_not_found")
    run, other = done(client, room), run_of(client, room)
    evidence = client.post(f"/v1/runs/{run}/evidence/finalize", json={}).json()["evidence"]["evidence_id"]
    refused(
        client.post("/v1/scorecards", json={**CARD, "run_id": other, "evidence_id": evidence}),
        400,
        "evidence_run_mismatch",
    )
    lesson = {"category": "c", "summary": "s"}
    for body, status, code in (
        ({"summary": "s"}, 400, "missing_category"),
        ({"category": "c"}, 400, "missing_summary"),
        (lesson, 400, "lesson_context_required"),
        ({**lesson, "experiment_id": "exp_none"}, 404, "experiment_not_found"),
        ({**lesson, "run_id": "run_none"}, 404, "run_not_found"),
        ({**lesson, "scorecard_id": "scd_none"}, 404, "scorecard_not_found"),
        ({**lesson, "incident_id": "inc_none"}, 404, "incident_not_found"),
    ):
        refused(client.post("/v1/lessons", json=body), status, code)


def test_evidence_needs_a_run_that_has_ended(client: httpx.Client, stack: Stack, room: str) -> None:
    run = run_of(client, room)
    refused(client.get(f"/v1/runs/{run}/evidence"), 404, "evidence_not_found")
    refused(client.get("/v1/runs/run_none/evidence"), 404, "evidence_not_found")
    refused(client.post(f"/v1/runs/{run}/evidence/finalize", json={}), 409, "run_not_ended")
    refused(client.post("/v1/runs/run_none/evidence/finalize", json={}), 404, "run_not_found")
    make(client, f"/v1/runs/{run}/cancel", status=200)
    client.post(f"/v1/runs/{run}/evidence/finalize", json={})
    assert read(client, f"/v1/runs/{run}/evidence")["evidence"]["run_status"] == "cancelled"
    with httpx.Client(base_url=stack.url, headers={"x-workspace-id": f"ws_{uuid4().hex[:12]}"}) as stranger:
        refused(stranger.get(f"/v1/runs/{run}/evidence"), 404, "evidence_not_found")
        refused(stranger.post(f"/v1/runs/{run}/evidence/finalize", json={}), 404, "run_not_found")


async def test_evidence_is_made_once_however_many_ask(stack: Stack, workspace: str) -> None:
    async with httpx.AsyncClient(base_url=stack.url, headers={"x-workspace-id": workspace}, timeout=30) as client:
        room = (await client.post("/v1/rooms", json={"title": "Ops"})).json()["room_id"]
        run = (await client.post("/v1/runs", json={"room_id": room})).json()["run_id"]
        await client.post(f"/v1/runs/{run}/fail", json={"message": "boom"})
        path = f"/v1/runs/{run}/evidence/finalize"
        answers = await asyncio.gather(*(client.post(path, json={}) for _ in range(20)))
        assert {answer.status_code for answer in answers} <= {200, 201}
        assert len({answer.json()["evidence"]["last_event_id"] for answer in answers}) == 1
        events = (await client.get("/v1/events", params={"event_type": "evidence.manifest.created"})).json()["events"]
        assert [event["idempotency_key"] for event in events] == [f"evidence_manifest:{run}"]


def test_lists_hold_nothing_of_another_workspace(client: httpx.Client, stack: Stack, room: str) -> None:
    make(client, "/v1/incidents", {"title": "x", "room_id": room})
    make(client, "/v1/experiments", PLAN)
    with httpx.Client(base_url=stack.url, headers={"x-workspace-id": f"ws_{uuid4().hex[:12]}"}) as stranger:
        for noun in ("incidents", "experiments", "scorecards", "lessons"):
            assert read(stranger, f"/v1/{noun}") == {noun: [], "next_cursor": None}
        assert read(stranger, "/v1/incidents", room_id=room)["incidents"] == []


def test_the_same_commands_go_in_bulk(client: httpx.Client, room: str) -> None:
    run = done(client, room)
    commands = [
        {"type": "incident.open", "body": {"title": "x", "room_id": room, "idempotency_key": "b"}},
        {"type": "incident.open", "body": {"title": "x", "room_id": room, "idempotency_key": "b"}},
        {"type": "evidence.finalize", "body": {"run_id": run}},
        {"type": "lesson.log", "body": {"category": "c", "summary": "s", "run_id": run}},
    ]
    results = make(client, "/v1/commands", {"commands": commands}, 200)["results"]
    assert [result.get("deduped") for result in results[:2]] == [False, True]
    assert [result["status"] for result in results[:2]] == [201, 200]
    assert results[2]["evidence"]["run_id"] == run
    assert results[3]["lesson_id"].startswith("les_")


def test_a_run_that_ends_gets_its_evidence_by_itself(client: httpx.Client, room: str) -> None:
    run = done(client, room)
    evidence = read(client, f"/v1/runs/{run}/evidence")["evidence"]  # asked at once, it waits
    assert (evidence["run_id"], evidence["run_status"]) == (run, "succeeded")


def test_a_failed_run_opens_an_incident_that_is_listed(client: httpx.Client, workspace: str, room: str) -> None:
    run = done(client, room, "fail")

    def found() -> list[dict[str, Any]]:
        return list(read(client, "/v1/incidents", room_id=room)["incidents"])

    wait_until(lambda: found() != [], 10)
    (row,) = found()
    assert (row["run_id"], row["category"], row["severity"], row["title"]) == (
        run,
        "run_failed",
        "high",
        "Run failed triage",
    )
    same = {"title": "again", "run_id": run, "idempotency_key": f"incident:run_failed:{workspace}:{run}"}
    assert make(client, "/v1/incidents", same, 200)["incident_id"] == row["incident_id"]


@pytest.mark.parametrize(
    ("actor", "told"),
    [
        ({}, ("user", "ceo")),
        ({"actor_type": "user"}, ("user", "ceo")),
        ({"actor_type": "service"}, ("service", "api")),
        ({"actor_type": "agent", "actor_id": "watcher"}, ("agent", "watcher")),
    ],
)
def test_who_acts_when_little_is_said(client: httpx.Client, actor: dict[str, str], told: tuple[str, str]) -> None:
    incident = make(client, "/v1/incidents", {"title": "x", **actor})["incident_id"]
    row = read(client, f"/v1/incidents/{incident}")["incident"]
    assert (row["created_by_type"], row["created_by_id"]) == told
