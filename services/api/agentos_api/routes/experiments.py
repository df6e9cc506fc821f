"""Reading experiments."""

from typing import Annotated, Any, Final, get_args

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field, WithJsonSchema

from agentos_api.reads.listing import Listing, one_of
from agentos_api.reads.queries import Cursor, Limit, MinPosition, answer, problems, reader_of
from agentos_shared.domain import experiments
from agentos_shared.domain.errors import NotFound
from agentos_shared.store import statements

router = APIRouter(tags=["experiments"])

SQL: Final = statements.load("agentos_api.routes", "experiments.sql")
STATUSES: Final = get_args(experiments.Status)


class Experiment(BaseModel):
    """A hypothesis that runs test within a budget."""

    experiment_id: str = Field(examples=["exp_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    workspace_id: str = Field(examples=["ws_dev"])
    room_id: str | None = Field(examples=["room_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    status: str = Field(examples=["open"])
    title: str = Field(examples=["Shorter prompts"])
    hypothesis: str = Field(examples=["Half the prompt gives the same answers."])
    success_criteria: dict[str, Any] = Field(examples=[{"quality": 0.9}])
    stop_conditions: dict[str, Any] = Field(examples=[{"failures": 3}])
    budget_cap_units: float = Field(examples=[100])
    risk_tier: str = Field(examples=["low"])
    metadata: dict[str, Any] = Field(examples=[{}])
    closed_reason: str | None = Field(examples=[None])
    created_by_type: str = Field(examples=["user"])
    created_by_id: str = Field(examples=["ceo"])
    created_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])
    closed_at: str | None = Field(examples=[None])
    updated_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])
    correlation_id: str = Field(examples=["019ab3c4-5d6e-7f80-9123-456789abcdee"])
    last_event_id: str = Field(examples=["019ab3c4-5d6e-7f80-9123-456789abcdef"])


LISTING: Final = Listing(
    "experiments",
    "proj_experiments",
    key="experiment_id",
    time="updated_at",
    columns=tuple(Experiment.model_fields),
    documents=("success_criteria", "stop_conditions", "metadata"),
    filters=("room_id", "status"),
    workspace_first=("status",),
)


class ExperimentPage(BaseModel):
    """Experiments, last changed first."""

    experiments: list[Experiment]
    next_cursor: str | None = Field(description="For the next page; null at the end.", examples=[None])


class ExperimentAnswer(BaseModel):
    """One experiment."""

    experiment: Experiment


@router.get(
    "/v1/experiments",
    response_model=ExperimentPage,
    responses=problems(None, "invalid_status, invalid_limit, invalid_cursor, invalid_min_position"),
    summary="List experiments",
)
async def list_experiments(
    request: Request,
    room_id: Annotated[str | None, Query(), WithJsonSchema({"type": "string"})] = None,
    status: Annotated[str | None, Query(), WithJsonSchema({"type": "string", "enum": list(STATUSES)})] = None,
    limit: Limit = None,
    cursor: Cursor = None,
    min_position: MinPosition = None,
) -> Response:
    """Experiments of the workspace, last changed first."""
    asked = {"room_id": room_id, "status": one_of(status, STATUSES, "invalid_status")}
    page = await LISTING.page(reader_of(request), asked, limit, cursor, min_position)
    return answer({"experiments": page["rows"], "next_cursor": page["next_cursor"]})


@router.get(
    "/v1/experiments/{experiment_id}",
    response_model=ExperimentAnswer,
    responses=problems("experiment_not_found"),
    summary="Read an experiment",
)
async def get_experiment(request: Request, experiment_id: str) -> Response:
    """One experiment, as new as the store is."""
    missing = NotFound("experiment_not_found", "There is no such experiment in this workspace.")
    row = await reader_of(request).entity(SQL["get_experiment"], experiment_id, missing)
    return answer({"experiment": LISTING.entry(row)})
