"""Reading capabilities."""

from collections.abc import Sequence
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from agentos_api.reads.paging import LATEST, MAX_SEQ, Order, limit_of
from agentos_api.reads.queries import (
    Cursor,
    Limit,
    MinPosition,
    Row,
    answer,
    members,
    position_of,
    problems,
    reader_of,
    storable,
)
from agentos_shared.domain.errors import Invalid
from agentos_shared.store import statements

router = APIRouter(tags=["capabilities"])

SQL: Final = statements.load("agentos_api.routes", "capabilities.sql")
ORDER: Final = Order("capabilities", (LATEST, MAX_SEQ))
DELEGATION_ORDER: Final = Order("delegations", (LATEST, MAX_SEQ))


class Capability(BaseModel):
    """What a principal was allowed, by whom, until when."""

    token_id: str = Field(examples=["7f0f2a51-2f0e-4f0b-8d5e-0f7f4f3a2b1c"])
    workspace_id: str = Field(examples=["ws_dev"])
    issued_to_principal_id: str = Field(examples=["0c5f7c62-1c53-5a0e-9d0b-9a4be2f1d3c7"])
    granted_by_principal_id: str = Field(examples=["1d6a8d73-2d64-5b1f-8e1c-0b5cf302e4d8"])
    parent_token_id: str | None = Field(examples=[None])
    scopes: dict[str, Any] = Field(examples=[{"rooms": ["*"], "action_types": ["run.claim"]}])
    valid_until: str | None = Field(examples=[None])
    revoked_at: str | None = Field(examples=[None])
    created_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])


COLUMNS: Final = tuple(Capability.model_fields)


class CapabilityPage(BaseModel):
    """Capabilities, newest first, ended ones included."""

    tokens: list[Capability]
    next_cursor: str | None = Field(description="For the next page; null at the end.", examples=[None])


@router.get(
    "/v1/capabilities",
    response_model=CapabilityPage,
    responses=problems(malformed="principal_id_required, invalid_limit, invalid_cursor, invalid_min_position"),
    summary="List a principal's capabilities",
)
async def list_capabilities(
    request: Request,
    principal_id: Annotated[str | None, Query(description="Required: whom they were issued to.")] = None,
    limit: Limit = None,
    cursor: Cursor = None,
    min_position: MinPosition = None,
) -> Response:
    """Capabilities of a principal, newest first."""
    if not principal_id:
        raise Invalid("principal_id_required", "principal_id is required: whose capabilities to list.")
    rows, next_cursor = await _page(request, SQL["list_capabilities"], ORDER, principal_id, limit, cursor, min_position)
    return answer({"tokens": [_capability(row) for row in rows], "next_cursor": next_cursor})


class Delegation(BaseModel):
    """A capability that was handed on."""

    edge_id: str = Field(examples=["cedg_7f0f2a512f0e4f0b8d5e0f7f4f3a2b1c"])
    workspace_id: str = Field(examples=["ws_dev"])
    parent_token_id: str = Field(examples=["8e1b3c62-3a1f-4a1c-9e6f-1a8a5a4b3c2d"])
    child_token_id: str = Field(examples=["7f0f2a51-2f0e-4f0b-8d5e-0f7f4f3a2b1c"])
    granted_by_principal_id: str = Field(examples=["1d6a8d73-2d64-5b1f-8e1c-0b5cf302e4d8"])
    issued_to_principal_id: str = Field(examples=["0c5f7c62-1c53-5a0e-9d0b-9a4be2f1d3c7"])
    depth: int = Field(description="How many times it was handed on, this time included.", examples=[1])
    created_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])
    parent_token_owner_principal_id: str = Field(examples=["1d6a8d73-2d64-5b1f-8e1c-0b5cf302e4d8"])
    child_token_owner_principal_id: str = Field(examples=["0c5f7c62-1c53-5a0e-9d0b-9a4be2f1d3c7"])


DELEGATION_COLUMNS: Final = tuple(Delegation.model_fields)


class DelegationPage(BaseModel):
    """Capabilities that a principal handed on, or that were handed on to it; newest first."""

    edges: list[Delegation]
    next_cursor: str | None = Field(description="For the next page; null at the end.", examples=[None])


@router.get(
    "/v1/capabilities/delegations",
    response_model=DelegationPage,
    responses=problems(malformed="principal_id_required, invalid_limit, invalid_cursor, invalid_min_position"),
    summary="List what a principal handed on and was handed on",
)
async def list_delegations(
    request: Request,
    principal_id: Annotated[str | None, Query(description="Required: who handed on, or was handed on to.")] = None,
    limit: Limit = None,
    cursor: Cursor = None,
    min_position: MinPosition = None,
) -> Response:
    """Delegations of a principal, newest first."""
    if not principal_id:
        raise Invalid("principal_id_required", "principal_id is required: whose delegations to list.")
    rows, next_cursor = await _page(
        request, SQL["list_delegations"], DELEGATION_ORDER, principal_id, limit, cursor, min_position
    )
    return answer({"edges": [members(row, DELEGATION_COLUMNS) for row in rows], "next_cursor": next_cursor})


async def _page(
    request: Request,
    sql: str,
    order: Order,
    principal_id: str,
    limit: str | None,
    cursor: str | None,
    min_position: str | None,
) -> tuple[Sequence[Row], str | None]:
    size = limit_of(limit, 50)
    position = position_of(min_position)
    after = order.after(cursor)
    if not storable(principal_id):
        return [], None
    place = (position.seq, position.stream_type, position.stream_id)
    rows = await reader_of(request).page(sql, "created_at", principal_id, *place, *after, size + 1)
    return order.page(rows, size, lambda row: (row["created_at"], row["stream_seq"]))


def _capability(row: Row) -> dict[str, Any]:
    return {**members(row, COLUMNS), "scopes": orjson.Fragment(row["scopes"])}
