"""What the store tells of whole runs: the events that their evidence is made of, and which have not ended."""

from collections.abc import Sequence
from typing import Final

from agentos_shared.domain.envelope import Event
from agentos_shared.domain.evidence import ENDS, RunEvent, evidence_id
from agentos_shared.store import statements
from agentos_shared.store.reader import Connection, event_of

SQL: Final = statements.load("agentos_shared.store", "run_events.sql")


async def read_ended_run(connection: Connection, run_id: str) -> list[RunEvent]:
    """A run's events up to the one that ended it, in order; none when it is unknown or has not ended."""
    return (await read_ended_runs(connection, [run_id])).get(run_id, [])


async def read_ended_runs(connection: Connection, run_ids: Sequence[str]) -> dict[str, list[RunEvent]]:
    """The same of several runs; one that is unknown or has not ended is absent."""
    found: dict[str, list[RunEvent]] = {}
    for row in await connection.fetch(SQL["run_events"], run_ids, list(ENDS)):
        found.setdefault(row["run_id"], []).append(RunEvent(*row))
    return found


async def read_evidence(connection: Connection, run_id: str) -> Event | None:
    """The event that recorded a run's evidence, or None."""
    row = await connection.fetchrow(SQL["evidence_event"], evidence_id(run_id))
    return None if row is None else event_of(row)


async def count_active_runs(connection: Connection, experiment_id: str) -> int:
    """Runs of an experiment that are queued or running."""
    count: int = await connection.fetchval(SQL["active_runs"], experiment_id, list(ENDS))
    return count
