"""Reading capabilities."""

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
    size = limit_of(limit, 50)
    position = position_of(min_position)
    after = ORDER.after(cursor)
    if not storable(principal_id):
        return answer({"tokens": [], "next_cursor": None})
    rows = await reader_of(request).page(
        SQL["list_capabilities"],
        "token_id",
        principal_id,
        position.seq,
        position.stream_type,
        position.stream_id,
        *after,
        size + 1,
    )
    shown, next_cursor = ORDER.page(rows, size, lambda row: (row["created_at"], row["stream_seq"]))
    return answer({"tokens": [_capability(row) for row in shown], "next_cursor": next_cursor})


def _capability(row: Row) -> dict[str, Any]:
    return {**members(row, COLUMNS), "scopes": orjson.Fragment(row["scopes"])}
