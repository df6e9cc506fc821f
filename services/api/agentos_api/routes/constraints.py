"""Reading constraints."""

from typing import Annotated, Final, get_args

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field, WithJsonSchema

from agentos_api.reads.listing import Listing, one_of
from agentos_api.reads.queries import Cursor, Limit, MinPosition, answer, problems, reader_of
from agentos_shared.domain import constraints
from agentos_shared.domain.errors import NotFound
from agentos_shared.store import statements

router = APIRouter(tags=["constraints"])

SQL: Final = statements.load("agentos_api.routes", "constraints.sql")
STATUSES: Final = get_args(constraints.Status)


class Constraint(BaseModel):
    """What somebody was refused, how often, and what a person made of it."""

    constraint_id: str = Field(examples=["cst_0c5f7c621c535a0e9d0b9a4be2f1d3c7"])
    workspace_id: str = Field(examples=["ws_dev"])
    room_id: str | None = Field(examples=["room_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    category: str = Field(description="action, tool, data or egress.", examples=["action"])
    action: str = Field(examples=["external.write"])
    reason_code: str = Field(examples=["external_write_requires_approval"])
    pattern_hash: str = Field(examples=["sha256:" + "9f" * 32])
    guidance: str | None = Field(examples=["Ask for an approval: POST /v1/approvals."])
    subject_key: str = Field(examples=["agent:agt_0c5f7c621c535a0e9d0b9a4be2f1d3c7"])
    principal_id: str | None = Field(examples=["0c5f7c62-1c53-5a0e-9d0b-9a4be2f1d3c7"])
    agent_id: str | None = Field(examples=["agt_0c5f7c621c535a0e9d0b9a4be2f1d3c7"])
    seen_count: int = Field(examples=[3])
    repeat_count: int = Field(description="Of these, those that no approval was asked for before.", examples=[2])
    status: str = Field(description=f"One of {', '.join(STATUSES)}.", examples=["candidate"])
    effect: str | None = Field(description="deny, require_approval or warn, once activated.", examples=[None])
    expires_at: str | None = Field(examples=[None])
    created_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])
    updated_at: str = Field(examples=["2026-11-24T05:31:00.123Z"])
    last_event_id: str = Field(examples=["019ab3c4-5d6e-7f80-9123-456789abcdef"])


LISTING: Final = Listing(
    "constraints",
    "proj_constraints",
    key="constraint_id",
    time="updated_at",
    columns=tuple(Constraint.model_fields),
    filters=("agent_id", "status"),
    workspace_first=("agent_id", "status"),
)


class ConstraintPage(BaseModel):
    """Constraints, last changed first."""

    constraints: list[Constraint]
    next_cursor: str | None = Field(description="For the next page; null at the end.", examples=[None])


class ConstraintAnswer(BaseModel):
    """One constraint."""

    constraint: Constraint


@router.get(
    "/v1/constraints",
    response_model=ConstraintPage,
    responses=problems(None, "invalid_status, invalid_limit, invalid_cursor, invalid_min_position"),
    summary="List what was learned from refusals",
)
async def list_constraints(
    request: Request,
    agent_id: Annotated[str | None, Query(), WithJsonSchema({"type": "string"})] = None,
    status: Annotated[str | None, Query(), WithJsonSchema({"type": "string", "enum": list(STATUSES)})] = None,
    limit: Limit = None,
    cursor: Cursor = None,
    min_position: MinPosition = None,
) -> Response:
    """Constraints of the workspace, last changed first."""
    asked = {"agent_id": agent_id, "status": one_of(status, STATUSES, "invalid_status")}
    page = await LISTING.page(reader_of(request), asked, limit, cursor, min_position)
    return answer({"constraints": page["rows"], "next_cursor": page["next_cursor"]})


@router.get(
    "/v1/constraints/{constraint_id}",
    response_model=ConstraintAnswer,
    responses=problems("constraint_not_found", malformed=None),
    summary="Read a constraint",
)
async def get_constraint(request: Request, constraint_id: str) -> Response:
    """One constraint, as new as the store is."""
    missing = NotFound("constraint_not_found", "There is no such constraint in this workspace.")
    row = await reader_of(request).entity(SQL["get_constraint"], constraint_id, missing)
    return answer({"constraint": LISTING.entry(row)})
