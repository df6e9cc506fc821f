"""One component of the stack: a process that is started, watched, restarted with back-off and, at last, given up.

    stopped -> starting -> healthy <-> degraded
                  ^           |            |
                  |           v            v        (exit, start timeout, or silence for too long)
                  +------ restarting <-----+
                              |
                              v   after ``attempts`` starts in a row that never became ready, or a wrong setting
                            fatal

The back-off grows with every failure until the component has been healthy for ``FORGIVEN_AFTER_S``. Exit code 3 (a
dependency cannot be reached) does not count towards fatal while a dependency is indeed not healthy: the cause is
elsewhere. Exit code 2 (wrong settings) is final: trying again would only repeat it.
"""

import asyncio
import os
import random
import signal
import subprocess
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import psutil

from agentos_runtime.errors import RuntimeFailure, Unreachable
from agentos_runtime.logs import RotatingLog
from agentos_runtime.probe import Answer, Probe

FORGIVEN_AFTER_S: Final = 30.0
#: A process that answers nothing for so long hangs; one that answers "not ready" is only waiting for others.
SILENCE_LIMIT_S: Final = 60.0
FIRST_RETRY_S: Final = 0.2
EXIT_USAGE: Final = 2
EXIT_DEPENDENCY: Final = 3


class State(StrEnum):
    """Of a component; overall as well."""

    STARTING = "starting"
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    RESTARTING = "restarting"
    FATAL = "fatal"
    STOPPED = "stopped"


async def nothing() -> None:
    """The hook of a component that has none."""


