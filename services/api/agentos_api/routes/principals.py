"""Reading principals."""

from typing import Final

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from agentos_api.reads.queries import answer, members, problems, reader_of
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


class PrincipalAnswer(BaseModel):
    """One principal."""

    principal: Principal


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
