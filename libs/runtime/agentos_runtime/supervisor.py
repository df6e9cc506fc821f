"""Runs the stack: all components at once, one lock per data directory, everything stopped in order at the end."""

import asyncio
import errno
import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil

from agentos_runtime import processes, stack
from agentos_runtime.component import EXIT_USAGE, Backoff, Component, State
from agentos_runtime.datadir import DataDir, Lock, bind, read_json, write_private
from agentos_runtime.errors import AlreadyRunning, RuntimeFailure, Unreachable, UsageError
from agentos_runtime.settings import Settings

DISK_EVERY_S: Final = 10.0
#: What stops first: nobody may be left without what it needs to finish.
STOP_ORDER: Final = (("api", "projector", "engine", "policy", "gateway"), ("nats",), ("postgres",))


@dataclass(slots=True)
class Disk:
    """Free space of the data directory's file system."""

    free_bytes: int = 0
    low: bool = False


@dataclass(slots=True)
class Supervisor:
    """One run of the stack.

    Attributes:
        listener: called after every change, for the terminal.
    """

    settings: Settings
    listener: Callable[["Supervisor", Component | None], None] = lambda supervisor, component: None
    components: list[Component] = field(default_factory=list)
    phase: State = State.STARTING
    disk: Disk = field(default_factory=Disk)
    addresses: stack.Addresses | None = None
    _stopping: bool = False
    _started: float = field(default_factory=time.time)
    _ready_at: float | None = None
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def ready(self) -> bool:
        """Whether everything was healthy at the same time, once."""
        return self._ready_at is not None

    async def run(self) -> None:
        """Until SIGINT or SIGTERM, or until a component was given up before the stack was ever ready.

        Raises:
            AlreadyRunning: another supervisor has this data directory, or the port is taken.
            RuntimeFailure: the stack could not start; Unreachable when it was for a server that somebody else runs,
                UsageError when it was for a setting.
        """
        data = DataDir(self.settings.data_dir)
        data.create()
        with Lock(data):
            await end_orphans(data)
            require_port(self.settings.host, self.settings.port)
            plan = await stack.plan(self.settings, data)
            self.addresses = plan.addresses
            backoff = Backoff(self.settings.restart_base_s, self.settings.restart_cap_s, self.settings.restart_attempts)
            self.components = [
                Component(spec, backoff, data.logs / f"{spec.name}.log", self._changed, self._blocked)
                for spec in plan.specs
            ]
            loop = asyncio.get_running_loop()
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                loop.add_signal_handler(number, self._ask_to_stop)
            running = {
                component.name: asyncio.create_task(self._run_one(component, plan), name=component.name)
                for component in self.components
            }
            for task in running.values():
                task.add_done_callback(lambda _: self._wake.set())
            watching = asyncio.create_task(self._watch_disk(), name="disk")
            try:
                await self._until_stopped(running)
            finally:
                watching.cancel()
                await self._stop(running)
        if not self.ready and (failed := self._first_fatal()):
            if failed.spec.command is None and failed.last_exit is not None:  # it never answered, or fell silent
                variable = f"AGENTOS_{failed.name.upper()}_URL"
                raise Unreachable(f"{failed.name}: {failed.detail}. Start that server, or correct {variable}.")
            kind = UsageError if failed.exit_code == EXIT_USAGE else RuntimeFailure
            raise kind(self._why(failed, data.logs / f"{failed.name}.log"))

    def _why(self, failed: Component, log: Path) -> str:
        """The reason of a start that failed; for a process that ended, with its last words."""
        reason = f"{failed.name} did not start: {failed.detail.rstrip('.')}. See {log}"
        if failed.last_exit is None or not failed.last_lines:
            return reason
        # Wrong settings are told all at once, each on a line of its own; they are the last thing that a service says.
        lines = failed.last_lines if failed.exit_code == EXIT_USAGE else failed.last_lines[-3:]
        return reason + ":" + "".join(f"\n  {line[:500]}" for line in lines)

    async def _run_one(self, component: Component, plan: stack.Plan) -> None:
        await plan.may_start(component.name)
        await component.run()

    async def _until_stopped(self, running: dict[str, asyncio.Task[None]]) -> None:
        while not self._stopping:
            await self._wake.wait()
            self._wake.clear()
            for task in running.values():
                if task.done() and not task.cancelled() and (error := task.exception()):
                    raise error
            if not self.ready and self._first_fatal():
                return

    async def _stop(self, running: dict[str, asyncio.Task[None]]) -> None:
        self._stopping = True
        self._changed(None)
        for task in running.values():
            task.cancel()
        await asyncio.gather(*running.values(), return_exceptions=True)
        by_name = {component.name: component for component in self.components}
        for names in STOP_ORDER:
            await asyncio.gather(*(by_name.pop(name).stop() for name in names if name in by_name))

    def _ask_to_stop(self) -> None:
        if self._stopping:
            for component in self.components:
                component.kill_now()
        self._stopping = True
        self._wake.set()

    def _first_fatal(self) -> Component | None:
        return next((component for component in self.components if component.state is State.FATAL), None)

    def _blocked(self, component: Component) -> bool:
        states = {other.name: other.state for other in self.components}
        return any(states.get(name, State.HEALTHY) is not State.HEALTHY for name in component.spec.needs)

    async def _watch_disk(self) -> None:
        while True:
            with suppress(OSError):
                free = shutil.disk_usage(self.settings.data_dir).free
                was = self.disk.low
                # Back only with room to spare, so that it does not flap at the mark.
                low = free < self.settings.disk_low_bytes * (1.25 if was else 1.0)
                self.disk = Disk(free, low)
                if low != was:
                    self._changed(None)
            await asyncio.sleep(DISK_EVERY_S)

    # -- what others see -----------------------------------------------------------------------------------------

    def _changed(self, component: Component | None) -> None:
        if self._ready_at is None and self._all_healthy():
            self._ready_at = time.time()
        self.phase = self._overall()
        with suppress(OSError):  # a full disk must not stop the supervisor
            write_private(DataDir(self.settings.data_dir).run_file, json.dumps(self.status(), indent=1))
        with suppress(OSError):  # nor must a terminal that was closed
            self.listener(self, component)
        self._wake.set()

    def _all_healthy(self) -> bool:
        return all(component.state is State.HEALTHY for component in self.components)

    def _overall(self) -> State:
        if self._stopping:
            return State.STOPPED
        if self._first_fatal():
            return State.FATAL
        if self._all_healthy():
            return State.DEGRADED if self.disk.low else State.HEALTHY
        return State.DEGRADED if self.ready else State.STARTING

    def status(self) -> dict[str, Any]:
        """What ``agentos status --json`` prints (run.json, readable by the owner only: it holds URLs)."""
        assert self.addresses is not None
        return {
            "phase": str(self.phase),
            "components": {component.name: component.status() for component in self.components},
            "url": self.addresses.url,
            "postgres_url": self.addresses.postgres_url,
            "nats_url": self.addresses.nats_url,
            "gateway_url": self.addresses.gateway_url,
            "data_dir": str(self.settings.data_dir),
            "pid": os.getpid(),
            "created": psutil.Process().create_time(),
            "started_at": self._started,
            "ready_at": self._ready_at,
            "disk": {"free_bytes": self.disk.free_bytes, "low": self.disk.low},
        }


def require_port(host: str, port: int) -> None:
    """Raises AlreadyRunning when somebody listens there, UsageError when this machine has no such address."""
    try:
        bind(host, port).close()
    except OSError as error:
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            raise UsageError(
                f"AGENTOS_HOST: this machine has no address {host!r} to listen on ({error.strerror}). Correct it."
            ) from None
        raise AlreadyRunning(
            f"Port {port} on {host} cannot be had ({error.strerror}): stop what uses it, or choose another with --port."
        ) from None


async def end_orphans(data: DataDir) -> None:
    """Ends what a killed supervisor left, each known by pid and start time; Postgres sees to its own."""
    left = read_json(data.run_file).get("components", {})
    found = [
        process
        for name, status in left.items()
        if name != "postgres" and status.get("pid") and status.get("created")
        if (process := processes.same(int(status["pid"]), float(status["created"]))) is not None
    ]
    if found:
        await processes.end(found, signal.SIGTERM, patience_s=8)


def read_status(data: DataDir) -> dict[str, Any] | None:
    """What runs on this data directory; None when nothing does."""
    status = read_json(data.run_file)
    if not isinstance(status, dict) or not status.get("pid"):
        return None
    if processes.same(int(status["pid"]), float(status["created"])) is None:
        return None
    return status
