"""Runs, attempts, steps, tool calls, artifacts and the pipeline as a client reads them, and events newest first."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4  # noqa: TID251 - a test's own workspace

import httpx
import pytest

from tests.fixtures.stack import Stack

RUN_ROW = {
    *("run_id", "workspace_id", "room_id", "thread_id", "experiment_id", "status", "title", "goal", "input", "output"),
    *("error", "tags", "claim_token", "claimed_by_actor_id", "lease_expires_at", "lease_heartbeat_at", "created_at"),
    *("started_at", "ended_at", "updated_at", "correlation_id", "last_event_id", "attempt_no", "max_attempts"),
    *("priority", "timeout_s", "zone"),
}
STEP_ROW = {
    *("step_id", "run_id", "workspace_id", "room_id", "thread_id", "kind", "status", "title", "input", "output"),
    *("error", "created_at", "updated_at", "last_event_id"),
}
CALL_ROW = {
    *("tool_call_id", "workspace_id", "room_id", "thread_id", "run_id", "step_id", "tool_name", "title", "status"),
    *("input", "output", "error", "started_at", "ended_at", "updated_at", "correlation_id", "last_event_id"),
}
ARTIFACT_ROW = {
    *("artifact_id", "workspace_id", "room_id", "thread_id", "run_id", "step_id", "kind", "title", "mime_type"),
    *("size_bytes", "sha256", "content_type", "content_text", "content_json", "content_uri", "metadata"),
    *("created_at", "updated_at", "correlation_id", "last_event_id"),
}
ATTEMPT_ROW = {
    *("run_attempt_id", "run_id", "workspace_id", "room_id", "attempt_no", "claim_token", "claimed_by_actor_id"),
    *("actor_principal_id", "engine_id", "claimed_at", "released_at", "release_reason", "created_at", "updated_at"),
}
STAGES = {"1_inbox", "2_pending_approval", "3_execute_workspace", "4_review_evidence", "5_promoted", "6_demoted"}


class Caller:
    """A client in a workspace of its own."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    def get(self, path: str, **query: Any) -> httpx.Response:
        return self.http.get(path, params={name: value for name, value in query.items() if value is not None})

    def read(self, path: str, **query: Any) -> Any:
        answer = self.get(path, **query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        answer = self.http.post(path, json=body or {})
        assert answer.status_code in (200, 201), answer.text
        made: dict[str, Any] = answer.json()
        return made

    def all(self, path: str, name: str, **query: Any) -> list[dict[str, Any]]:
        rows, cursor = [], None
        for _ in range(1000):
            page = self.read(path, cursor=cursor, **query)
            rows += page[name]
            if (cursor := page["next_cursor"]) is None:
                return rows
        raise AssertionError("the list never ends")

    def run(self, room: str, **body: Any) -> str:
        return str(self.post("/v1/runs", {"room_id": room, **body})["run_id"])

    def started(self, room: str, **body: Any) -> str:
        run = self.run(room, **body)
        self.post(f"/v1/runs/{run}/start")
        return run

    def step(self, run: str) -> str:
        return str(self.post(f"/v1/runs/{run}/steps", {"kind": "work"})["step_id"])

    def call(self, step: str, **body: Any) -> str:
        return str(self.post(f"/v1/steps/{step}/toolcalls", {"tool_name": "search", **body})["tool_call_id"])


@pytest.fixture
def caller(stack: Stack) -> Iterator[Caller]:
    headers = {"x-workspace-id": f"ws_{uuid4().hex[:12]}"}
    with httpx.Client(base_url=stack.url, headers=headers, timeout=20) as http:
        yield Caller(http)


@pytest.fixture
def room(caller: Caller) -> str:
    return str(caller.post("/v1/rooms", {"title": "Ops"})["room_id"])


def fails(answer: httpx.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["error"]) == (status, code), answer.text


def position(made: dict[str, Any]) -> str:
    return f"{made['stream_type']}/{made['stream_id']}@{made['stream_seq']}"


def test_a_run_is_read_as_new_as_the_store_is(caller: Caller, room: str) -> None:
    run = caller.run(room, title="T", input={"n": 1}, tags=["a"], priority=7, timeout_s=60, max_attempts=2)
    row = caller.read(f"/v1/runs/{run}")["run"]
    assert set(row) == RUN_ROW
    assert (row["status"], row["attempt_no"], row["priority"], row["timeout_s"]) == ("queued", 0, 7, 60)
    assert (row["max_attempts"], row["zone"], row["input"], row["tags"]) == (2, "supervised", {"n": 1}, ["a"])
    assert row["output"] is row["error"] is row["claim_token"] is row["lease_expires_at"] is None
    caller.post(f"/v1/runs/{run}/start")
    assert caller.read(f"/v1/runs/{run}")["run"]["started_at"] is not None
    caller.post(f"/v1/runs/{run}/cancel", {"reason": "no need"})
    row = caller.read(f"/v1/runs/{run}")["run"]
    assert row["status"] == "cancelled"
    assert row["ended_at"] is not None


def test_runs_are_listed_by_every_filter_last_changed_first(caller: Caller, room: str) -> None:
    other = str(caller.post("/v1/rooms", {"title": "Other"})["room_id"])
    body = {"title": "E", "hypothesis": "h", "budget_cap_units": 1, "risk_tier": "low"}
    experiment = str(caller.post("/v1/experiments", body)["experiment_id"])
    runs = [caller.run(room), caller.run(other, experiment_id=experiment), caller.run(room, experiment_id=experiment)]
    caller.post(f"/v1/runs/{runs[0]}/start")
    last = caller.post(f"/v1/runs/{runs[0]}/complete")
    caller.read("/v1/runs", min_position=position(last))

    def ids(**query: Any) -> list[str]:
        return [row["run_id"] for row in caller.all("/v1/runs", "runs", limit=1, **query)]

    assert ids(room_id=room) == [runs[0], runs[2]]
    assert ids(experiment_id=experiment, room_id=room) == [runs[2]]
    assert ids(room_id=room, status="queued") == [runs[2]]
    assert ids(status="failed") == ids(room_id="room_none") == ids(room_id="a\x00b") == []
    caller.read("/v1/runs", min_position=f"room/{other}@2")
    assert ids() == [runs[0], runs[2], runs[1]]
    assert ids(experiment_id=experiment) == [runs[2], runs[1]]
    assert set(caller.read("/v1/runs")["runs"][0]) == RUN_ROW
    fails(caller.get("/v1/runs", status="napping"), 400, "invalid_status")
    fails(caller.get("/v1/runs", limit="many"), 400, "invalid_limit")
    fails(caller.get("/v1/runs", cursor="bm8"), 400, "invalid_cursor")


def test_steps_tool_calls_and_artifacts_of_a_run_are_there_at_once(caller: Caller, room: str) -> None:
    run = caller.started(room)
    steps = [caller.step(run) for _ in range(3)]
    assert [row["step_id"] for row in caller.all(f"/v1/runs/{run}/steps", "steps", limit=2)] == steps
    call = caller.call(steps[0])
    listed = caller.read("/v1/toolcalls", run_id=run)["tool_calls"]
    assert [(row["tool_call_id"], row["status"]) for row in listed] == [(call, "running")]
    assert set(listed[0]) == CALL_ROW
    assert caller.read(f"/v1/runs/{run}/steps")["steps"][0]["status"] == "running"
    caller.post(f"/v1/toolcalls/{call}/fail", {"message": "timeout"})
    row = caller.read(f"/v1/toolcalls/{call}")["tool_call"]
    assert (row["status"], row["error"], row["output"]) == ("failed", {"message": "timeout"}, None)
    first = caller.read(f"/v1/runs/{run}/steps")["steps"][0]
    assert set(first) == STEP_ROW
    assert (first["status"], first["error"]) == ("failed", {"message": "timeout"})
    caller.call(steps[0])
    caller.post(f"/v1/steps/{steps[0]}/complete", {"output": {"v": 1}})
    first = caller.read(f"/v1/runs/{run}/steps")["steps"][0]
    assert (first["status"], first["output"], first["error"]) == ("succeeded", {"v": 1}, None)

    content = {"type": "json", "json": {"a": [1, None]}}
    made = caller.post(f"/v1/steps/{steps[1]}/artifacts", {"kind": "k", "content": content, "metadata": {"m": 1}})
    (artifact,) = caller.read("/v1/artifacts", run_id=run)["artifacts"]
    assert artifact == caller.read(f"/v1/artifacts/{made['artifact_id']}")["artifact"]
    assert set(artifact) == ARTIFACT_ROW
    assert (artifact["content_type"], artifact["content_json"], artifact["metadata"]) == (
        "json",
        content["json"],
        {"m": 1},
    )
    assert [row["artifact_id"] for row in caller.read("/v1/artifacts", step_id=steps[1])["artifacts"]] == [
        made["artifact_id"]
    ]
    assert caller.read("/v1/artifacts", step_id=steps[2])["artifacts"] == []
    in_room = caller.read("/v1/artifacts", room_id=room, min_position=position(made))["artifacts"]
    assert in_room == caller.read("/v1/artifacts")["artifacts"] == [artifact]


def test_tool_calls_page_oldest_first(caller: Caller, room: str) -> None:
    run = caller.started(room)
    one, two = caller.step(run), caller.step(run)
    calls = [caller.call(step) for step in (one, two, one, two, one)]

    def ids(**query: Any) -> list[str]:
        return [row["tool_call_id"] for row in caller.all("/v1/toolcalls", "tool_calls", limit=2, **query)]

    assert ids(run_id=run) == ids() == calls
    assert ids(step_id=one) == calls[::2]
    assert ids(step_id=two, run_id=run) == calls[1::2]
    assert ids(step_id=two, run_id="run_none") == ids(run_id="a\x00b") == []


def test_what_is_not_there_is_not_found(caller: Caller, room: str, stack: Stack) -> None:
    run = caller.started(room)
    step = caller.step(run)
    call = caller.call(step)
    with httpx.Client(base_url=stack.url, headers={"x-workspace-id": f"ws_{uuid4().hex[:12]}"}) as http:
        stranger = Caller(http)
        for path, code in (
            (f"/v1/runs/{run}", "run_not_found"),
            (f"/v1/runs/{run}/steps", "run_not_found"),
            (f"/v1/runs/{run}/attempts", "run_not_found"),
            (f"/v1/toolcalls/{call}", "tool_call_not_found"),
            ("/v1/runs/run_none", "run_not_found"),
            ("/v1/runs/%00/steps", "run_not_found"),
            ("/v1/artifacts/art_none", "artifact_not_found"),
        ):
            fails(stranger.get(path), 404, code)
        assert stranger.read("/v1/toolcalls", run_id=run)["tool_calls"] == []
        assert stranger.read("/v1/artifacts", step_id=step)["artifacts"] == []
        assert stranger.read("/v1/runs", room_id=room)["runs"] == []


def test_attempts_show_who_had_the_run_and_how_it_ended(caller: Caller, room: str) -> None:
    run = caller.run(room)
    claim = {"room_id": room, "actor_id": "worker-1"}
    first = caller.post("/v1/runs/claim", claim)["run"]
    row = caller.read(f"/v1/runs/{run}")["run"]
    assert (row["status"], row["claim_token"], row["attempt_no"]) == ("running", first["claim_token"], 1)
    assert row["claimed_by_actor_id"] == "worker-1"
    assert row["lease_expires_at"] > row["lease_heartbeat_at"]
    caller.post(f"/v1/runs/{run}/lease/release", {"claim_token": first["claim_token"]})
    row = caller.read(f"/v1/runs/{run}")["run"]
    assert (row["status"], row["claim_token"], row["lease_expires_at"]) == ("queued", None, None)
    second = caller.post("/v1/runs/claim", claim)["run"]
    caller.post(f"/v1/runs/{run}/complete", {"claim_token": second["claim_token"]})
    attempts = caller.all(f"/v1/runs/{run}/attempts", "attempts", limit=1)
    assert [set(row) for row in attempts] == [ATTEMPT_ROW, ATTEMPT_ROW]
    assert [(row["attempt_no"], row["release_reason"]) for row in attempts] == [
        (1, "manual_release"),
        (2, "run_completed"),
    ]


def test_the_pipeline_tells_where_runs_stand(caller: Caller, room: str) -> None:
    empty = caller.read("/v1/pipeline/projection")
    assert set(empty) == STAGES | {"schema_version", "generated_at"}
    waiting, done, gone = caller.run(room, title="Wait"), caller.started(room), caller.started(room)
    caller.post(f"/v1/runs/{done}/complete")
    last = caller.post(f"/v1/runs/{gone}/cancel")
    body = caller.read("/v1/pipeline/projection", min_position=position(last))
    assert [item["entity_id"] for item in body["3_execute_workspace"]] == [waiting]
    assert [item["entity_id"] for item in body["4_review_evidence"]] == [done]
    assert [item["entity_id"] for item in body["6_demoted"]] == [gone]
    item = body["3_execute_workspace"][0]
    assert (item["entity_type"], item["status"], item["title"], item["room_id"]) == ("run", "queued", "Wait", room)
    assert item["links"]["run_id"] == waiting
    assert "diagnostics" not in item


def test_the_pipeline_shows_approvals_until_they_are_decided(caller: Caller, room: str) -> None:
    run = caller.run(room)
    alone = caller.post("/v1/approvals", {"action": "deploy", "room_id": room})
    of_run = caller.post("/v1/approvals", {"action": "deploy", "room_id": room, "run_id": run})
    body = caller.read("/v1/pipeline/projection", min_position=position(of_run))
    (waiting,) = body["2_pending_approval"]
    assert (waiting["entity_type"], waiting["entity_id"]) == ("approval", alone["approval_id"])
    assert (waiting["status"], waiting["links"]["approval_id"]) == ("pending", alone["approval_id"])
    working = {item["entity_id"]: item["links"]["approval_id"] for item in body["3_execute_workspace"]}
    assert working == {run: of_run["approval_id"], of_run["approval_id"]: of_run["approval_id"]}
    decided = caller.post(f"/v1/approvals/{alone['approval_id']}/decide", {"decision": "approve"})
    body = caller.read("/v1/pipeline/projection", min_position=position(decided))
    assert body["2_pending_approval"] == []


def test_the_pipeline_has_two_formats_and_pages(caller: Caller, room: str) -> None:
    runs = [caller.run(room) for _ in range(2)]
    body = {"title": "E", "hypothesis": "h", "budget_cap_units": 1, "risk_tier": "low", "room_id": room}
    last = caller.post("/v1/experiments", body)
    flat = caller.read("/v1/pipeline/projection", min_position=position(last))
    whole = caller.read("/v1/pipeline/projection", format="envelope")
    assert whole["stages"] == {name: flat[name] for name in STAGES}
    meta = whole["meta"]
    assert (meta["schema_version"], meta["limit"], meta["truncated"], meta["next_cursor"]) == ("2.1", 200, False, None)
    assert meta["stage_stats"]["3_execute_workspace"] == {"returned": 2, "truncated": False}
    assert meta["watermark_event_id"] == last["event_id"]

    seen: list[str] = []
    cursor: dict[str, str] = {}
    for _ in range(3):
        page = caller.read("/v1/pipeline/projection", format="envelope", limit=1, **cursor)
        seen += [item["entity_id"] for items in page["stages"].values() for item in items]
        cursor = {f"cursor_{name}": value for name, value in (page["meta"]["next_cursor"] or {}).items()}
    assert seen[0] == last["experiment_id"]
    assert sorted(seen[1:]) == sorted(runs)
    assert cursor == {}


def test_the_pipeline_answers_304_until_something_changes(caller: Caller, room: str) -> None:
    run = caller.run(room)
    started = caller.post(f"/v1/runs/{run}/start")
    tags: list[str] = []
    for form in (None, "envelope"):
        first = caller.get("/v1/pipeline/projection", format=form, min_position=position(started))
        tags.append(first.headers["etag"])
        params = {"format": form} if form else {}
        again = caller.http.get("/v1/pipeline/projection", params=params, headers={"if-none-match": tags[-1]})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    another = caller.post("/v1/runs", {"room_id": room})
    params = {"format": "envelope", "min_position": position(another)}
    changed = caller.http.get("/v1/pipeline/projection", params=params, headers={"if-none-match": tags[-1]})
    assert changed.status_code == 200
    assert changed.headers["etag"] not in tags


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"cursor_updated_at": "2026-11-24T05:30:00.123Z"}, "missing_required_field"),
        ({"cursor_entity_type": "run", "cursor_entity_id": "run_1"}, "missing_required_field"),
        (
            {"cursor_updated_at": "soon", "cursor_entity_type": "run", "cursor_entity_id": "run_1"},
            "invalid_cursor_updated_at",
        ),
        ({"format": "xml"}, "invalid_format"),
        ({"limit": "201"}, "invalid_limit"),
    ],
)
def test_the_pipeline_refuses_half_a_cursor(caller: Caller, query: dict[str, str], code: str) -> None:
    fails(caller.get("/v1/pipeline/projection", **query), 400, code)


