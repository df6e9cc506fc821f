"""Reading scorecards."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field, WithJsonSchema

from agentos_api.reads.listing import Listing
from agentos_api.reads.queries import Cursor, Limit, MinPosition, answer, problems, reader_of
from agentos_shared.domain.errors import NotFound
from agentos_shared.store import statements

router = APIRouter(tags=["scorecards"])

SQL: Final = statements.load("agentos_api.routes", "scorecards.sql")
Id = Annotated[str | None, Query(), WithJsonSchema({"type": "string"})]


class ScoredMetric(BaseModel):
    """One figure."""

    key: str = Field(examples=["quality"])
    value: float = Field(examples=[0.9])
    weight: float = Field(examples=[1])


class Scorecard(BaseModel):
    """How well something did."""

    scorecard_id: str = Field(examples=["scd_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    workspace_id: str = Field(examples=["ws_dev"])
    experiment_id: str | None
    run_id: str | None = Field(examples=["run_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    evidence_id: str | None
    agent_id: str | None
    principal_id: str | None
    template_key: str = Field(examples=["quality"])
    template_version: str = Field(examples=["1.0.0"])
    metrics: list[ScoredMetric]
    metrics_hash: str = Field(description="Over the metrics' canonical JSON.", examples=["sha256:" + "1" * 64])
    score: float = Field(examples=[0.9])
    decision: str = Field(examples=["pass"])
    rationale: str | None
    metadata: dict[str, Any] = Field(examples=[{}])
    created_by_type: str = Field(examples=["user"])
    created_by_id: str = Field(examples=["ceo"])
    created_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])
    updated_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])
    correlation_id: str = Field(examples=["019ab3c4-5d6e-7f80-9123-456789abcdee"])
    last_event_id: str = Field(examples=["019ab3c4-5d6e-7f80-9123-456789abcdef"])


LISTING: Final = Listing(
    "scorecards",
    "proj_scorecards",
    key="scorecard_id",
    time="created_at",
    columns=tuple(Scorecard.model_fields),
    documents=("metrics", "metadata"),
    filters=("run_id", "experiment_id", "agent_id"),
)


class ScorecardPage(BaseModel):
    """Scorecards, newest first."""

    scorecards: list[Scorecard]
    next_cursor: str | None = Field(description="For the next page; null at the end.", examples=[None])


class ScorecardAnswer(BaseModel):
    """One scorecard."""

    scorecard: Scorecard


@router.get(
    "/v1/scorecards",
    response_model=ScorecardPage,
    responses=problems(None),
    summary="List scorecards",
)
async def list_scorecards(
    request: Request,
    experiment_id: Id = None,
    run_id: Id = None,
    agent_id: Id = None,
    limit: Limit = None,
    cursor: Cursor = None,
    min_position: MinPosition = None,
) -> Response:
    """Scorecards of the workspace, newest first."""
    asked = {"experiment_id": experiment_id, "run_id": run_id, "agent_id": agent_id}
    page = await LISTING.page(reader_of(request), asked, limit, cursor, min_position)
    return answer({"scorecards": page["rows"], "next_cursor": page["next_cursor"]})


@router.get(
    "/v1/scorecards/{scorecard_id}",
    response_model=ScorecardAnswer,
    responses=problems("scorecard_not_found"),
    summary="Read a scorecard",
)
async def get_scorecard(request: Request, scorecard_id: str) -> Response:
    """One scorecard."""
    missing = NotFound("scorecard_not_found", "There is no such scorecard in this workspace.")
    row = await reader_of(request).entity(SQL["get_scorecard"], scorecard_id, missing)
    return answer({"scorecard": LISTING.entry(row)})
