"""Recorded agent sessions go in by the command and come back over the API, SSE and NATS, equal to the byte.

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

from agentos_cli.trajectory import Session, read_session
from tests.fixtures.stack import Stack, agentos

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

    head = head_of(api, room_id)
    assert head == 1 + len(files) + summary["messages"]
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
    head = head_of(api, first["room_id"])
    again = imported(stack, *files)
    assert (again["room_id"], again["sessions"]) == (first["room_id"], first["sessions"])
    assert head_of(api, first["room_id"]) == head


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