def test_events_newest_first_and_between_two_times(caller: Caller, room: str) -> None:
    run = caller.started(room)
    steps = [caller.step(run) for _ in range(4)]
    everything = caller.all("/v1/events", "events", limit=200)

    def ids(**query: Any) -> list[str]:
        return [event["event_id"] for event in caller.all("/v1/events", "events", limit=2, **query)]

    for query in (
        {},
        {"room_id": room},
        {"run_id": run},
        {"step_id": steps[0]},
        {"event_types": "step.created,run.created"},
        {"subject_principal_id": everything[0]["actor_principal_id"]},
        {"correlation_id": everything[1]["correlation_id"]},
    ):
        oldest_first = ids(**query)
        assert oldest_first == ids(order="asc", **query)
        assert ids(order="desc", **query) == oldest_first[::-1], query
        times = sorted({event["recorded_at"] for event in everything if event["event_id"] in oldest_first})
        since, until = times[0], times[-1]
        inside = [
            event["event_id"]
            for event in everything
            if event["event_id"] in oldest_first and since < event["recorded_at"] < until
        ]
        assert ids(after_recorded_at=since, before_recorded_at=until, **query) == inside, query
        assert ids(after_recorded_at=since, before_recorded_at=until, order="desc", **query) == inside[::-1], query
    assert ids(room_id=room, from_seq=3, order="desc") == ids(room_id=room, from_seq=3)[::-1]
    newest = caller.read("/v1/events", order="desc", limit=1)
    fails(caller.get("/v1/events", cursor=newest["next_cursor"]), 400, "invalid_cursor")
    fails(caller.get("/v1/events", order="sideways"), 400, "invalid_order")
    fails(caller.get("/v1/events", after_recorded_at="soon"), 400, "invalid_after_recorded_at")
