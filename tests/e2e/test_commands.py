"""The other commands as a user meets them, and servers that somebody else runs."""

import asyncio
import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest

from agentos_cli.tail import plain
from agentos_runtime import binaries, database, probe
from agentos_runtime import settings as runtime_settings
from agentos_runtime import stack as stack_of
from agentos_runtime.datadir import DataDir
from agentos_runtime.errors import Unreachable
from agentos_runtime.supervisor import Supervisor
from tests.fixtures.stack import CLI, PostgresServer, Stack, agentos, child, running_stack, wait_ready, wait_until


def post(stack: Stack, path: str, body: dict[str, Any]) -> dict[str, Any]:
    request = Request(stack.url + path, json.dumps(body).encode(), {"content-type": "application/json"})
    with urlopen(request, timeout=20) as answer:
        told: dict[str, Any] = json.load(answer)
        return told


def make_thread(stack: Stack) -> tuple[str, str]:
    room = post(stack, "/v1/rooms", {"title": "A room"})["room_id"]
    return room, post(stack, f"/v1/rooms/{room}/threads", {"title": "A thread"})["thread_id"]


def say(stack: Stack, thread: str, text: str) -> None:
    post(stack, f"/v1/threads/{thread}/messages", {"sender_type": "user", "sender_id": "me", "content_md": text})


def test_tail_shows_history_and_ends_when_told(stack: Stack) -> None:
    room, thread = make_thread(stack)
    say(stack, thread, "hello \x1b[31mred\u2028")  # a line end to Unicode, none to a stream of events
    where = ["--data-dir", str(stack.data_dir)]
    done = agentos("tail", room, "--no-follow", *where)
    assert done.returncode == 0
    assert [line.split()[1:3] for line in done.stdout.splitlines()] == [
        ["1", "room.created"],
        ["2", "thread.created"],
        ["3", "message.created"],
    ]
    assert "hello \\x1b[31mred" in done.stdout
    events = [
        json.loads(line) for line in agentos("tail", room, "--no-follow", "--json", *where).stdout.split("\n")[:-1]
    ]
    assert [event["stream_seq"] for event in events] == [1, 2, 3]
    assert agentos("tail", room, "--no-follow", "--from-seq", "3", *where).stdout == ""
    unknown = agentos("tail", "room_unknown", *where)
    assert unknown.returncode == 1
    assert "no such room" in unknown.stderr


def test_tail_goes_on_across_a_restart_of_the_api(start_stack: Callable[..., Stack], tmp_path: Path) -> None:
    stack = start_stack()
    room, thread = make_thread(stack)
    output = tmp_path / "tail.jsonl"

    def seen() -> list[int]:
        return [json.loads(line)["stream_seq"] for line in output.read_text().splitlines()]

    with output.open("wb") as stream:
        command = [*CLI, "tail", room, "--json", "--data-dir", str(stack.data_dir)]
        tailing = subprocess.Popen(command, stdout=stream, stderr=subprocess.DEVNULL)
        try:
            say(stack, thread, "before")
            wait_until(lambda: seen() == [1, 2, 3], 20, lambda: str(seen()))
            stack.wait_healthy({"api": stack.kill("api")})
            say(stack, thread, "after")
            wait_until(lambda: seen() == [1, 2, 3, 4], 30, lambda: str(seen()))
        finally:
            tailing.send_signal(signal.SIGINT)
            assert tailing.wait(10) == 130


def test_no_stack_is_exit_3(tmp_path: Path) -> None:
    for command in (["tail", "room_1"], ["tail", "room_1", "--url", "http://127.0.0.1:9"]):
        done = agentos(*command, "--data-dir", str(tmp_path))
        assert done.returncode == 3, done.stderr
        assert "agentos" in done.stderr


