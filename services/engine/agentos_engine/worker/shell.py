"""``shell``: one command of an allow-list, without a shell, without a network, within a time and an amount of output.

The command gets a process group, and where the kernel allows it a network and a process namespace of its own. Killing
the namespace's first process kills everything in it, whatever it has become; that happens when the time is up, when
the lease is lost, when the worker stops, and when the worker dies. It runs as the worker's own user and sees the file
system as that user does: the allow-list is the guard of what it may touch.
"""

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import structlog
from pydantic import BaseModel, ConfigDict, Field

import agentos
from agentos_engine.worker.settings import WorkerSettings

log = structlog.get_logger("agentos.worker")

#: The only place that commands are looked for in.
PATH: Final = "/usr/local/bin:/usr/bin:/bin"
#: The command dies with whoever started it, and can never gain rights.
_DIES_WITH_US: Final = ("setpriv", "--pdeathsig", "KILL", "--no-new-privs", "--", "unshare")
_AS_USER: Final = ("--user", "--map-current-user")
_PROCESSES: Final = ("--pid", "--fork", "--kill-child=KILL")
_NETWORK: Final = ("--net",)
PROBE_S: Final = 5.0
#: How long an end is waited for that a stray child may hold up.
END_S: Final = 2.0


class Request(BaseModel):
    """The input of a run; ``handler`` is ``shell``."""

    model_config = ConfigDict(extra="forbid")

    handler: Literal["shell"]
    argv: list[str] = Field(min_length=1, max_length=256)
    stdin: str = Field("", max_length=256 * 1024)
    timeout_s: int | None = Field(None, ge=1)


class CommandFailed(Exception):
    """The command ended with another code than 0, or was killed."""


@dataclass(slots=True)
class Output:
    """One stream of a command, up to a limit in bytes."""

    limit: int
    kept: bytearray = field(default_factory=bytearray)
    truncated: bool = False

    async def read(self, pipe: asyncio.StreamReader, on_full: Callable[[], None]) -> None:
        """To its end, or to the limit."""
        while chunk := await pipe.read(64 * 1024):
            self.kept += chunk
            if len(self.kept) > self.limit:
                del self.kept[self.limit :]
                self.truncated = True
                on_full()
                return

    def text(self) -> str:
        """What cannot be read as UTF-8, and what no event can carry, is replaced."""
        return self.kept.decode("utf-8", "replace").replace("\x00", "\ufffd")


@dataclass(frozen=True, slots=True)
class Shell:
    """How commands are run.

    Args:
        commands: name -> path of those that may be.
        isolation: what stands before the command line; empty: the command is alone in nothing but its process group.
        timeout_s: the most that one may take.
        output_bytes: the most that one may write, to stdout and to stderr each.
    """

    commands: Mapping[str, str]
    isolation: Sequence[str]
    timeout_s: int
    output_bytes: int

    async def run(self, argv: Sequence[str], stdin: str = "", timeout_s: int | None = None) -> dict[str, Any]:
        """Run a command to its end.

        Returns:
            ``exit_code`` (None when it was killed), ``stdout``, ``stderr``, ``truncated``, ``timed_out``.

        Raises:
            PermissionError: it is not on the allow-list.
        """
        path = self.commands.get(argv[0])
        if path is None:
            allowed = ", ".join(sorted(self.commands))
            raise PermissionError(f"{argv[0]!r} is not allowed: AGENTOS_WORKER_SHELL_COMMANDS names {allowed}.")
        with tempfile.TemporaryDirectory(prefix="agentos-shell-") as directory:
            process = await asyncio.create_subprocess_exec(
                *self.isolation,
                path,
                *argv[1:],
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd=directory,
                env={"PATH": PATH, "HOME": directory, "TMPDIR": directory, "LANG": "C.UTF-8"},
                start_new_session=True,
            )
            return await self._watched(process, stdin.encode(), min(timeout_s or self.timeout_s, self.timeout_s))

    async def _watched(self, process: asyncio.subprocess.Process, stdin: bytes, timeout_s: int) -> dict[str, Any]:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        stdout, stderr = Output(self.output_bytes), Output(self.output_bytes)
        timed_out = False
        try:
            async with asyncio.timeout(timeout_s), asyncio.TaskGroup() as group:
                group.create_task(stdout.read(process.stdout, lambda: _kill(process)))
                group.create_task(stderr.read(process.stderr, lambda: _kill(process)))
                group.create_task(_feed(process.stdin, stdin))
                await process.wait()
        except TimeoutError:
            timed_out = True
        finally:
            _kill(process)  # also when the lease is lost and this is cancelled
            with suppress(TimeoutError):
                # To the end of its pipes: whoever still held them is dead, too.
                await asyncio.wait_for(process.communicate(), END_S)
        truncated = stdout.truncated or stderr.truncated
        code = None if timed_out or truncated else process.returncode
        return {
            "exit_code": code,
            "stdout": stdout.text(),
            "stderr": stderr.text(),
            "truncated": truncated,
            "timed_out": timed_out,
        }


