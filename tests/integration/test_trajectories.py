"""Recorded agent sessions go in by the commands and come back over the API, SSE and NATS, equal to the byte.

Imported, each is a thread and a run that is over; replayed, each is a run that a real worker claims and works on.

The recordings live in ``../shared`` beside the checkout; where that folder is absent, the tests that need it are
skipped.
"""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import nats
import pytest
from nats.js.api import DeliverPolicy

from agentos.sync.client import Client
from agentos_cli.trajectory import Session, read_session
from tests.fixtures.stack import Stack, agentos, wait_until

RECORDINGS = Path(__file__).parents[3] / "shared" / "data" / "trajectories"
WORKSPACE = "ws_trajectories"

needs_recordings = pytest.mark.skipif(
    not RECORDINGS.is_dir(), reason=f"needs the recorded sessions in {RECORDINGS}; a clean clone does not have them"
)


def imported(stack: Stack, *arguments: str, workspace: str = WORKSPACE) -> dict[str, Any]:
    """Summary of an import that must succeed."""
    done = agentos(
        "import-trajectory", "--data-dir", str(stack.data_dir), "--workspace", workspace, "--json", *arguments
    )
    assert done.returncode == 0, done.stderr
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary


@pytest.fixture
def api(stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.url, headers={"x-workspace-id": WORKSPACE}, timeout=20) as client:
        yield client


def said_in(session: Session) -> list[tuple[str, str]]:
    return [(said.label, said.text) for said in session.utterances]


def messages_of(events: Iterable[dict[str, Any]]) -> dict[str, list[tuple[str, str]]]:
    """What each thread's messages said, in the order of the events."""
    threads: dict[str, list[tuple[str, str]]] = {}
    for event in events:
        if event["event_type"] == "message.created":
            told = threads.setdefault(event["thread_id"], [])
            told.append((event["data"]["labels"][0], event["data"]["content_md"]))
    return threads


def head_of(api: httpx.Client, room_id: str) -> int:
    events = api.get("/v1/events", params={"room_id": room_id, "limit": 200}).json()
    seq: int = events["events"][-1]["stream_seq"]
    while events["next_cursor"]:
        query = {"room_id": room_id, "limit": 200, "cursor": events["next_cursor"]}
        events = api.get("/v1/events", params=query).json()
        seq = events["events"][-1]["stream_seq"]
    return seq


def settled_head(api: httpx.Client, room_id: str, runs: int) -> int:
    """The room's head once the evidence of that many runs is in it: it follows the end of a run."""

    def settled() -> bool:
        query: dict[str, Any] = {"room_id": room_id, "event_type": "evidence.manifest.created", "limit": 200}
        return len(api.get("/v1/events", params=query).json()["events"]) == runs

    wait_until(settled, 20)
    return head_of(api, room_id)


def events_of_runs(sessions: Iterable[Session]) -> int:
    """How many events the runs of these sessions are: created, started, ended, evidence; a step, a call and its end a
    turn; step, artifact and end of step for a patch."""
    return sum(4 + 3 * len(session.turns) + (3 if session.patch else 0) for session in sessions)


def title_of(api: httpx.Client, thread_id: str) -> str:
    title: str = api.get(f"/v1/threads/{thread_id}").json()["thread"]["title"]
    return title


def over_the_api(api: httpx.Client, thread_id: str, position: str) -> list[dict[str, Any]]:
    """All messages of a thread, oldest first."""
    rows: list[dict[str, Any]] = []
    query: dict[str, Any] = {"limit": 50, "min_position": position}
    patience = 10
    while True:
        answer = api.get(f"/v1/threads/{thread_id}/messages", params=query)
        if answer.status_code == 503 and patience:  # it has waited for two seconds already, and says to ask again
            patience -= 1
            continue
        page = answer.raise_for_status().json()
        rows += page["messages"]
        if page["next_cursor"] is None:
            return rows[::-1]
        query["cursor"] = page["next_cursor"]