def test_wrong_usage_is_exit_2(tmp_path: Path) -> None:
    assert agentos("tail").returncode == 2
    assert agentos("nonsense").returncode == 2
    wrong = agentos("up", "--data-dir", str(tmp_path), env={"AGENTOS_PORT": "many", "AGENTOS_DISK_LOW_MB": "-1"})
    assert wrong.returncode == 2
    assert "AGENTOS_PORT" in wrong.stderr
    assert "AGENTOS_DISK_LOW_MB" in wrong.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AGENTOS_POSTGRES_URL", "mysql://owner:hidden@host/agentos"),
        ("AGENTOS_POSTGRES_URL", "postgresql://owner:hidden@host:many/agentos"),
        ("AGENTOS_API_POSTGRES_URL", "hidden"),
        ("AGENTOS_NATS_URL", "nats://host:99999"),
        ("AGENTOS_NATS_URL", "nats://hidden@"),
        ("AGENTOS_NATS_URL", "nats://one:4222,http://hidden:4222"),
        ("AGENTOS_HOST", "no.such.host.invalid"),
        ("AGENTOS_HOST", "192.0.2.1"),
    ],
)
def test_an_address_that_is_none_is_exit_2_at_once(tmp_path: Path, name: str, value: str) -> None:
    done = agentos("up", "--data-dir", str(tmp_path / "data"), "--port", "0", env={name: value})
    assert done.returncode == 2, done.stderr
    assert name in done.stderr
    assert "hidden" not in done.stderr
    assert not (tmp_path / "data" / "postgres").exists()


