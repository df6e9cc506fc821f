"""``agentos audit verify``: the hash chain, checked straight from the database, with or without a running stack."""

import asyncio
import json
from pathlib import Path

import asyncpg
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from agentos_runtime import database
from agentos_runtime import settings as runtime_settings
from agentos_runtime.errors import RuntimeFailure, Unreachable, UsageError
from agentos_shared.domain.envelope import Stream
from agentos_shared.store.audit import StoreReport, verify_store, verify_stream
from agentos_shared.store.chain import Mismatch, Verdict


def verify(data_dir: Path | None, stream: str | None, workspace_id: str | None, as_json: bool) -> int:
    """0 when every event is what was appended, 1 when one is not."""
    settings = runtime_settings.load(data_dir)
    only = _stream(stream)
    with _progress(as_json) as progress:
        report, verdict = asyncio.run(_verify(settings, only, workspace_id, progress))
    if verdict is not None and not verdict.checked and verdict.valid:
        raise RuntimeFailure(f"{stream} holds no events: see the rooms with GET /v1/rooms.")
    if as_json:
        typer.echo(json.dumps((verdict or report).json(), indent=1))
    else:
        _tell(report)
    return 0 if report.valid else 1


def _stream(name: str | None) -> Stream | None:
    if name is None:
        return None
    kind, slash, stream_id = name.partition("/")
    if not slash or not stream_id or kind not in ("room", "workspace"):
        raise UsageError(f"--stream {name}: expected room/<room_id> or workspace/<workspace_id>.")
    return Stream("room" if kind == "room" else "workspace", stream_id)


async def _verify(
    settings: runtime_settings.Settings, only: Stream | None, workspace_id: str | None, progress: Progress
) -> tuple[StoreReport, Verdict | None]:
    bar = progress.add_task("events", total=None)

    def show(checked: int, total: int) -> None:
        progress.update(bar, completed=checked, total=max(checked, total))

    try:
        async with database.owner_url(settings) as url:
            connection = await asyncpg.connect(url, timeout=10)
            try:
                if only is None:
                    whole = workspace_id is None
                    return await verify_store(
                        connection, workspace_id=workspace_id, progress=show, checkpoints=whole
                    ), None
                report = StoreReport()
                verdict = await verify_stream(connection, only, progress=show)
                report.add(verdict)
                return report, verdict
            finally:
                await connection.close()
    except asyncpg.UndefinedTableError as error:
        raise RuntimeFailure("The database has no event store yet: `agentos up` makes it.") from error
    except (OSError, asyncpg.PostgresError) as error:
        raise Unreachable(f"Postgres cannot be reached: {error}. Check AGENTOS_POSTGRES_URL.") from error


def _progress(as_json: bool) -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True, disable=as_json or not console.is_terminal)


def _tell(report: StoreReport) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 200  # what reads it is no screen: ids stay whole
    if report.bad:
        table = Table(title="Not what was appended", title_justify="left", show_lines=True)
        for heading in ("stream", "at", "event", "what", "found"):
            table.add_column(heading, overflow="fold")
        for verdict in report.bad:
            table.add_row(f"{verdict.stream_type}/{verdict.stream_id}", *_cells(verdict.first_mismatch))
        console.print(table)
    if report.bad_streams > len(report.bad):
        console.print(f"... and {report.bad_streams - len(report.bad):,} more streams", style="red")
    for guard in report.weak_guards:
        console.print(f"Not guarded: {guard}.", style="red")
    console.print(_summary(report), style="green" if report.valid else "red", soft_wrap=True)


def _cells(mismatch: Mismatch | None) -> tuple[str, ...]:
    if mismatch is None:
        return ()
    event = f"{mismatch.event_type}\n{mismatch.event_id}" if mismatch.event_id else "missing"
    return (str(mismatch.stream_seq), event, mismatch.kind, mismatch.detail)


def _summary(report: StoreReport) -> str:
    streams = f"{report.streams:,} stream{'s' * (report.streams != 1)}"
    if report.bad_streams:
        verdict = f"The chain is broken in {report.bad_streams:,} of {streams}"
    elif report.weak_guards:
        verdict = f"The chain holds in {streams}, but its guards do not"
    else:
        verdict = f"The chain holds in {streams}"
    redacted = f", {report.redacted:,} of them redacted" if report.redacted else ""
    rate = f" ({report.seconds:.1f} s, {report.events / report.seconds:,.0f} events/s)" if report.seconds else ""
    return f"{verdict}: {report.events:,} events{redacted}{rate}."