def over_sse(api: httpx.Client, room_id: str) -> list[dict[str, Any]]:
    """Every event of a room until the stream says that it has caught up."""
    events: list[dict[str, Any]] = []
    name = "message"
    with api.stream("GET", f"/v1/streams/rooms/{room_id}", headers={"accept": "text/event-stream"}) as answer:
        assert answer.status_code == 200
        buffer = b""
        # Not iter_lines: it takes every Unicode line end for one, and texts may contain such.
        for chunk in answer.iter_bytes():
            buffer += chunk
            *lines, buffer = buffer.split(b"\n")
            for line in lines:
                field, _, value = line.partition(b":")
                if field == b"event":
                    name = value.strip().decode()
                elif field == b"data":
                    if name == "caught_up":
                        return events
                    events.append(json.loads(value))
                elif not line:
                    name = "message"
    raise AssertionError("the stream ended before it had caught up")


async def over_nats(stack: Stack, room_id: str, head: int) -> list[dict[str, Any]]:
    """Every event of a room from JetStream, as an integration reads it."""
    client = await nats.connect(stack.nats_url, inbox_prefix="_INBOX_integration", connect_timeout=5)
    try:
        subscription = await client.jetstream().subscribe(
            f"agentos.evt.{WORKSPACE}.room.{room_id}.>", ordered_consumer=True, deliver_policy=DeliverPolicy.ALL
        )
        events: dict[int, dict[str, Any]] = {}
        while len(events) < head:
            message = await subscription.next_msg(timeout=10)
            event = json.loads(message.data)
            assert message.headers is not None
            assert message.headers["Nats-Msg-Id"] == event["event_id"]
            events.setdefault(event["stream_seq"], event)
        assert list(events) == sorted(events)
        return list(events.values())
    finally:
        await client.close()


@needs_recordings
async def test_recordings_come_back_the_same_over_every_way_out(stack: Stack, api: httpx.Client) -> None:
    files = sorted(RECORDINGS.glob("*.traj"))
    assert len(files) >= 4
    sessions = [read_session(path) for path in files]
    summary = imported(stack, *map(str, files))
    room_id = summary["room_id"]
    assert [entry["file"] for entry in summary["sessions"]] == [str(path) for path in files]
    assert [entry["messages"] for entry in summary["sessions"]] == [len(session.utterances) for session in sessions]
    assert [entry["empty_skipped"] for entry in summary["sessions"]] == [session.empty for session in sessions]
    threads = [entry["thread_id"] for entry in summary["sessions"]]
    expected = {thread_id: said_in(session) for thread_id, session in zip(threads, sessions, strict=True)}

    head = settled_head(api, room_id, len(files))
    assert head == 1 + len(files) + summary["messages"] + events_of_runs(sessions)
    for thread_id, session in zip(threads, sessions, strict=True):
        rows = over_the_api(api, thread_id, f"room/{room_id}@{head}")
        assert [(row["labels"][0], row["content_md"]) for row in rows] == said_in(session)
        assert all(row["labels"] == [row["labels"][0]] for row in rows)
        senders = {(row["labels"][0], row["sender_type"], row["sender_id"]) for row in rows}
        assert senders == {
            (label, *(("service", session.environment) if label == "observation" else ("agent", session.agent)))
            for label, _ in said_in(session)
        }
        assert title_of(api, thread_id) == session.title

    streamed = over_sse(api, room_id)
    assert [event["stream_seq"] for event in streamed] == list(range(1, head + 1))
    assert messages_of(streamed) == expected
    assert await over_nats(stack, room_id, head) == streamed


@needs_recordings
def test_importing_again_changes_nothing(stack: Stack, api: httpx.Client) -> None:
    files = [str(RECORDINGS / "networking_1.traj"), str(RECORDINGS / "function_calling_simple.traj")]
    first = imported(stack, *files)
    head = settled_head(api, first["room_id"], 2)
    again = imported(stack, *files)
    assert (again["room_id"], again["sessions"]) == (first["room_id"], first["sessions"])
    assert head_of(api, first["room_id"]) == head


def shown_in_run(client: Client, run_id: str) -> list[tuple[int, str, str, str, float | None]]:
    """Turn, thought, command, observation and duration of each step with its tool call, first to last."""
    calls = {call.step_id: call for call in client.tool_calls.list(run_id=run_id)}
    shown = []
    for step in client.steps.list(run_id):
        if step.kind != "turn":
            continue
        call = calls[step.step_id]
        assert (step.status, call.status, call.tool_name) == ("succeeded", "succeeded", "shell")
        assert call.output is not None
        told = (step.input["turn"], step.input["thought"], call.input["command"])
        shown.append((*told, call.output["observation"], call.output["duration_s"]))
    return shown


