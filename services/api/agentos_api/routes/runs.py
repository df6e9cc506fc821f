"""Reading runs, their attempts and their steps."""

from typing import Annotated, Any, Final, get_args

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field, WithJsonSchema

from agentos_api.reads.oldest_first import current, entry
from agentos_api.reads.paging import EARLIEST, LATEST, MAX_SEQ, Order, limit_of
from agentos_api.reads.queries import (
    Cursor,
    Limit,
    MinPosition,
    answer,
    members,
    position_of,
    problems,
    reader_of,
    storable,
)
from agentos_shared.domain import runs
from agentos_shared.domain.errors import Invalid, NotFound
from agentos_shared.store import statements

router = APIRouter(tags=["runs"])

STATUSES: Final = get_args(runs.Status)
UNKNOWN: Final = "There is no such run in this workspace."
RUNS: Final = Order("runs", (LATEST, MAX_SEQ, ""))
ATTEMPTS: Final = Order("attempts", (0,))
STEPS: Final = Order("steps", (EARLIEST, 0))

_TEXTS: Final = statements.load("agentos_api.routes", "runs.sql")
_LIST: Final = _TEXTS["list_runs"].replace("{columns}", _TEXTS["columns"])
#: By the filter that an index serves, the most selective first.
LISTS: Final = {
    "experiment_id": _LIST.replace("{served}", "experiment_id = $11"),
    "room_id": _LIST.replace("{served}", "room_id = $10"),
    "workspace_id": _LIST.replace("{served}", "workspace_id = $1"),
}
_GATE: Final = _TEXTS["gate"].replace("{current}", current("run_id", "$2"))
SQL: Final = {name: text.replace("{gate}", _GATE) for name, text in _TEXTS.items()}
TOKEN: Final = "6f1d2f0e-5d0c-4e7a-9c1b-9f6c0a7d3b42"  # noqa: S105 - an example


class Run(BaseModel):
    """A piece of work, done by whoever claims it."""

    run_id: str = Field(examples=["run_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    workspace_id: str = Field(examples=["ws_dev"])
    room_id: str | None = Field(examples=["room_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    thread_id: str | None = Field(examples=[None])
    experiment_id: str | None = Field(examples=[None])
    status: str = Field(examples=["running"])
    title: str | None = Field(examples=["Summarise the night"])
    goal: str | None = Field(examples=[None])
    input: dict[str, Any] = Field(examples=[{"handler": "summarise"}])
    output: dict[str, Any] | None = Field(description="Once it has succeeded.", examples=[None])
    error: dict[str, Any] | None = Field(description="Once it has failed.", examples=[None])
    tags: list[str] = Field(examples=[["nightly"]])
    claim_token: str | None = Field(
        description="While a lease is held.", examples=["6f1d2f0e-5d0c-4e7a-9c1b-9f6c0a7d3b42"]
    )
    claimed_by_actor_id: str | None = Field(description="While a lease is held.", examples=["worker-1"])
    lease_expires_at: str | None = Field(description="While a lease is held.", examples=["2026-11-24T05:30:30.123Z"])
    lease_heartbeat_at: str | None = Field(description="While a lease is held.", examples=["2026-11-24T05:30:00.123Z"])
    created_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])
    started_at: str | None = Field(examples=["2026-11-24T05:30:00.123Z"])
    ended_at: str | None = Field(examples=[None])
    updated_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])
    correlation_id: str = Field(examples=["019ab3c4-5d6e-7f80-9123-456789abcdee"])
    last_event_id: str = Field(examples=["019ab3c4-5d6e-7f80-9123-456789abcdef"])
    attempt_no: int = Field(description="Of the last claim; 0 before the first.", examples=[1])
    max_attempts: int = Field(examples=[3])
    priority: int = Field(description="Higher ones are claimed first.", examples=[0])
    timeout_s: int | None = Field(description="For a whole attempt.", examples=[None])
    zone: str = Field(examples=["supervised"])


class Attempt(BaseModel):
    """One claim of a run."""

    run_attempt_id: str = Field(examples=["rat_0a0c63cd9161614187196fca135f3d35"])
    run_id: str = Field(examples=["run_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    workspace_id: str = Field(examples=["ws_dev"])
    room_id: str | None = Field(examples=["room_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    attempt_no: int = Field(examples=[1])
    claim_token: str = Field(examples=[TOKEN])
    claimed_by_actor_id: str = Field(examples=["worker-1"])
    actor_principal_id: str | None = Field(examples=[None])
    engine_id: str | None = Field(examples=[None])
    claimed_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])
    released_at: str | None = Field(examples=["2026-11-24T05:31:00.123Z"])
    release_reason: str | None = Field(
        description="manual_release, lease_expired_reclaimed, run_completed, run_failed or run_cancelled.",
        examples=["manual_release"],
    )
    created_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])
    updated_at: str = Field(examples=["2026-11-24T05:31:00.123Z"])


class Step(BaseModel):
    """One step of a run."""

    step_id: str = Field(examples=["step_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    run_id: str = Field(examples=["run_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    workspace_id: str = Field(examples=["ws_dev"])
    room_id: str | None = Field(examples=["room_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    thread_id: str | None = Field(examples=[None])
    kind: str = Field(examples=["fetch"])
    status: str = Field(description="queued, running, succeeded or failed.", examples=["running"])
    title: str | None = Field(examples=[None])
    input: dict[str, Any] = Field(examples=[{}])
    output: dict[str, Any] | None = Field(examples=[None])
    error: dict[str, Any] | None = Field(examples=[None])
    created_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])
    updated_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])
    last_event_id: str = Field(examples=["019ab3c4-5d6e-7f80-9123-456789abcdef"])


