"""``agentos doctor``: what Agent OS needs, checked here and now, each with the next step."""

import asyncio
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import typer

from agentos_runtime import binaries, probe, processes
from agentos_runtime import settings as runtime_settings
from agentos_runtime.datadir import DataDir, bind
from agentos_runtime.errors import RuntimeFailure
from agentos_runtime.settings import Settings
from agentos_runtime.supervisor import read_status

#: A first start, with room for some logs.
ROOM_BYTES: Final = 1024**3
MARKS: Final = {"ok": typer.colors.GREEN, "warning": typer.colors.YELLOW, "failed": typer.colors.RED}


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of one check; ``next_step`` is empty when there is nothing to do."""

    check: str
    result: Literal["ok", "warning", "failed"]
    detail: str
    next_step: str = ""


def doctor(data_dir: Path | None, port: int | None, as_json: bool) -> int:
    """0 when nothing failed (warnings are no failure), 1 otherwise."""
    settings = runtime_settings.load(data_dir, port)
    findings = asyncio.run(examine(settings, port))
    if as_json:
        typer.echo(json.dumps({"checks": [asdict(finding) for finding in findings]}, indent=1))
    else:
        for finding in findings:
            mark = typer.style(f"{finding.result:<8}", fg=MARKS[finding.result])
            typer.echo(f"{mark} {finding.check}: {finding.detail}")
            if finding.next_step:
                typer.echo(f"{'':9}-> {finding.next_step}")
    return 1 if any(finding.result == "failed" for finding in findings) else 0


async def examine(settings: Settings, port: int | None) -> list[Finding]:
    """Every check; none depends on another's success.

    Args:
        port: asked about explicitly; None means that of the stack that runs, else that of the settings.
    """
    status = read_status(DataDir(settings.data_dir))
    findings = [python(), *servers(), data_directory(settings.data_dir), disk(settings)]
    findings.append(api_port(settings, port, status))
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        findings.append(root())
    postgres_url = settings.postgres_url or (status or {}).get("postgres_url")
    nats_url = settings.nats_url or (status or {}).get("nats_url")
    stopped = Finding("running", "ok", "nothing runs on this data directory", "start it with `agentos up`")
    if postgres_url is None and nats_url is None:
        return [*findings, stopped]
    for check, url in ((database, postgres_url), (bus, nats_url)):
        if url is not None:
            findings.append(await check(url))
    if status is not None:
        findings += components(status)
    return findings


def python() -> Finding:
    """The interpreter; an older one than 3.11 would not have come so far."""
    return Finding("python", "ok", f"{'.'.join(map(str, sys.version_info[:3]))} ({sys.executable})")


def servers() -> list[Finding]:
    """Both binaries run on this machine."""
    found = []
    wanted: list[tuple[str, Callable[[], Path], str]] = [
        ("postgres", lambda: binaries.postgres_bin() / "postgres", "--version"),
        ("nats-server", binaries.nats_server, "--version"),
    ]
    for name, locate, flag in wanted:
        try:
            done = subprocess.run([str(locate()), flag], capture_output=True, text=True, timeout=10, check=True)
            found.append(Finding(name, "ok", done.stdout.strip()))
        except RuntimeFailure as failure:
            found.append(Finding(name, "failed", str(failure), "make setup"))
        except (OSError, subprocess.SubprocessError) as error:
            found.append(Finding(name, "failed", f"does not run here: {error}", "make clean setup"))
    return found


def data_directory(path: Path) -> Finding:
    """Ours, and closed to others."""
    if not path.exists():
        parent = next(parent for parent in path.parents if parent.exists())
        if os.access(parent, os.W_OK | os.X_OK):
            return Finding("data directory", "ok", f"{path} will be made by `agentos up`")
        return Finding("data directory", "failed", f"{parent} cannot be written", "choose another with --data-dir")
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        step = "run as its owner, or choose another with --data-dir"
        return Finding("data directory", "failed", f"{path} cannot be read and written", step)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        return Finding("data directory", "warning", f"{path} is open to others ({mode:o})", f"chmod 700 '{path}'")
    return Finding("data directory", "ok", str(path))


def disk(settings: Settings) -> Finding:
    """Free space."""
    place = next(place for place in (settings.data_dir, *settings.data_dir.parents) if place.exists())
    free = shutil.disk_usage(place).free
    detail = f"{free / 1024**3:.1f} GiB free"
    if free < settings.disk_low_bytes:
        return Finding("disk", "failed", detail, "free some space: below the mark the stack takes no more writes")
    if free < ROOM_BYTES:
        return Finding("disk", "warning", detail, "free some space soon")
    return Finding("disk", "ok", detail)


def api_port(settings: Settings, asked: int | None, status: dict[str, Any] | None) -> Finding:
    """Ours while the stack runs; else free."""
    if status is not None:
        ours = urlsplit(str(status["url"])).port
        if asked in (None, ours):
            return Finding("port", "ok", f"{ours} is held by our API ({status['url']})")
    elif settings.port == 0:
        return Finding("port", "ok", "0: the next start takes a free one")
    try:
        bind(settings.host, settings.port).close()
    except OSError as error:
        detail = f"{settings.port} on {settings.host} cannot be had: {error.strerror}"
        return Finding("port", "failed", detail, "stop what uses it, or choose another with --port")
    return Finding("port", "ok", f"{settings.port} is free")


def root() -> Finding:
    """Postgres does not run as root; how do we get around it?"""
    command = processes.launched(
        [sys.executable, "-I", "-S", "-c", "import os; print(os.geteuid())"], signal.SIGTERM, not_root=True
    )
    done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    if done.returncode == 0 and done.stdout.strip() not in ("", "0"):
        return Finding("root", "ok", "Postgres runs without root's rights")
    return Finding("root", "failed", (done.stderr or done.stdout).strip(), "run Agent OS as an ordinary user")


async def database(url: str) -> Finding:
    """Reachable, migrated, and set to keep what it acknowledges."""
    import asyncpg

    from agentos_shared.store import migrate

    try:
        connection = await asyncpg.connect(url, timeout=5)
    except (OSError, asyncpg.PostgresError, TimeoutError) as error:
        step = "see logs/postgres.log in the data directory, or check AGENTOS_POSTGRES_URL"
        return Finding("database", "failed", f"cannot be reached: {error}", step)
    try:
        await migrate.check_server(connection)
        await migrate.check_durability(connection)
        await migrate.check_schema(connection)
        version = await connection.fetchval("select current_setting('server_version')")
    except migrate.StoreRefused as refusal:
        return Finding("database", "failed", str(refusal), "as it says")
    finally:
        await connection.close()
    return Finding("database", "ok", f"Postgres {version}, durable, schema up to date")


async def bus(url: str) -> Finding:
    """Reachable, with JetStream; the first of several servers is asked."""
    parts = urlsplit(url.split(",")[0].strip())
    found = await probe.nats(parts.hostname or "localhost", parts.port or 4222, parts.username, parts.password)
    if found.answer is probe.Answer.READY:
        return Finding("bus", "ok", "NATS answers, JetStream is on")
    step = "see logs/nats.log in the data directory, or check AGENTOS_NATS_URL"
    return Finding("bus", "failed", found.detail, step)


def components(status: dict[str, Any]) -> list[Finding]:
    """What the supervisor says of each."""
    found = []
    for name, component in status["components"].items():
        detail = ", ".join(filter(None, (component["state"], component["detail"])))
        good = component["state"] == "healthy"
        step = "" if good else f"see {Path(status['data_dir']) / 'logs' / name}.log"
        found.append(Finding(name, "ok" if good else "failed", detail, step))
    return found
