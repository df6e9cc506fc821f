"""A stack to be hurt: what may die in it, how it is held down, and what may run in it twice. Every end is a kill -9."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import psutil

from agentos_runtime import processes
from tests.fixtures.stack import Stack, agentos, wait_until

SERVICES: Final = ("api", "projector")
KILLED_BY_FAILPOINT: Final = "exited with code 137"
#: Faults come one after the other here: a back-off that is meant for what keeps failing would only be waited for.
HASTE: Final[Mapping[str, str]] = {
    "AGENTOS_RESTART_BASE_S": "0.2",
    "AGENTOS_RESTART_CAP_S": "0.4",
    "AGENTOS_RESTART_ATTEMPTS": "50",
}
READY_S: Final = 40.0


@dataclass(frozen=True, slots=True)
class Twin:
    """A second process of a service, beside the one that the supervisor runs."""

    url: str
    process: "subprocess.Popen[bytes]"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)


class Cluster:
    """One stack and its misfortunes.

    Args:
        stack: started with :func:`environment` of the same ``arms``.
        arms: the file that names the failpoints of the next start.
    """

    def __init__(self, stack: Stack, arms: Path) -> None:
        self.stack = stack
        self._arms = arms

    # -- one component

    def kill(self, component: str) -> int:
        """kill -9; returns the pid that is gone."""
        return self.stack.kill(component)

    def runs(self, component: str) -> bool:
        """Whether it has a process now."""
        pid = self.stack.status()["components"][component]["pid"]
        return pid is not None and psutil.pid_exists(int(pid))

    def arm(self, component: str, failpoints: str) -> int:
        """Kill the component, and arm its next start. Returns the pid that is to die at a failpoint."""
        self._arms.write_text(failpoints)
        try:
            self.stack.wait_healthy({component: self.kill(component)}, READY_S)
        finally:
            self._arms.unlink()
        return self.stack.pid(component)

    def wait_struck(self, component: str, pid: int, timeout_s: float = 30) -> None:
        """Wait until an armed process has died at its failpoint, and the stack is healthy again."""
        wait_until(lambda: not psutil.pid_exists(pid), timeout_s, lambda: f"{component} never came to its failpoint")
        self.stack.wait_healthy({component: pid}, READY_S)
        assert self.stack.status()["components"][component]["last_exit"] == KILLED_BY_FAILPOINT

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Whatever dies stays dead: the supervisor is stopped meanwhile."""
        supervisor = int(self.stack.status()["pid"])
        os.kill(supervisor, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(supervisor, signal.SIGCONT)

    @contextlib.contextmanager
    def paused(self, component: str) -> Iterator[None]:
        """It does nothing meanwhile, and then goes on as if no time had passed."""
        pid = self.stack.pid(component)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def delete_jetstream(self) -> None:
        """What JetStream has on disk. NATS must be down."""
        shutil.rmtree(self.stack.data_dir / "nats" / "store", ignore_errors=True)

    # -- all of it

    def kill_supervisor(self) -> None:
        """kill -9; its children hear of it and end."""
        children = self._processes()
        os.kill(int(self.stack.status()["pid"]), signal.SIGKILL)
        wait_until(lambda: not any(map(processes.alive, children)), 30)

    def kill_everything(self) -> None:
        """The supervisor and all that it started, at once: no one sees another one die."""
        all_of_it = self._processes()
        for process in all_of_it:
            process.suspend()
        for process in all_of_it:
            process.kill()
        wait_until(lambda: not any(map(processes.alive, all_of_it)), 30)

    def up(self) -> None:
        """``agentos up`` again, at the same address."""
        port = httpx.URL(self.stack.url).port
        done = agentos(
            "up", "--detach", "--data-dir", str(self.stack.data_dir), "--port", str(port), env=environment(self._arms)
        )
        assert done.returncode == 0, done.stderr

    def _processes(self) -> list[psutil.Process]:
        supervisor = psutil.Process(int(self.stack.status()["pid"]))
        return [supervisor, *supervisor.children(recursive=True)]

    # -- two of a kind

    @contextlib.contextmanager
    def second_api(self, failpoints: str = "") -> Iterator[Twin]:
        """Another API process with the settings that the supervisor gives to its own."""
        (port,) = _free_ports(self.stack.data_dir, "api_2")
        with self._twin("api", {"AGENTOS_PORT": str(port), "AGENTOS_FAILPOINTS": failpoints}, port) as twin:
            yield twin

    @contextlib.contextmanager
    def second_projector(self) -> Iterator[Twin]:
        """Another projector with the settings that the supervisor gives to its own."""
        (port,) = _free_ports(self.stack.data_dir, "projector_2")
        own = {"AGENTOS_HEALTH_PORT": str(port), "AGENTOS_FAILPOINTS": ""}
        with self._twin("projector", own, port) as twin:
            yield twin

    @contextlib.contextmanager
    def second_engine(self) -> Iterator[Twin]:
        """Another engine service with the settings that the supervisor gives to its own."""
        (port,) = _free_ports(self.stack.data_dir, "engine_2")
        own = {"AGENTOS_HEALTH_PORT": str(port), "AGENTOS_FAILPOINTS": ""}
        with self._twin("engine", own, port) as twin:
            yield twin

    @contextlib.contextmanager
    def _twin(self, service: str, own: Mapping[str, str], port: int) -> Iterator[Twin]:
        log = self.stack.data_dir / "logs" / f"{service}-2.log"
        with log.open("ab") as stream:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", f"agentos_{service}"],
                env={**self.settings_of(service), **own},
                stdout=stream,
                stderr=stream,
            )
        twin = Twin(f"http://127.0.0.1:{port}", process)
        try:
            wait_until(lambda: _answers(f"{twin.url}/readyz"), READY_S, lambda: log.read_text()[-3000:])
            yield twin
        finally:
            twin.kill()

    def settings_of(self, service: str) -> dict[str, str]:
        """The environment of the running process."""
        return psutil.Process(self.stack.pid(service)).environ()


def environment(arms: Path) -> dict[str, str]:
    """Settings for a stack that is to be hurt."""
    return {**HASTE, "AGENTOS_FAILPOINTS": f"@{arms}"}


def leads(url: str) -> bool:
    """Whether this API process leads the relay; False when it does not answer."""
    return metric(url, "agentos_relay_leader") == 1


def metric(url: str, name: str) -> float | None:
    """A metric of a process; None when it does not answer, or has no such."""
    try:
        text = httpx.get(f"{url}/metrics", timeout=1).text
    except httpx.TransportError:
        return None
    found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    return None if found is None else float(found[1])


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def _free_ports(data_dir: Path, *names: str) -> tuple[int, ...]:
    from agentos_runtime.datadir import DataDir

    found = DataDir(data_dir).ports(names)
    return tuple(found[name] for name in names)