def test_doctor_and_projections_on_a_running_and_a_stopped_stack(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    where = ["--data-dir", str(data_dir)]
    assert agentos("doctor", "--port", "47717", *where).returncode == 0
    assert agentos("projections", "status", *where).returncode == 1  # no database yet
    with running_stack(data_dir) as stack:
        room, _ = make_thread(stack)
        port = str(urlsplit(stack.url).port)
        checks = json.loads(agentos("doctor", "--json", "--port", port, *where).stdout)["checks"]
        assert {check["result"] for check in checks} == {"ok"}
        assert {"database", "bus", "api", "projector"} <= {check["check"] for check in checks}
        told = agentos("doctor", *where)  # asked for no port, it speaks of the stack's own and of no other
        assert f"port: {port} is held by our API" in told.stdout
        assert "7717" not in told.stdout.replace(port, "").replace(str(data_dir), "")
        assert "47717 is free" in agentos("doctor", "--port", "47717", *where).stdout
        rebuilt = json.loads(agentos("projections", "rebuild", "--json", *where).stdout)
        assert rebuilt["events"] == 2
    status = json.loads(agentos("projections", "status", "--json", *where).stdout)  # starts Postgres for itself
    assert (status["events"], status["behind_events"], status["parked"]) == (2, 0, [])
    assert agentos("projections", "retry", *where).returncode == 0
    assert agentos("audit", "verify", "--stream", f"room/{room}", *where).returncode == 0
    assert agentos("status", *where).returncode == 1


async def test_a_command_leaves_a_stopped_database_stopped(tmp_path: Path) -> None:
    with running_stack(tmp_path / "data"):
        pass
    async with database.owner_url(runtime_settings.Settings(tmp_path / "data")) as url:
        port = urlsplit(url).port
        assert port is not None
        assert (await probe.postgres("127.0.0.1", port)).answer is probe.Answer.READY
    assert (await probe.postgres("127.0.0.1", port)).answer is probe.Answer.SILENT


@pytest.mark.parametrize("setting", ["fsync", "full_page_writes", "synchronous_commit"])
def test_a_database_that_may_lose_writes_is_not_served(tmp_path: Path, setting: str) -> None:
    data_dir = tmp_path / "data"
    with running_stack(data_dir):
        pass
    with (data_dir / "postgres" / "postgresql.conf").open("a") as stream:
        stream.write(f"\n{setting} = off\n")
    done = agentos("up", "--detach", "--data-dir", str(data_dir), "--port", "0")
    assert done.returncode == 1
    assert f"{setting} = off" in done.stderr


def test_with_little_space_reads_are_served_and_the_stack_is_degraded(tmp_path: Path) -> None:
    with running_stack(tmp_path / "data", env={"AGENTOS_DISK_LOW_MB": "100000000"}) as stack:
        wait_until(lambda: stack.status()["phase"] == "degraded", 20)
        assert stack.status()["disk"]["low"] is True
        assert "disk nearly full" in agentos("status", "--data-dir", str(stack.data_dir)).stdout
        with pytest.raises(HTTPError, match="507"):
            make_thread(stack)
        with urlopen(f"{stack.url}/v1/rooms", timeout=10) as answer:
            assert json.load(answer)["rooms"] == []


@pytest.fixture
def open_nats(tmp_path: Path) -> Iterator[str]:
    """A server of somebody else's, with one user for all."""
    port = DataDir(tmp_path).ports(["nats"])["nats"]
    command = [str(binaries.nats_server()), "-js", "-sd", str(tmp_path / "js"), "-a", "127.0.0.1", "-p", str(port)]
    log = tmp_path / "nats.log"
    with child([*command, "--user", "all", "--pass", "secret"], log, signal.SIGTERM, {}):
        wait_ready(lambda: probe.nats("127.0.0.1", port, "all", "secret"), log)
        yield f"nats://all:secret@127.0.0.1:{port}"


def test_servers_that_somebody_else_runs(tmp_path: Path, postgres_server: PostgresServer, open_nats: str) -> None:
    owner = postgres_server.url("agentos", "elsewhere")
    roles = {
        "AGENTOS_API_POSTGRES_URL": postgres_server.url("agentos_api", "elsewhere"),
        "AGENTOS_PROJECTOR_POSTGRES_URL": postgres_server.url("agentos_projector", "elsewhere"),
        "AGENTOS_ENGINE_POSTGRES_URL": postgres_server.url("agentos_engine", "elsewhere"),
        "AGENTOS_POLICY_POSTGRES_URL": postgres_server.url("agentos_policy", "elsewhere"),
        "AGENTOS_GATEWAY_POSTGRES_URL": postgres_server.url("agentos_gateway", "elsewhere"),
    }
    env = {"AGENTOS_POSTGRES_URL": owner, "AGENTOS_NATS_URL": open_nats, **roles}
    prepared = agentos("migrate", env=env)
    assert prepared.returncode == 0, prepared.stderr
    assert "0001_event_store" in prepared.stdout
    assert "up to date" in agentos("migrate", env=env).stdout
    assert agentos("migrate", env={"AGENTOS_POSTGRES_URL": owner}).returncode == 2
    with running_stack(tmp_path / "data", env=env) as stack:
        components = stack.status()["components"]
        assert components["postgres"]["external"]
        assert components["nats"]["external"]
        assert components["postgres"]["pid"] is None
        assert (stack.postgres_url, stack.nats_url) == (owner, open_nats)
        room, _ = make_thread(stack)
        assert agentos("tail", room, "--no-follow", "--data-dir", str(stack.data_dir)).stdout.count("\n") == 2
    assert not (tmp_path / "data" / "postgres").exists()


def test_a_server_that_is_not_there_is_exit_3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack_of, "EXTERNAL_TIMEOUT_S", 0.2)
    nowhere = runtime_settings.Settings(tmp_path, port=0, nats_url="nats://127.0.0.1:9")
    with pytest.raises(Unreachable, match=r"nats: .*AGENTOS_NATS_URL"):
        asyncio.run(Supervisor(nowhere).run())


def test_text_of_agents_cannot_steer_the_terminal() -> None:
    assert plain("a\x1b]0;title\x07b\r\u202ec\nd") == "a\\x1b]0;title\\x07b\\r\\u202ec ⏎ d"
    assert len(plain("x" * 10_000)) == 160