async def _feed(pipe: asyncio.StreamWriter, text: bytes) -> None:
    with suppress(BrokenPipeError, ConnectionResetError):
        pipe.write(text)
        await pipe.drain()
    pipe.close()


def _kill(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


async def isolation(*, network: bool) -> Sequence[str] | None:
    """The best isolation that works here; None when there is none.

    Args:
        network: whether commands keep our network.
    """
    alone = _PROCESSES if network else (*_NETWORK, *_PROCESSES)
    for prefix in ((*_DIES_WITH_US, *_AS_USER, *alone, "--"), (*_DIES_WITH_US, *alone, "--")):
        with suppress(OSError, TimeoutError):
            null = asyncio.subprocess.DEVNULL
            probe = await asyncio.create_subprocess_exec(*prefix, "true", stdin=null, stdout=null, stderr=null)
            if await asyncio.wait_for(probe.wait(), PROBE_S) == 0:
                return prefix
    return None


async def add(worker: agentos.Worker, settings: WorkerSettings) -> None:
    """Register the handler, unless what it needs is not there."""
    names = [name.strip() for name in settings.worker_shell_commands.split(",") if name.strip()]
    found = {name: shutil.which(name, path=PATH) for name in names}
    for name in (name for name, path in found.items() if path is None):
        log.warning("shell_command_not_found", command=name, path=PATH)
    network = settings.worker_shell_network == "allow"
    prefix = await isolation(network=network)
    if prefix is None and not network:
        log.error(
            "shell_refused",
            detail="Commands cannot be kept from the network here (util-linux or namespaces are missing): the handler "
            "`shell` is left out. AGENTOS_WORKER_SHELL_NETWORK=allow takes it with the network.",
        )
        return
    shell = Shell(
        {name: path for name, path in found.items() if path is not None},
        prefix or (),
        settings.worker_shell_timeout_s,
        settings.worker_shell_output_kb * 1024,
    )

    @worker.run("shell")
    async def handle(run: agentos.AsyncRunContext) -> dict[str, Any]:
        asked = Request.model_validate(run.input)
        async with run.step("shell", title=" ".join(asked.argv)[:200]) as step:
            result: dict[str, Any] = await step.tool(
                "shell.run", shell.run, argv=asked.argv, stdin=asked.stdin, timeout_s=asked.timeout_s
            )
        if result["exit_code"] != 0:
            raise CommandFailed(_why(asked.argv[0], result, settings))
        run.summary = f"{asked.argv[0]} ended with 0"
        return result


def _why(command: str, result: Mapping[str, Any], settings: WorkerSettings) -> str:
    if result["timed_out"]:
        return f"{command} was killed: its time was up."
    if result["truncated"]:
        return f"{command} was killed: it wrote more than {settings.worker_shell_output_kb} KiB."
    return f"{command} ended with {result['exit_code']}: {result['stderr'][-500:]}".rstrip(": ")
