"""Reading agents."""

import re
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field, WithJsonSchema

from agentos_api.reads.paging import LATEST, Order, limit_of
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
from agentos_shared.domain.errors import Invalid, NotFound
from agentos_shared.store import statements

router = APIRouter(tags=["agents"])

SQL: Final = statements.load("agentos_api.routes", "agents.sql")
ORDER: Final = Order("agents", (LATEST, ""))
MAX_QUERY: Final = 200
_WILDCARD: Final = re.compile(r"([\\%_])")


class Agent(BaseModel):
    """A registered agent."""

    agent_id: str = Field(examples=["agt_0c5f7c621c535a0e9d0b9a4be2f1d3c7"])
    workspace_id: str = Field(examples=["ws_dev"])
    principal_id: str = Field(examples=["0c5f7c62-1c53-5a0e-9d0b-9a4be2f1d3c7"])
    display_name: str = Field(examples=["Summariser"])
    created_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])
    revoked_at: str | None = Field(description="Null: agents are put into quarantine.", examples=[None])
    quarantined_at: str | None = Field(examples=[None])
    quarantine_reason: str | None = Field(examples=[None])


COLUMNS: Final = tuple(name for name in Agent.model_fields if name != "revoked_at")


class AgentPage(BaseModel):
    """Agents, newest first."""

    agents: list[Agent]
    next_cursor: str | None = Field(description="For the next page; null at the end.", examples=[None])
    has_more: bool = Field(examples=[False])


class AgentAnswer(BaseModel):
    """One agent."""

    agent: Agent


@router.get(
    "/v1/agents",
    response_model=AgentPage,
    responses=problems(malformed="invalid_q, invalid_limit, invalid_cursor, invalid_min_position"),
    summary="List agents",
)
async def list_agents(
    request: Request,
    q: Annotated[
        str | None,
        Query(description="Part of a name or an id, in any case."),
        WithJsonSchema({"type": "string", "maxLength": MAX_QUERY}),
    ] = None,
    limit: Limit = None,
    cursor: Cursor = None,
    min_position: MinPosition = None,
) -> Response:
    """Agents of the workspace, newest first."""
    size = limit_of(limit, 200)
    position = position_of(min_position)
    after = ORDER.after(cursor)
    if q and len(q) > MAX_QUERY:
        raise Invalid("invalid_q", f"q has at most {MAX_QUERY} characters.")
    if q and not storable(q):
        return answer({"agents": [], "next_cursor": None, "has_more": False})
    rows = await reader_of(request).page(
        SQL["list_agents"],
        "agent_id",
        position.seq,
        position.stream_type,
        position.stream_id,
        *after,
        size + 1,
        _containing(q) if q else None,
    )
    shown, next_cursor = ORDER.page(rows, size, lambda row: (row["created_at"], row["agent_id"]))
    return answer(
        {"agents": [_agent(row) for row in shown], "next_cursor": next_cursor, "has_more": next_cursor is not None}
    )


@router.get(
    "/v1/agents/{agent_id}",
    response_model=AgentAnswer,
    responses=problems("agent_not_found", malformed=None),
    summary="Read an agent",
)
async def get_agent(request: Request, agent_id: str) -> Response:
    """One agent, as new as the store is."""
    missing = NotFound("agent_not_found", "There is no such agent in this workspace.")
    return answer({"agent": _agent(await reader_of(request).entity(SQL["get_agent"], agent_id, missing))})


def _containing(text: str) -> str:
    """A pattern of ``like`` for what contains this text."""
    escaped = _WILDCARD.sub(r"\\\1", text)
    return f"%{escaped}%"


def _agent(row: Row) -> dict[str, Any]:
    return {**members(row, COLUMNS), "revoked_at": None}
