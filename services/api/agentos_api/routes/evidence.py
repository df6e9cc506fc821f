"""Reading what a run did: its evidence."""

from typing import Any, Final, Literal

import orjson
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from agentos_api.reads.queries import Row, answer, members, problems, reader_of, storable
from agentos_shared.domain.errors import NotFound, TryLater
from agentos_shared.domain.evidence import ENDS, evidence_id
from agentos_shared.store import statements

router = APIRouter(tags=["evidence"])

SQL: Final = statements.load("agentos_api.routes", "evidence.sql")


class StreamWindow(BaseModel):
    """Where the run's events stand, the one that ended it included."""

    stream_type: str = Field(examples=["room"])
    stream_id: str = Field(examples=["room_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    from_seq: int = Field(examples=[4])
    to_seq: int = Field(examples=[17])
    event_count: int = Field(description="The run's own; others may stand between them.", examples=[9])


class Manifest(BaseModel):
    """What the run did. It follows from the run's events alone."""

    schema_version: Literal[1]
    evidence_id: str = Field(examples=["evd_5DRMWZ0P5YVW4BTWC7K28JXWYX"])
    workspace_id: str = Field(examples=["ws_dev"])
    run_id: str = Field(examples=["run_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    room_id: str | None = Field(examples=["room_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    thread_id: str | None
    correlation_id: str
    run_status: str = Field(examples=["succeeded"])
    stream_window: StreamWindow
    pointers: dict[str, Any] = Field(
        description="step_ids, tool_call_ids, artifact_ids and events; null and marked as omitted beyond 1,000.",
        examples=[{"step_ids": [], "tool_call_ids": [], "artifact_ids": [], "events": []}],
    )
    completeness: dict[str, Any] = Field(
        examples=[{"terminal_event_present": True, "all_toolcalls_terminal": True, "artifact_count": 1}]
    )
    event_hash_root: str = Field(examples=["sha256:" + "1" * 64])
    generated_at: str = Field(description="When the run ended.", examples=["2026-11-24T05:30:00.123Z"])


class Evidence(BaseModel):
    """A run's manifest, with hashes to hold it against."""

    evidence_id: str = Field(examples=["evd_5DRMWZ0P5YVW4BTWC7K28JXWYX"])
    workspace_id: str = Field(examples=["ws_dev"])
    run_id: str = Field(examples=["run_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    room_id: str | None = Field(examples=["room_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    thread_id: str | None
    correlation_id: str
    run_status: str = Field(examples=["succeeded"])
    manifest: Manifest
    manifest_hash: str = Field(description="Over the manifest's canonical JSON.", examples=["sha256:" + "1" * 64])
    event_hash_root: str = Field(
        description="Over the hashes of the run's events, one a line.", examples=["sha256:" + "2" * 64]
    )
    stream_type: str = Field(examples=["room"])
    stream_id: str = Field(examples=["room_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    from_seq: int = Field(examples=[4])
    to_seq: int = Field(examples=[17])
    event_count: int = Field(examples=[9])
    finalized_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])
    created_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])
    updated_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])
    last_event_id: str = Field(examples=["019ab3c4-5d6e-7f80-9123-456789abcdef"])


COLUMNS: Final = tuple(Evidence.model_fields)


class EvidenceAnswer(BaseModel):
    """A run's evidence."""

    evidence: Evidence


@router.get(
    "/v1/runs/{run_id}/evidence",
    response_model=EvidenceAnswer,
    responses=problems("evidence_not_found"),
    summary="Read a run's evidence",
)
async def get_evidence(request: Request, run_id: str) -> Response:
    """What a run did, in one manifest. It is made by itself when the run ends: then this waits for it a moment."""
    reader = reader_of(request)
    missing = NotFound("evidence_not_found", "There is no such run in this workspace, or it has not ended.")
    if not storable(run_id):
        raise missing
    recorded = False

    async def look() -> Row | None:
        nonlocal recorded
        rows = await reader.fetch(SQL["get_evidence"], reader.workspace_id, run_id, evidence_id(run_id), list(ENDS))
        if not rows:
            raise missing
        recorded = rows[0]["recorded"]
        return rows[0] if rows[0]["evidence_id"] is not None else None

    try:
        row = await reader.projected.until(look)
    except TryLater:
        if recorded:
            raise
        raise missing from None
    return answer({"evidence": members(row, COLUMNS) | {"manifest": orjson.Fragment(row["manifest"])}})
