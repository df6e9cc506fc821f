"""Every example runs against a started stack, and does what it says."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

import agentos
from tests.fixtures.stack import Stack

EXAMPLES = Path(__file__).parents[2] / "examples"
TIMEOUT_S = 40


@pytest.fixture
def workspace() -> str:
    return "ws_examples_" + os.urandom(6).hex()


@pytest.fixture
def api(stack: Stack, workspace: str) -> Iterator[agentos.Client]:
    with agentos.Client(stack.url, workspace_id=workspace) as client:
        yield client


@pytest.fixture
def environment(stack: Stack, workspace: str) -> Mapping[str, str]:
    """Of an example."""
    inherited = dict(os.environ)  # noqa: TID251 - it needs a PATH
    return inherited | {
        "AGENTOS_URL": stack.url,
        "AGENTOS_WORKSPACE_ID": workspace,
        "AGENTOS_NATS_URL": stack.nats_url,
    }


@contextmanager
def running(name: str, *arguments: str, environment: Mapping[str, str]) -> Iterator["subprocess.Popen[str]"]:
    """An example in Python, with its output as a pipe; it must end when it is interrupted."""
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, text=True)
    try:
        yield process
        process.send_signal(signal.SIGINT)
        process.wait(TIMEOUT_S)
    finally:
        process.kill()
        process.communicate()


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def test_every_example_is_here() -> None:
    tested = {"README.md", "agent.py", "nats_subscriber.py", "session.sh", "worker.py"}
    assert {path.name for path in EXAMPLES.iterdir() if path.is_file()} == tested


def test_worker(stack: Stack, api: agentos.Client, environment: Mapping[str, str]) -> None:
    room_id = api.rooms.create("Pages").room_id
    with running("worker.py", environment=environment) as process:
        url = f"{stack.url}/healthz"
        page = api.runs.create(room_id, handler="summarise", input={"url": url})
        text = api.runs.create(room_id, handler="count", input={"text": "four"})
        summarised = api.runs.wait(page.run_id, timeout_s=TIMEOUT_S)
        counted = api.runs.wait(text.run_id, timeout_s=TIMEOUT_S)
    assert process.returncode == 0
    assert (summarised.status, counted.output) == ("succeeded", {"result": 4})
    (artifact,) = api.artifacts.list(run_id=page.run_id).all()
    assert artifact.title == url
    assert artifact.content_text is not None
    assert summarised.output == {"words": len(artifact.content_text.split())}


def test_agent(api: agentos.Client, environment: Mapping[str, str]) -> None:
    room_id = api.rooms.create("Meeting").room_id
    thread_id = api.threads.create(room_id, "Hello").thread_id
    with running("agent.py", room_id, environment=environment) as process:
        assert line(process) == "echo-agent is in 'Meeting', after event 2"
        stream = api.stream_room(room_id, from_seq=2)
        said = api.messages.create(thread_id, "Are you there?", sender_id="ada")
        assert line(process) == "You said: Are you there?"
        assert next(stream).data["content_md"] == "Are you there?"
        answer = next(stream)
    assert (answer.actor_type, answer.actor_id) == ("agent", "echo-agent")
    assert answer.data["parent_message_id"] == said.message_id


def test_nats_subscriber(api: agentos.Client, environment: Mapping[str, str]) -> None:
    with running("nats_subscriber.py", api.workspace_id, environment=environment) as process:
        assert line(process) == "listening"
        room_id = api.rooms.create("Heard").room_id
        api.threads.create(room_id, "T")
        lines = [line(process), line(process)]
    assert [told.split()[:2] for told in lines] == [["1", "room.created"], ["2", "thread.created"]]
    assert '"Heard"' in lines[0]


def test_session(environment: Mapping[str, str]) -> None:
    done = subprocess.run(
        [str(EXAMPLES / "session.sh")], env=environment, capture_output=True, text=True, timeout=TIMEOUT_S
    )
    assert done.returncode == 0, done.stderr
    types = [told.split()[1] for told in done.stdout.splitlines()[1:8]]
    assert types == [
        "run.created", "run.started", "step.created", "tool.invoked", "tool.succeeded", "artifact.created",
        "run.completed",
    ]  # fmt: skip
