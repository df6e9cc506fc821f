"""Reading principals."""

from typing import Annotated, Final, get_args

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field, WithJsonSchema

from agentos_api.reads.listing import Listing, one_of
from agentos_api.reads.queries import Cursor, Limit, MinPosition, answer, members, problems, reader_of
from agentos_shared.domain.envelope import ActorType
from agentos_shared.domain.errors import NotFound
from agentos_shared.store import statements

router = APIRouter(tags=["principals"])

SQL: Final = statements.load("agentos_api.routes", "principals.sql")


class Principal(BaseModel):
    """Who an actor is, under one UUID."""

    principal_id: str = Field(examples=["0c5f7c62-1c53-5a0e-9d0b-9a4be2f1d3c7"])
    principal_type: str = Field(examples=["service"])
    legacy_actor_type: str = Field(examples=["service"])
    legacy_actor_id: str = Field(examples=["summariser"])
    created_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])


COLUMNS: Final = tuple(Principal.model_fields)


TYPES: Final = get_args(ActorType)
LISTING: Final = Listing(
    "principals",
    "proj_principals",
    key="principal_id",
    time="created_at",
    columns=COLUMNS,
    filters=("principal_type",),
    workspace_first=("principal_type",),
)


class PrincipalPage(BaseModel):
    """Principals, the newest first."""

    principals: list[Principal]
    next_cursor: str | None = Field(description="For the next page; null at the end.", examples=[None])


class PrincipalAnswer(BaseModel):
    """One principal."""

    principal: Principal


@router.get(
    "/v1/principals",
    response_model=PrincipalPage,
    responses=problems(None, "invalid_principal_type, invalid_limit, invalid_cursor, invalid_min_position"),
    summary="List principals",
)
async def list_principals(
    request: Request,
    principal_type: Annotated[str | None, Query(), WithJsonSchema({"type": "string", "enum": list(TYPES)})] = None,
    limit: Limit = None,
    cursor: Cursor = None,
    min_position: MinPosition = None,
) -> Response:
    """Principals of the workspace that are on record, the newest first."""
    asked = {"principal_type": one_of(principal_type, TYPES, "invalid_principal_type")}
    page = await LISTING.page(reader_of(request), asked, limit, cursor, min_position)
    return answer({"principals": page["rows"], "next_cursor": page["next_cursor"]})


@router.get(
    "/v1/principals/{principal_id}",
    response_model=PrincipalAnswer,
    responses=problems("principal_not_found", malformed=None),
    summary="Read a principal",
)
async def get_principal(request: Request, principal_id: str) -> Response:
    """One principal that is on record, as new as the store is."""
    missing = NotFound("principal_not_found", "There is no such principal on record in this workspace.")
    row = await reader_of(request).entity(SQL["get_principal"], principal_id, missing)
    return answer({"principal": members(row, COLUMNS)})
