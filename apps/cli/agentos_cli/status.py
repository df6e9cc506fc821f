"""``agentos status`` and ``agentos down``."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any, Final

import psutil
import typer

from agentos_runtime import processes
from agentos_runtime import settings as runtime_settings
from agentos_runtime.component import State
from agentos_runtime.datadir import DataDir
from agentos_runtime.errors import RuntimeFailure
from agentos_runtime.supervisor import read_status

DOWN_TIMEOUT_S: Final = 60.0


def status(data_dir: Path | None, as_json: bool) -> int:
    """0 when the stack runs and is healthy, 1 otherwise."""
    from agentos_cli.display import line

    data = DataDir(runtime_settings.load(data_dir).data_dir)
    found = read_status(data)
    if as_json:
        urls = dict.fromkeys(("url", "postgres_url", "nats_url", "gateway_url"))
        stopped: dict[str, Any] = {"phase": "stopped", "components": {}, **urls, "data_dir": str(data.root)}
        typer.echo(json.dumps(found or stopped, indent=1))
    elif found is None:
        typer.echo(f"stopped: nothing runs on {data.root}. Start it with `agentos up`.")
    else:
        for name, component in found["components"].items():
            parts = [f"pid {component['pid']}" if component["pid"] else "", component["detail"]]
            if component["restarts"]:
                parts.insert(1, f"restarted {component['restarts']} times")
            typer.echo(line(name, State(component["state"]), ", ".join(part for part in parts if part)))
        low = "   disk nearly full" if found["disk"]["low"] else ""
        typer.echo(f"{found['phase']}: {found['url']}   data in {found['data_dir']}{low}")
    return 0 if found is not None and found["phase"] == State.HEALTHY else 1


def down(data_dir: Path | None) -> int:
    """Stops the supervisor of the data directory and waits for it; nothing running is fine."""
    data = DataDir(runtime_settings.load(data_dir).data_dir)
    found = read_status(data)
    process = processes.same(int(found["pid"]), float(found["created"])) if found else None
    if process is None:
        typer.echo(f"Nothing runs on {data.root}.")
        return 0
    started = time.monotonic()
    try:
        process.terminate()
    except psutil.NoSuchProcess:
        pass
    except psutil.AccessDenied as error:
        raise RuntimeFailure(f"Process {process.pid} belongs to another user: stop it as that user.") from error
    if asyncio.run(processes.wait_gone([process], DOWN_TIMEOUT_S)):
        raise RuntimeFailure(
            f"The supervisor (pid {process.pid}) has not stopped within {DOWN_TIMEOUT_S:.0f} s. See {data.logs}."
        )
    typer.echo(f"Stopped in {time.monotonic() - started:.1f} s.")
    return 0
