"""The embedded worker's `shell`: what is let through, what is cut off, and that nothing of it survives."""

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import agentos
from agentos_engine.worker.settings import WorkerSettings
from agentos_engine.worker.shell import Shell, add, isolation

COMMANDS = {"cat": "/bin/cat", "sh": "/bin/sh", "yes": "/usr/bin/yes", "python": sys.executable}

#: A process that leaves the group and the session, so that only its namespace holds it.
STRAY = """
import os, signal, sys
if os.fork() == 0:
    os.setsid()
    open(sys.argv[1], "w").write("x")
signal.pause()
"""
CONNECT = """
import socket
try:
    socket.create_connection(("127.0.0.1", 9), 1)
except OSError as error:
    print(error.errno)
"""


def shell(prefix: Sequence[str] = (), timeout_s: int = 10, output_bytes: int = 1000) -> Shell:
    return Shell(COMMANDS, prefix, timeout_s, output_bytes)


async def alone() -> Sequence[str]:
    prefix = await isolation(network=False)
    if prefix is None:
        pytest.skip(
            "about what a network and a process namespace keep in, and this kernel or container lets nobody make one; "
            "the handler is then left out, which is tested everywhere"
        )
    return prefix


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] != "Z"
    except OSError:
        return False


async def test_a_command_gets_its_input_and_its_output_is_kept() -> None:
    assert await shell().run(["cat"], "said\n") == {
        "exit_code": 0, "stdout": "said\n", "stderr": "", "truncated": False, "timed_out": False,
    }  # fmt: skip
    failed = await shell().run(["sh", "-c", "echo wrong >&2; exit 3"])
    assert (failed["exit_code"], failed["stderr"]) == (3, "wrong\n")


@pytest.mark.parametrize("argv", [["rm", "x"], ["/bin/sh"], ["./cat"], [""]])
async def test_what_is_not_on_the_list_is_refused(argv: list[str]) -> None:
    with pytest.raises(PermissionError, match="is not allowed"):
        await shell().run(argv)


async def test_no_shell_reads_arguments_and_no_secret_is_in_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AGENTOS_TOKEN", "hush")
    told = await shell().run(["sh", "-c", 'echo "$1"; env', "sh", "$(id); rm -rf /"])
    assert told["stdout"].startswith("$(id); rm -rf /\n")
    assert "hush" not in told["stdout"]


async def test_too_much_output_ends_the_command() -> None:
    told = await shell().run(["yes"])
    assert (told["exit_code"], told["truncated"], len(told["stdout"])) == (None, True, 1000)


async def test_a_command_ends_when_its_time_is_up() -> None:
    told = await shell(timeout_s=1).run(["sh", "-c", "echo begun; exec sleep 60"])
    assert (told["exit_code"], told["timed_out"], told["stdout"]) == (None, True, "begun\n")


async def test_bytes_that_are_no_text_are_replaced() -> None:
    told = await shell().run(["sh", "-c", r"printf 'a\000\377b'"])
    assert told["stdout"] == "a\ufffd\ufffdb"


async def test_a_cancelled_command_leaves_no_process_behind(tmp_path: Path) -> None:
    prefix = await alone()
    pipe = tmp_path / "pids"
    os.mkfifo(pipe)
    running = asyncio.create_task(shell(prefix, timeout_s=60).run(["python", "-c", STRAY, str(pipe)]))
    assert await asyncio.to_thread(pipe.read_text) == "x"
    stray = [pid for pid in pids() if str(pipe) in command_line(pid) and "unshare" not in command_line(pid)]
    assert len(stray) == 2
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    async with asyncio.timeout(5):
        while any(alive(pid) for pid in stray):
            await asyncio.to_thread(os.sched_yield)


def pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace")
    except OSError:
        return ""


async def test_where_commands_cannot_be_kept_from_the_network_there_is_no_handler(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # no util-linux
    monkeypatch.setenv("AGENTOS_WORKER_SHELL_COMMANDS", "cat")
    worker = agentos.Worker("shell")
    await add(worker, WorkerSettings())
    with pytest.raises(ValueError, match="has no handlers"):
        await worker.serve_async()


async def test_a_command_has_no_network() -> None:
    prefix = await alone()
    told = await shell(prefix).run(["python", "-c", CONNECT])
    assert told["stdout"].strip() == "101", told  # ENETUNREACH: not even loopback is up
