"""Pages of the pipeline: which entities changed last, each with its stage.

An entity's time is that of the newest thing that its stage follows from, and these stand in six read models. So a
page is gathered in rounds: each walks the six lists back from where the round before ended, and is complete down to a
floor. A round costs some index scans of a page's length, however large the workspace is.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, get_args

from agentos_api.reads.paging import LATEST
from agentos_api.reads.queries import Position, Reader, Row
from agentos_shared.domain import pipeline, runs
from agentos_shared.domain.envelope import timestamp
from agentos_shared.domain.pipeline import STAGES, Evidence, Run, Scorecard, Standing
from agentos_shared.store import statements

SQL: Final = statements.load("agentos_api.reads", "pipeline.sql")
RUN_STATUSES: Final = list(get_args(runs.Status))
#: How much further a round looks when all that it found is of one time.
_WIDER: Final = 4


class Place(NamedTuple):
    """Where an entity stands in the list: last changed first, then by type and id."""

    updated_at: datetime
    entity_type: str
    entity_id: str

    def order(self) -> tuple[timedelta, str, str]:
        """What sorts it."""
        return (LATEST - self.updated_at, self.entity_type, self.entity_id)


#: Before all entities.
START: Final = Place(LATEST, "", "")


class Found(NamedTuple):
    """A page of the pipeline.

    Args:
        items: in order, each with its stage.
        next_place: of the last item when more follow, or None.
        watermark_event_id: the newest event that the pipeline reflects, or None.
    """

    items: list[tuple[pipeline.Stage, dict[str, Any]]]
    next_place: Place | None
    watermark_event_id: str | None

    def stages(self) -> dict[str, list[dict[str, Any]]]:
        """The items by stage; all six are there."""
        by_stage: dict[str, list[dict[str, Any]]] = {name: [] for name in STAGES}
        for stage, item in self.items:
            by_stage[stage].append(item)
        return by_stage


async def find(reader: Reader, position: Position, start: Place, limit: int) -> Found:
    """The page that follows ``start``.

    Raises:
        TryLater: ``projection_behind``, ``query_timeout``, ``store_unavailable``.
    """
    newest = await reader.fetch(SQL["watermark"], reader.workspace_id, RUN_STATUSES)
    watermark = str(newest[0]["last_event_id"]) if newest else None
    found: list[tuple[Place, pipeline.Stage, dict[str, Any]]] = []
    upper: datetime | None = start.updated_at
    rows_each = limit + 1
    while upper is not None and len(found) <= limit:
        rows = await _round(reader, position, upper, rows_each)
        floor: datetime | None = rows[0]["floor"]
        if floor == upper:
            rows_each *= _WIDER
            continue
        placed = [entry for row in rows if row["entity_id"] is not None and (entry := _placed(row))]
        follow = [entry for entry in placed if entry[0].order() > start.order()]
        found += sorted(follow, key=lambda entry: entry[0].order())
        upper = floor
    page = found[:limit]
    next_place = page[-1][0] if len(found) > limit else None
    return Found([(stage, item) for _, stage, item in page], next_place, watermark)


async def _round(reader: Reader, position: Position, upper: datetime, rows_each: int) -> Sequence[Row]:
    async def look() -> Sequence[Row] | None:
        rows = await reader.fetch(
            SQL["round"],
            reader.workspace_id,
            position.seq,
            position.stream_type,
            position.stream_id,
            upper,
            rows_each,
            RUN_STATUSES,
        )
        return rows if rows[0]["reached"] else None

    return await reader.projected.until(look)


def _placed(row: Row) -> tuple[Place, pipeline.Stage, dict[str, Any]] | None:
    """An item, or None where the rule leaves it out."""
    opened = row["incident_id"] if row["incident_status"] == "open" else None
    standing = Standing(
        entity_id=row["entity_id"],
        correlation_id=row["correlation_id"],
        experiment_status=row["experiment_status"],
        approval_status=row["approval_status"],
        run=Run(row["run_id"], row["run_status"]) if row["run_id"] else None,
        evidence=(
            Evidence(row["evidence_id"], row["evidence_run_id"], row["evidence_run_status"])
            if row["evidence_id"]
            else None
        ),
        scorecard=(
            Scorecard(row["scorecard_id"], row["decision"], row["scorecard_run_id"], row["scorecard_evidence_id"])
            if row["scorecard_id"]
            else None
        ),
        open_incident_id=opened,
    )
    placed = pipeline.stage(standing)
    if placed is None:
        return None
    item = {name: row[name] for name in ("entity_type", "entity_id", "title", "status", "room_id", "thread_id")}
    item |= {
        "correlation_id": row["correlation_id"],
        "updated_at": timestamp(row["updated_at"]),
        "last_event_id": str(row["last_event_id"]),
        "links": {
            "experiment_id": row["experiment_id"],
            "approval_id": row["linked_approval_id"],
            "run_id": row["run_id"],
            "evidence_id": row["evidence_id"],
            "scorecard_id": row["scorecard_id"],
            "incident_id": row["incident_id"],
        },
    }
    if placed.diagnostics:
        item["diagnostics"] = list(placed.diagnostics)
    return Place(row["updated_at"], row["entity_type"], row["entity_id"]), placed.stage, item