@dataclass(frozen=True, slots=True)
class Spec:
    """How to run one component.

    Attributes:
        command: makes the command line; None for a server that is run elsewhere and only watched.
        before_start: awaited before each start, such as removing leftovers.
        on_ready: awaited when a start has become ready, before the component counts as healthy. Unreachable makes it a
            failed start; any other RuntimeFailure is final.
        needs: names of components without which this one exits with code 3.
        stop_signals: (signal, seconds of patience) in order; SIGKILL follows.
    """

    name: str
    probe: Probe
    command: Callable[[], Sequence[str]] | None
    environment: Mapping[str, str] = field(default_factory=dict)
    before_start: Callable[[], Awaitable[None]] = nothing
    on_ready: Callable[[], Awaitable[None]] = nothing
    needs: tuple[str, ...] = ()
    stop_signals: tuple[tuple[signal.Signals, float], ...] = ((signal.SIGTERM, 8.0),)
    watch_every_s: float = 2.0
    start_timeout_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waiting time before a restart: short once, then doubling up to a cap, with jitter of a fifth."""

    base_s: float
    cap_s: float
    attempts: int

    def delay_s(self, failures: int, jitter: Callable[[], float] = random.random) -> float:
        """Seconds to wait after the given number (>= 1) of failures in a row."""
        plain = FIRST_RETRY_S if failures == 1 else min(self.cap_s, self.base_s * 2.0 ** min(failures - 2, 30))
        return min(self.cap_s, plain * (0.8 + 0.4 * jitter()))


class Component:
    """Runs one ``Spec``. ``changed`` is called after every change of state."""

    def __init__(
        self,
        spec: Spec,
        backoff: Backoff,
        log: Path,
        changed: Callable[["Component"], None],
        blocked: Callable[["Component"], bool],
    ) -> None:
        self.spec = spec
        self.state = State.STOPPED
        self.detail = ""
        self.pid: int | None = None
        self.created: float | None = None
        self.restarts = 0
        self.last_exit: str | None = None
        self._backoff = backoff
        self._log_path = log
        self._changed = changed
        self._blocked = blocked
        self._failures = 0
        self._unready_starts = 0
        self._was_ready = False
        self._ever_ready = False
        self._process: subprocess.Popen[bytes] | None = None
        self._exited = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None
        self._reaping: asyncio.Task[None] | None = None
        self._log: RotatingLog | None = None

    @property
    def name(self) -> str:
        """Of the spec."""
        return self.spec.name

    @property
    def exit_code(self) -> int | None:
        """Of its last process; None while that runs, or when there was none."""
        return self._process.returncode if self._process is not None else None

    @property
    def last_lines(self) -> list[str]:
        """The end of its log."""
        return list(self._log.last_lines) if self._log else []

    def status(self) -> dict[str, Any]:
        """For ``agentos status``."""
        return {
            "state": str(self.state),
            "pid": self.pid,
            "restarts": self.restarts,
            "created": self.created,
            "external": self.spec.command is None,
            "detail": self.detail,
            "last_exit": self.last_exit,
        }

    async def run(self) -> None:
        """Runs until it is cancelled or given up. Cancelling does not end the process: ``stop`` does."""
        if self.spec.command is not None:
            self._log = RotatingLog(self._log_path)
        while True:
            self._was_ready = False
            self._process = None
            self._set(State.STARTING, "")
            try:
                await self.spec.before_start()
                if self.spec.command is not None:
                    self._spawn(self.spec.command())
                await self._watch()
            except Unreachable as failure:  # it went away again while it was made ready
                await self._give_up(str(failure))
            except RuntimeFailure as failure:
                await self._kill()
                self._set(State.FATAL, str(failure))
                return
            except Exception as error:  # whatever it is, it must not take the other components along
                if self._log is not None:
                    self._log.write(traceback.format_exc().encode())
                await self._give_up(f"{type(error).__name__}: {error}")
            self.pid = self.created = None
            self._failures += 1
            if not self._may_restart():
                times = "" if self._unready_starts < 2 else f"gave up after {self._unready_starts} starts; at last "
                self._set(State.FATAL, f"{times}{self.last_exit}")
                return
            delay = self._backoff.delay_s(self._failures)
            self._set(State.RESTARTING, f"{self.last_exit}; again in {delay:.1f} s")
            await asyncio.sleep(delay)
            self.restarts += 1

    def _may_restart(self) -> bool:
        code = self.exit_code
        if code == EXIT_DEPENDENCY and self._blocked(self):
            return True
        self._unready_starts += not self._was_ready
        if self.spec.command is None:  # not ours to restart: waited for, unless it never was there
            return self._ever_ready
        return code != EXIT_USAGE and self._unready_starts < self._backoff.attempts

    async def stop(self) -> None:
        """Ends the process, politely first. Call it when ``run`` no longer runs."""
        for number, patience_s in (*self.spec.stop_signals, (signal.SIGKILL, 5.0)):
            if self._process is None or self._exited.is_set():
                break
            self._signal(number)
            with suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    await self._exited.wait()
        await self._end_group()
        self.pid = self.created = None
        if self.state is not State.FATAL:
            self._set(State.STOPPED, "")
        if self._log:
            self._log.close()

    def kill_now(self) -> None:
        """For a second Ctrl-C: no patience."""
        if self._process is not None and not self._exited.is_set():
            self._signal(signal.SIGKILL)

    # -- the process ---------------------------------------------------------------------------------------------

    def _spawn(self, command: Sequence[str]) -> None:
        assert self._log is not None
        reading, writing = os.pipe()  # closed in every other child: Python makes descriptors so
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=writing,
                stderr=writing,
                env=dict(self.spec.environment),
                cwd=self._log_path.parent,
                start_new_session=True,
            )
        except OSError:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        self._exited = asyncio.Event()
        self.pid = self._process.pid
        with suppress(psutil.Error):
            self.created = psutil.Process(self.pid).create_time()
        self._reading = asyncio.create_task(self._read(reading, self._log), name=f"log of {self.name}")
        self._reaping = asyncio.create_task(self._reap(self._process, self._exited), name=f"exit of {self.name}")
        self._changed(self)

    async def _read(self, descriptor: int, log: RotatingLog) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=1 << 20)
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", buffering=0)
        )
        try:
            while data := await reader.read(1 << 16):
                log.write(data)
        finally:
            transport.close()

    async def _reap(self, process: subprocess.Popen[bytes], exited: asyncio.Event) -> None:
        """Waits for the exit without a thread: by pidfd where the system has it, else by looking."""
        if hasattr(os, "pidfd_open"):
            descriptor = os.pidfd_open(process.pid)
            ended = asyncio.Event()
            loop = asyncio.get_running_loop()
            loop.add_reader(descriptor, ended.set)
            try:
                await ended.wait()
            finally:
                loop.remove_reader(descriptor)
                os.close(descriptor)
            process.wait()
        while process.poll() is None:
            await asyncio.sleep(0.05)
        exited.set()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            self._process.send_signal(signal.SIGCONT)  # a stopped process hears nothing else

    async def _end_group(self) -> None:
        """What the process has started goes with it; its last words are read first."""
        if self._process is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        if self._reading is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._reading
            self._reading = None

    async def _kill(self) -> None:
        self._signal(signal.SIGKILL)
        if self._process is not None:
            await self._exited.wait()
        await self._end_group()
        self.pid = self.created = None

    # -- its health ----------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Returns once this start has failed; ``last_exit`` says how."""
        started = time.monotonic()
        healthy_since: float | None = None
        silent_since: float | None = None
        while not await self._ended_within(0.05 if healthy_since is None else self.spec.watch_every_s):
            found = await self.spec.probe()
            if self._exited.is_set():
                continue
            now = time.monotonic()
            if found.answer is Answer.READY:
                silent_since = None
                if healthy_since is None:
                    await self.spec.on_ready()
                    healthy_since = now
                    self._unready_starts = 0
                    self._was_ready = self._ever_ready = True
                elif now - healthy_since > FORGIVEN_AFTER_S:
                    self._failures = 0
                self._set(State.HEALTHY, "")
                continue
            if healthy_since is None:
                if self.detail != found.detail and found.answer is Answer.NOT_READY:
                    self._set(State.STARTING, found.detail)
                if now - started > self.spec.start_timeout_s:
                    waited = f"{self.spec.start_timeout_s:.0f} s"
                    await self._give_up(f"not ready {waited} after its start ({found.detail})")
                    return
                continue
            self._set(State.DEGRADED, found.detail)
            healthy_since = now  # forgiveness counts from its recovery
            silent_since = (silent_since or now) if found.answer is Answer.SILENT else None
            if silent_since is not None and now - silent_since > SILENCE_LIMIT_S:
                await self._give_up(f"silent for {SILENCE_LIMIT_S:.0f} s")
                return
        assert self._process is not None
        await self._end_group()
        self.last_exit = describe_exit(self._process.returncode)

    async def _ended_within(self, seconds: float) -> bool:
        if self.spec.command is None:
            await asyncio.sleep(seconds)
            return False
        # Not wait_for: before Python 3.12 it swallows a cancellation that comes just as the process exits.
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._exited.wait()
        return self._exited.is_set()

    async def _give_up(self, why: str) -> None:
        await self._kill()
        self.last_exit = why

    def _set(self, state: State, detail: str) -> None:
        if (state, detail) != (self.state, self.detail) or state is State.STARTING:
            self.state, self.detail = state, detail
            self._changed(self)


def describe_exit(code: int) -> str:
    """In words a person understands."""
    if code < 0:
        try:
            return f"killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"killed by signal {-code}"
    return f"exited with code {code}"
