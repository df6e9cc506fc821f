"""``agentos up``: the supervisor in this process, or, with ``--detach``, in one of its own."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import typer

from agentos_cli import display
from agentos_runtime import settings as runtime_settings
from agentos_runtime.datadir import DataDir, Lock, open_private
from agentos_runtime.errors import RuntimeFailure
from agentos_runtime.settings import Settings
from agentos_runtime.supervisor import Supervisor, read_status

#: First starts make a database cluster; slow disks and busy machines get their time.
DETACH_TIMEOUT_S: Final = 120.0


def up(data_dir: Path | None, port: int | None, detach: bool) -> int:
    """Starts the stack. Returns the exit code."""
    settings = runtime_settings.load(data_dir, port)
    return start_detached(settings) if detach else run(settings)


def run(settings: Settings) -> int:
    """Runs until Ctrl-C."""
    with display.showing() as listener:
        asyncio.run(Supervisor(settings, listener).run())
    return 0


def start_detached(settings: Settings) -> int:
    """Starts a supervisor in a session of its own and returns once it says that all is ready."""
    data = DataDir(settings.data_dir)
    data.create()
    with Lock(data):
        pass  # refuses here, before the log of the one that runs is touched
    log = data.logs / "supervisor.log"
    command = [sys.executable, "-P", "-m", "agentos_cli", "up", "--data-dir", str(data.root)]
    with open_private(log) as stream:
        process = subprocess.Popen(
            [*command, "--port", str(settings.port)],
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
            if status is not None and status["pid"] == process.pid and status["ready_at"] is not None:
                typer.echo(f"Agent OS is ready: {status['url']}   (`agentos down` stops it)")
                if (link := display.sign_in(settings, status["url"])) is not None:
                    typer.echo(link)
                return 0
            continue
        typer.secho(_failure(log), err=True, fg=typer.colors.RED)
        return process.returncode or 1
    process.terminate()
    raise RuntimeFailure(f"Agent OS was not ready after {DETACH_TIMEOUT_S:.0f} s. See {log} and the logs beside it.")


def _failure(log: Path) -> str:
    """What the supervisor said last: its message, with the lines that belong to it."""
    lines = log.read_text(encoding="utf-8", errors="replace").rstrip().splitlines() or ["no reason was given"]
    start = next((number for number in range(len(lines) - 1, -1, -1) if not lines[number].startswith(" ")), 0)
    return "\n".join(lines[start:])