def recorded_in(session: Session) -> list[tuple[int, str, str, str, float | None]]:
    return [(turn.number, turn.thought, turn.command, turn.observation, turn.duration_s) for turn in session.turns]


def patches_of(client: Client, run_id: str) -> list[str | None]:
    return [artifact.content_text for artifact in client.artifacts.list(run_id=run_id) if artifact.kind == "patch"]


@needs_recordings
def test_a_recording_becomes_a_run_with_a_step_and_a_tool_call_for_each_turn(stack: Stack) -> None:
    sessions = [read_session(path) for path in sorted(RECORDINGS.glob("*.traj"))]
    summary = imported(stack, *(str(session.path) for session in sessions))
    with Client(stack.url, workspace_id=WORKSPACE) as client:
        for session, told in zip(sessions, summary["sessions"], strict=True):
            run = client.runs.get(told["run_id"])
            assert (run.status, run.thread_id, run.title) == ("succeeded", told["thread_id"], session.title)
            assert run.input["sha256"] == session.digest
            assert run.output is not None
            assert run.output["patch_artifact_id"] == told["patch_artifact_id"]
            assert shown_in_run(client, run.run_id) == recorded_in(session)
            assert patches_of(client, run.run_id) == ([session.patch] if session.patch else [])
            handed_in = told["patch_artifact_id"] is not None  # in a step of its own
            assert (told["steps"], told["tool_calls"]) == (len(session.turns) + handed_in, len(session.turns))
            assert told["steps"] == len(client.steps.list(told["run_id"]).all())


def replayed(stack: Stack, *arguments: str) -> tuple[int, dict[str, Any]]:
    done = agentos("replay", "--data-dir", str(stack.data_dir), "--workspace", WORKSPACE, "--json", *arguments)
    assert done.stdout, done.stderr
    summary: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, summary


@needs_recordings
def test_every_recording_runs_again_through_a_real_worker(stack: Stack) -> None:
    sessions = [read_session(path) for path in sorted(RECORDINGS.glob("*.traj"))]
    code, summary = replayed(stack, *(str(session.path) for session in sessions))
    assert code == 0
    with Client(stack.url, workspace_id=WORKSPACE) as client:
        for session, told in zip(sessions, summary["sessions"], strict=True):
            assert (told["status"], told["attempts"], told["as_recorded"]) == ("succeeded", 1, True)
            assert shown_in_run(client, told["run_id"]) == recorded_in(session)
            assert patches_of(client, told["run_id"]) == ([session.patch] if session.patch else [])
            types = [event.event_type for event in client.events.list(run_id=told["run_id"])]
            assert types[:3] == ["run.created", "run.claimed", "run.started"]


@needs_recordings
def test_a_recording_at_its_own_pace_keeps_its_lease_by_heartbeats(stack: Stack) -> None:
    code, summary = replayed(stack, "--pace", "1", str(RECORDINGS / "marshmallow_1867.traj"))
    (told,) = summary["sessions"]
    assert (code, told["status"], told["attempts"]) == (0, "succeeded", 1)
    assert told["heartbeats"] >= 1


def test_a_recording_that_ends_badly_fails_its_run(stack: Stack, tmp_path: Path) -> None:
    path = tmp_path / "bad_end.traj"
    turns = [
        {"thought": "only a thought", "action": "", "observation": ""},
        {"thought": "t", "action": "x" * 300_000, "observation": "\x01" * 300_000, "execution_time": 0.25},
    ]
    path.write_text(json.dumps({"trajectory": turns, "info": {"exit_status": "exit_cost", "submission": ""}}))
    summary = imported(stack, str(path))
    code, again = replayed(stack, str(path))
    assert code == 0
    with Client(stack.url, workspace_id=WORKSPACE) as client:
        for run_id in (summary["sessions"][0]["run_id"], again["sessions"][0]["run_id"]):
            assert client.runs.get(run_id).status == "failed"
            first, second = client.steps.list(run_id).all()
            (call,) = client.tool_calls.list(run_id=run_id).all()
            assert (first.status, second.status, call.step_id) == ("succeeded", "succeeded", second.step_id)
            assert call.output is not None
            assert call.output["duration_s"] == 0.25
            assert "[cut: " in call.output["observation"]
            assert "[cut: " in call.input["command"]


def write_session(path: Path, observations: Sequence[str]) -> Path:
    turns = [{"thought": "t", "action": "", "observation": text} for text in observations]
    path.write_text(json.dumps({"trajectory": turns}), encoding="utf-8")
    return path


