"""Reading engines and their tokens. Secrets are nowhere to be read."""

from typing import Any, Final

import orjson
from fastapi import APIRouter, Request, Response
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
from agentos_shared.domain.errors import NotFound
from agentos_shared.store import statements

router = APIRouter(tags=["engines"])

SQL: Final = statements.load("agentos_api.routes", "engines.sql")
ORDER: Final = Order("engines", (LATEST, ""))
TOKEN_ORDER: Final = Order("engine_tokens", (MAX_SEQ,))
UNKNOWN: Final = "There is no such engine in this workspace."


class Engine(BaseModel):
    """A program outside that claims runs and works on them."""

    engine_id: str = Field(examples=["eng_0c5f7c621c535a0e9d0b9a4be2f1d3c7"])
    workspace_id: str = Field(examples=["ws_dev"])
    engine_name: str = Field(examples=["summariser"])
    actor_id: str = Field(examples=["summariser"])
    principal_id: str = Field(examples=["0c5f7c62-1c53-5a0e-9d0b-9a4be2f1d3c7"])
    metadata: dict[str, Any] = Field(examples=[{"host": "desk-1"}])
    status: str = Field(examples=["active"])
    created_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])
    updated_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])
    deactivated_at: str | None = Field(examples=[None])
    deactivated_reason: str | None = Field(examples=[None])


class EngineToken(BaseModel):
    """A token of an engine, without its secret."""

    token_id: str = Field(examples=["engtok_5a0e9d0b9a4be2f1d3c70c5f7c621c53"])
    workspace_id: str = Field(examples=["ws_dev"])
    engine_id: str = Field(examples=["eng_0c5f7c621c535a0e9d0b9a4be2f1d3c7"])
    principal_id: str = Field(examples=["0c5f7c62-1c53-5a0e-9d0b-9a4be2f1d3c7"])
    capability_token_id: str = Field(examples=["7f0f2a51-2f0e-4f0b-8d5e-0f7f4f3a2b1c"])
    token_label: str | None = Field(examples=["desk-1"])
    issued_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])
    last_seen_at: str | None = Field(description="Null: use is not recorded.", examples=[None])
    valid_until: str | None = Field(examples=[None])
    revoked_at: str | None = Field(examples=[None])
    revoked_reason: str | None = Field(examples=[None])
    created_by_principal_id: str = Field(examples=["1d6a8d73-2d64-5b1f-8e1c-0b5cf302e4d8"])


COLUMNS: Final = tuple(Engine.model_fields)
TOKEN_COLUMNS: Final = tuple(EngineToken.model_fields)


class EnginePage(BaseModel):
    """Engines, newest first."""

    engines: list[Engine]
    next_cursor: str | None = Field(description="For the next page; null at the end.", examples=[None])


class EngineAnswer(BaseModel):
    """One engine."""

    engine: Engine


class EngineTokenPage(BaseModel):
    """Tokens of an engine, newest first, ended ones included."""

    tokens: list[EngineToken]
    next_cursor: str | None = Field(description="For the next page; null at the end.", examples=[None])


@router.get("/v1/engines", response_model=EnginePage, responses=problems(), summary="List engines")
async def list_engines(
    request: Request,
    limit: Limit = None,
    cursor: Cursor = None,
    min_position: MinPosition = None,
) -> Response:
    """Engines of the workspace, newest first."""
    size = limit_of(limit, 200)
    position = position_of(min_position)
    rows = await reader_of(request).page(
        SQL["list_engines"],
        "engine_id",
        position.seq,
        position.stream_type,
        position.stream_id,
        *ORDER.after(cursor),
        size + 1,
    )
    shown, next_cursor = ORDER.page(rows, size, lambda row: (row["created_at"], row["engine_id"]))
    return answer({"engines": [_engine(row) for row in shown], "next_cursor": next_cursor})


@router.get(
    "/v1/engines/{engine_id}",
    response_model=EngineAnswer,
    responses=problems("engine_not_found", malformed=None),
    summary="Read an engine",
)
async def get_engine(request: Request, engine_id: str) -> Response:
    """One engine, as new as the store is."""
    row = await reader_of(request).entity(SQL["get_engine"], engine_id, NotFound("engine_not_found", UNKNOWN))
    return answer({"engine": _engine(row)})


@router.get(
    "/v1/engines/{engine_id}/tokens",
    response_model=EngineTokenPage,
    responses=problems("engine_not_found"),
    summary="List an engine's tokens",
)
async def list_tokens(
    request: Request,
    engine_id: str,
    limit: Limit = None,
    cursor: Cursor = None,
    min_position: MinPosition = None,
) -> Response:
    """Tokens of an engine, newest first."""
    size = limit_of(limit, 200)
    position = position_of(min_position)
    missing = NotFound("engine_not_found", UNKNOWN)
    after = TOKEN_ORDER.after(cursor)
    if not storable(engine_id):
        raise missing
    rows = await reader_of(request).page(
        SQL["list_tokens"],
        "token_id",
        engine_id,
        position.seq,
        position.stream_type,
        position.stream_id,
        *after,
        size + 1,
        missing=missing,
    )
    shown, next_cursor = TOKEN_ORDER.page(rows, size, lambda row: (row["stream_seq"],))
    return answer({"tokens": [members(row, TOKEN_COLUMNS) for row in shown], "next_cursor": next_cursor})


def _engine(row: Row) -> dict[str, Any]:
    return {**members(row, COLUMNS), "metadata": orjson.Fragment(row["metadata"])}
