"""``agentos projections``: how far the read models are, build them anew, try parked streams again.

Works on the database itself, with or without a running stack; the live projector may run meanwhile.
"""

import asyncio
import json
import logging
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import asyncpg
import structlog
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from agentos_projector import operations, tables
from agentos_projector import rebuild as rebuilding
from agentos_runtime import database
from agentos_runtime import settings as runtime_settings
from agentos_runtime.errors import RuntimeFailure, Unreachable, UsageError
from agentos_shared.contracts.positions import StreamKey

PHASES: Final = {
    "copy": "copying",
    "catch_up": "catching up",
    "switch": "switching",
    "search_index": "indexing for search",
    "done": "done",
}


def status(data_dir: Path | None, as_json: bool) -> int:
    """0 when the projections are current and no stream is parked, 1 otherwise."""
    found = asyncio.run(_status(runtime_settings.load(data_dir)))
    if as_json:
        _print_json(asdict(found))
    else:
        state = "up to date" if found.behind_events == 0 else f"{found.behind_events:,} events behind"
        typer.echo(f"{state}, of {found.events:,} events in {found.streams:,} streams")
        if not found.current:
            typer.secho("made by another version: the projector rebuilds them at its start", fg=typer.colors.YELLOW)
        for table, rows in found.rows.items():
            typer.echo(f"  {table:<20} {rows:>12,} rows")
        for parked in found.parked:
            _tell_parked(parked)
        if found.parked:
            typer.echo("Mend the cause, then `agentos projections retry`.")
    return 0 if found.current and not found.parked else 1


def rebuild(data_dir: Path | None, as_json: bool) -> int:
    """Builds the projections anew; readers keep the old ones until the switch."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[rate]}"), TimeElapsedColumn())
    progress = Progress(*columns, console=console, disable=as_json or not console.is_terminal)
    with progress:
        bar = progress.add_task("starting", total=None, rate="")
        done = asyncio.run(_rebuild(runtime_settings.load(data_dir), progress, bar))
    if as_json:
        _print_json(asdict(done))
    else:
        typer.secho(
            f"Rebuilt from {done.events:,} events of {done.streams:,} streams in {done.seconds:.1f} s "
            f"({done.rate:,.0f} events/s).",
            fg=typer.colors.GREEN,
        )
        if done.parked:
            typer.secho(f"{done.parked} streams are parked: see `agentos projections status`.", fg=typer.colors.YELLOW)
    return 1 if done.parked else 0


def retry(data_dir: Path | None, streams: Sequence[str], as_json: bool) -> int:
    """0 when every stream that was asked for goes on, 1 otherwise."""
    keys = [_key(name) for name in streams] or None
    done = asyncio.run(_retry(runtime_settings.load(data_dir), keys))
    if as_json:
        resumed = [f"{key.stream_type}/{key.stream_id}" for key in done.resumed]
        _print_json({"resumed": resumed, "parked": [_described(parked) for parked in done.parked]})
    else:
        if not done.resumed and not done.parked:
            typer.echo("No such stream is parked." if keys else "No stream is parked.")
        for key in done.resumed:
            typer.secho(f"{key.stream_type}/{key.stream_id}: goes on", fg=typer.colors.GREEN)
        for parked in done.parked:
            _tell_parked(parked)
    return 1 if done.parked else 0


async def _status(settings: runtime_settings.Settings) -> operations.Status:
    async with _database(settings) as url:
        connection = await asyncpg.connect(url, timeout=10)
        try:
            return await operations.status(connection)
        finally:
            await connection.close()


async def _rebuild(settings: runtime_settings.Settings, progress: Progress, bar: TaskID) -> rebuilding.Rebuilt:
    def show(now: rebuilding.Progress) -> None:
        left = f", {now.eta_s:,.0f} s left" if now.eta_s else ""
        rate = f"{now.done:,} of {now.total:,} ({now.rate:,.0f}/s{left})"
        progress.update(bar, description=PHASES[now.phase], completed=now.done, total=now.total, rate=rate)

    try:
        async with _database(settings) as url:
            return await rebuilding.rebuild(url, on_progress=show)
    except rebuilding.RebuildError as error:
        raise RuntimeFailure(f"{error}. Try again later.") from error


async def _retry(settings: runtime_settings.Settings, keys: list[StreamKey] | None) -> operations.Retried:
    async with _database(settings) as url:
        connection = await tables.open_session(url)
        try:
            return await operations.retry(connection, keys)
        finally:
            await connection.close()


@asynccontextmanager
async def _database(settings: runtime_settings.Settings) -> AsyncIterator[str]:
    """The owner's URL; what the projector's code logs goes to stderr, and only if it is serious."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    try:
        async with database.owner_url(settings) as url:
            yield url
    except tables.SchemaMissing as error:
        raise RuntimeFailure("The database has no event store yet: `agentos up` makes it.") from error
    except asyncpg.UndefinedTableError as error:
        raise RuntimeFailure("The database has no projections yet: start the stack with `agentos up`.") from error
    except (OSError, asyncpg.PostgresError) as error:
        raise Unreachable(f"Postgres refused: {error}. See `agentos doctor`.") from error


def _key(name: str) -> StreamKey:
    kind, slash, stream_id = name.partition("/")
    if not slash or not stream_id:
        raise UsageError(f"{name}: expected room/<room_id> or workspace/<workspace_id>.")
    return StreamKey(kind, stream_id)


def _described(parked: Any) -> dict[str, Any]:
    return {
        "stream": f"{parked.key.stream_type}/{parked.key.stream_id}",
        "stream_seq": parked.stream_seq,
        "event_id": parked.event_id,
        "event_type": parked.event_type,
        "error": parked.error,
        "attempts": parked.attempts,
    }


def _tell_parked(parked: Any) -> None:
    told = _described(parked)
    where = f"{told['stream']} stopped before {told['stream_seq']} ({told['event_type']}, event {told['event_id']})"
    typer.secho(f"{where}: {told['error']} [{told['attempts']} tries]", fg=typer.colors.RED)


def _print_json(document: Any) -> None:
    typer.echo(json.dumps(document, indent=1, default=str))
