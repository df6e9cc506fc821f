"""``agentos audit evidence``: a run's evidence, computed anew straight from the database."""

import asyncio
import json
from pathlib import Path

import asyncpg
import typer
from rich.console import Console

from agentos_runtime import database
from agentos_runtime import settings as runtime_settings
from agentos_runtime.datadir import DataDir
from agentos_runtime.errors import RuntimeFailure, Unreachable
from agentos_shared.store.evidence_audit import EvidenceReport, verify_evidence


def evidence(data_dir: Path | None, run_id: str, as_json: bool) -> int:
    """0 when the run's events still give the evidence that was recorded, and the contents that they name are there.

    Contents beside the store are looked at when its data directory is known.
    """
    settings = runtime_settings.load(data_dir)
    # A store elsewhere has its contents elsewhere, unless it is said where.
    blobs = DataDir(settings.data_dir).blobs if data_dir is not None or settings.postgres_url is None else None
    report = asyncio.run(_verify(settings, run_id, blobs))
    if as_json:
        typer.echo(json.dumps(report.json(), indent=1))
        return 0 if report.valid else 1
    if not report.recorded and not report.ended:
        raise RuntimeFailure(f"{run_id}: no such run, or it has not ended; evidence is made when a run ends.")
    _tell(report)
    return 0 if report.valid else 1


async def _verify(settings: runtime_settings.Settings, run_id: str, blobs: Path | None) -> EvidenceReport:
    try:
        async with database.owner_url(settings) as url:
            connection = await asyncpg.connect(url, timeout=10)
            try:
                return await verify_evidence(connection, run_id, blobs)
            finally:
                await connection.close()
    except asyncpg.UndefinedTableError as error:
        raise RuntimeFailure("The database has no event store yet: `agentos up` makes it.") from error
    except (OSError, asyncpg.PostgresError) as error:
        raise Unreachable(f"Postgres cannot be reached: {error}. Check AGENTOS_POSTGRES_URL.") from error


def _tell(report: EvidenceReport) -> None:
    console = Console(highlight=False)
    for difference in report.differences:
        console.print(f"Not as recorded: {difference}.", style="red", soft_wrap=True)
    for fault in report.bad_blobs:
        console.print(f"Not as recorded: {fault}.", style="red", soft_wrap=True)
    if report.chain is not None and report.chain.first_mismatch is not None:
        bad = report.chain.first_mismatch
        where = f"{report.chain.stream_type}/{report.chain.stream_id} at {bad.stream_seq}"
        console.print(f"Broken chain: {where}: {bad.kind}, {bad.detail}.", style="red", soft_wrap=True)
    if not report.recorded:
        console.print(
            f"{report.run_id} has ended, but no evidence is recorded: POST /v1/runs/{report.run_id}/evidence/finalize.",
            style="red",
            soft_wrap=True,
        )
    elif report.valid:
        console.print(
            f"The evidence of {report.run_id} holds: {report.run_status}, {report.event_count:,} events,"
            f" root {report.event_hash_root}{_contents(report.blobs)}.",
            style="green",
            soft_wrap=True,
        )
    else:
        console.print(f"The evidence of {report.run_id} does not hold.", style="red", soft_wrap=True)


def _contents(blobs: int | None) -> str:
    if blobs is None:
        return "; contents beside the store were not looked at (--data-dir)"
    return f", {blobs} content{'s' * (blobs != 1)} beside the store" if blobs else ""