RUN_COLUMNS: Final = tuple(Run.model_fields)
RUN_DOCUMENTS: Final = ("input", "output", "error", "tags")
ATTEMPT_COLUMNS: Final = tuple(Attempt.model_fields)
STEP_COLUMNS: Final = tuple(Step.model_fields)
STEP_DOCUMENTS: Final = ("input", "output", "error")


class RunPage(BaseModel):
    """Runs, last changed first."""

    runs: list[Run]
    next_cursor: str | None = Field(description="For the next page; null at the end.", examples=[None])


class RunAnswer(BaseModel):
    """One run."""

    run: Run


class AttemptPage(BaseModel):
    """Attempts at a run, first to last."""

    attempts: list[Attempt]
    next_cursor: str | None = Field(description="For the next page; null at the end.", examples=[None])


class StepPage(BaseModel):
    """Steps of a run, oldest first."""

    steps: list[Step]
    next_cursor: str | None = Field(description="For the next page; null at the end.", examples=[None])


Filter = Annotated[str | None, Query(), WithJsonSchema({"type": "string"})]
Status = Annotated[str | None, Query(), WithJsonSchema({"type": "string", "enum": list(STATUSES)})]


@router.get(
    "/v1/runs",
    response_model=RunPage,
    responses=problems(None, "invalid_status, invalid_limit, invalid_cursor, invalid_min_position"),
    summary="List runs",
)
async def list_runs(
    request: Request,
    room_id: Filter = None,
    experiment_id: Filter = None,
    status: Status = None,
    limit: Limit = None,
    cursor: Cursor = None,
    min_position: MinPosition = None,
) -> Response:
    """Runs of the workspace, last changed first."""
    size = limit_of(limit, 50)
    position = position_of(min_position)
    after = RUNS.after(cursor)
    if status and status not in STATUSES:
        raise Invalid("invalid_status", f"A run's status is one of {', '.join(STATUSES)}.")
    asked = {"experiment_id": experiment_id or None, "room_id": room_id or None}
    if not all(storable(text) for text in asked.values() if text is not None):
        return answer({"runs": [], "next_cursor": None})
    served = next((name for name, text in asked.items() if text is not None), "workspace_id")
    rows = await reader_of(request).page(
        LISTS[served],
        "run_id",
        position.seq,
        position.stream_type,
        position.stream_id,
        [status] if status else list(STATUSES),
        *after,
        size + 1,
        asked["room_id"],
        asked["experiment_id"],
    )
    shown, next_cursor = RUNS.page(rows, size, lambda row: (row["updated_at"], row["stream_seq"], row["run_id"]))
    return answer({"runs": [entry(row, RUN_COLUMNS, RUN_DOCUMENTS) for row in shown], "next_cursor": next_cursor})


@router.get("/v1/runs/{run_id}", response_model=RunAnswer, responses=problems("run_not_found"), summary="Read a run")
async def get_run(request: Request, run_id: str) -> Response:
    """One run, as new as the store is."""
    row = await reader_of(request).entity(SQL["get_run"], run_id, NotFound("run_not_found", UNKNOWN))
    return answer({"run": entry(row, RUN_COLUMNS, RUN_DOCUMENTS)})


@router.get(
    "/v1/runs/{run_id}/attempts",
    response_model=AttemptPage,
    responses=problems("run_not_found"),
    summary="List the attempts at a run",
)
async def list_attempts(
    request: Request,
    run_id: str,
    limit: Limit = None,
    cursor: Cursor = None,
    min_position: MinPosition = None,
) -> Response:
    """Attempts at a run, first to last, one for each claim; as new as the store is."""
    size = limit_of(limit, 50)
    position = position_of(min_position)
    after = ATTEMPTS.after(cursor)
    missing = NotFound("run_not_found", UNKNOWN)
    if not storable(run_id):
        raise missing
    place = (position.seq, position.stream_type, position.stream_id)
    rows = await reader_of(request).page(
        SQL["list_attempts"], "attempt_no", run_id, *place, *after, size + 1, missing=missing
    )
    shown, next_cursor = ATTEMPTS.page(rows, size, lambda row: (row["attempt_no"],))
    return answer({"attempts": [members(row, ATTEMPT_COLUMNS) for row in shown], "next_cursor": next_cursor})


@router.get(
    "/v1/runs/{run_id}/steps",
    response_model=StepPage,
    responses=problems("run_not_found"),
    summary="List a run's steps",
)
async def list_steps(
    request: Request,
    run_id: str,
    limit: Limit = None,
    cursor: Cursor = None,
    min_position: MinPosition = None,
) -> Response:
    """Steps of a run, oldest first, as new as the store is."""
    size = limit_of(limit, 50)
    position = position_of(min_position)
    after = STEPS.after(cursor)
    missing = NotFound("run_not_found", UNKNOWN)
    if not storable(run_id):
        raise missing
    place = (position.seq, position.stream_type, position.stream_id)
    rows = await reader_of(request).page(
        SQL["list_steps"], "step_id", run_id, *place, *after, size + 1, missing=missing
    )
    shown, next_cursor = STEPS.page(rows, size, lambda row: (row["created_at"], row["created_seq"]))
    return answer({"steps": [entry(row, STEP_COLUMNS, STEP_DOCUMENTS) for row in shown], "next_cursor": next_cursor})