def test_odd_texts_survive_the_whole_way(stack: Stack, api: httpx.Client, tmp_path: Path) -> None:
    odd = [
        " \r\n",
        "\u2028\u2029\u0085\x0b\x0c\x1c",
        "\U0001f600\u200d e\u0301",
        "data: x\n\nevent: gone\n",
        "\\u0000\x7f\x01",
    ]
    session = read_session(write_session(tmp_path / "odd.traj", odd))
    summary = imported(stack, str(session.path))
    assert summary["sessions"][0]["empty_skipped"] == len(odd)
    head = head_of(api, summary["room_id"])
    thread_id = summary["sessions"][0]["thread_id"]
    rows = over_the_api(api, thread_id, f"room/{summary['room_id']}@{head}")
    assert [(row["labels"][0], row["content_md"]) for row in rows] == said_in(session)
    assert messages_of(over_sse(api, summary["room_id"])) == {thread_id: said_in(session)}


def test_a_text_too_long_for_one_event_is_split_loudly_and_whole(
    stack: Stack, api: httpx.Client, tmp_path: Path
) -> None:
    text = "\u00e9\x01\n" * 300_000
    path = write_session(tmp_path / "long.traj", [text])
    arguments = ("--data-dir", str(stack.data_dir), "--workspace", WORKSPACE, "--json", str(path))
    done = agentos("import-trajectory", *arguments)
    assert done.returncode == 0, done.stderr
    assert "turn 1, observation: is too long for one message" in done.stderr
    summary = json.loads(done.stdout)
    assert summary["sessions"][0]["split"] == 1
    head = head_of(api, summary["room_id"])
    rows = over_the_api(api, summary["sessions"][0]["thread_id"], f"room/{summary['room_id']}@{head}")
    parts = [row for row in rows if row["labels"][0] == "observation"]
    assert "".join(row["content_md"] for row in parts) == text
    assert [row["labels"][1] for row in parts] == [f"part:{n}/{len(parts)}" for n in range(1, len(parts) + 1)]


def test_several_sessions_go_into_a_room_that_is_there(stack: Stack, api: httpx.Client, tmp_path: Path) -> None:
    room_id = api.post("/v1/rooms", json={"title": "Mine"}).json()["room_id"]
    paths = [write_session(tmp_path / f"s{n}.traj", [f"o{n}.{m}" for m in range(150)]) for n in range(6)]
    summary = imported(stack, "--room", room_id, *map(str, paths))
    assert summary["room_id"] == room_id
    told = messages_of(over_sse(api, room_id))
    for path, entry in zip(paths, summary["sessions"], strict=True):
        assert told[entry["thread_id"]] == said_in(read_session(path))


def test_nothing_is_written_when_one_file_is_bad(stack: Stack, api: httpx.Client, tmp_path: Path) -> None:
    workspace = "ws_trajectories_bad"
    good = write_session(tmp_path / "good.traj", ["fine"])
    bad = write_session(tmp_path / "bad.traj", ["fine", "half \ud83d"])
    arguments = ("--data-dir", str(stack.data_dir), "--workspace", workspace)
    done = agentos("import-trajectory", *arguments, str(good), str(bad))
    assert done.returncode == 1
    assert f"{bad}: turn 2, observation: character 5 is half of a surrogate pair" in done.stderr
    found = api.get("/v1/events", headers={"x-workspace-id": workspace}).json()
    assert found["events"] == []


def test_refusals_have_their_exit_codes(stack: Stack, tmp_path: Path) -> None:
    path = str(write_session(tmp_path / "s.traj", ["o"]))
    data_dir = ("--data-dir", str(stack.data_dir))
    refused = agentos("import-trajectory", *data_dir, "--room", "room_none", path)
    assert (refused.returncode, "room_not_found" in refused.stderr) == (1, True)
    absent = agentos("import-trajectory", *data_dir, str(tmp_path / "none.traj"))
    assert (absent.returncode, "cannot be read" in absent.stderr) == (2, True)
    usage = agentos("import-trajectory", "--url", "ftp://x", path)
    assert usage.returncode == 2
    nowhere = agentos("import-trajectory", "--data-dir", os.fspath(tmp_path / "nowhere"), path)
    assert (nowhere.returncode, "agentos up" in nowhere.stderr) == (3, True)
