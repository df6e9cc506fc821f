"""``agentos up``: the supervisor in this process, or, with ``--detach``, in one of its own."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import typer

from agentos_runtime import settings as runtime_settings
from agentos_runtime.component import Component, State
from agentos_runtime.datadir import DataDir
from agentos_runtime.errors import RuntimeFailure
from agentos_runtime.settings import Settings
from agentos_runtime.supervisor import Supervisor, read_status

#: First starts make a database cluster; slow disks and busy machines get their time.
DETACH_TIMEOUT_S: Final = 120.0

COLOURS: Final = {
    State.STARTING: typer.colors.CYAN,
    State.HEALTHY: typer.colors.GREEN,
    State.DEGRADED: typer.colors.YELLOW,
    State.RESTARTING: typer.colors.YELLOW,
    State.FATAL: typer.colors.RED,
    State.STOPPED: typer.colors.WHITE,
}


def up(data_dir: Path | None, port: int | None, detach: bool) -> int:
    """Starts the stack. Returns the exit code."""
    settings = runtime_settings.load(data_dir, port)
    return start_detached(settings) if detach else run(settings)


def run(settings: Settings) -> int:
    """Runs until Ctrl-C."""
    shown: dict[str, tuple[State, str]] = {}
    announced = False

    def show(supervisor: Supervisor, component: Component | None) -> None:
        nonlocal announced
        if component is not None and shown.get(component.name) != (component.state, component.detail):
            shown[component.name] = (component.state, component.detail)
            line(component.name, component.state, component.detail)
        if supervisor.phase is State.HEALTHY and not announced and supervisor.addresses is not None:
            announced = True
            typer.echo(f"Agent OS is ready: {supervisor.addresses.url}   (Ctrl-C stops it)")

    asyncio.run(Supervisor(settings, show).run())
    return 0


def line(name: str, state: State, detail: str) -> None:
    """One line of a component, coloured on a terminal."""
    typer.echo(f"{name:<10} " + typer.style(f"{state:<10}", fg=COLOURS[state]) + (f" {detail}" if detail else ""))


def start_detached(settings: Settings) -> int:
    """Starts a supervisor in a session of its own and returns once it says that all is ready."""
    data = DataDir(settings.data_dir)
    data.create()
    log = data.logs / "supervisor.log"
    with log.open("ab") as stream:
        stream.truncate(0)
        process = subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-m",
                "agentos_cli",
                "up",
                "--data-dir",
                str(data.root),
                "--port",
                str(settings.port),
            ],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
    deadline = time.monotonic() + DETACH_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            status = read_status(data)
            if status is not None and status["pid"] == process.pid and status["phase"] == State.HEALTHY:
                typer.echo(f"Agent OS is ready: {status['url']}   (`agentos down` stops it)")
                return 0
            continue
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        typer.secho("\n".join(lines[-1:]), err=True, fg=typer.colors.RED)
        return process.returncode or 1
    process.terminate()
    raise RuntimeFailure(f"Agent OS was not ready after {DETACH_TIMEOUT_S:.0f} s. See {log} and the logs beside it.")
