"""Reading the action registry: what is known from the start, and what users registered or edited."""

from dataclasses import asdict
from typing import Any, Final

import orjson
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from agentos_api.reads.paging import Order, limit_of
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
)
from agentos_shared.domain.action_registry import SEEDED
from agentos_shared.store import statements

router = APIRouter(tags=["actions"])

SQL: Final = statements.load("agentos_api.routes", "action_registry.sql")
ORDER: Final = Order("actions", ("",))


class Action(BaseModel):
    """A type of action."""

    action_type: str = Field(examples=["invoice.send"])
    side_effect: str = Field(
        description="read_internal, write_internal, external_read, external_write or admin.",
        examples=["external_write"],
    )
    reversible: bool = Field(examples=[False])
    zone_required: str | None = Field(description="Null: the table of zones decides.", examples=["high_stakes"])
    requires_pre_approval: bool = Field(examples=[True])
    post_review_required: bool = Field(examples=[False])
    undo_action: str | None = Field(examples=[None])
    undo_window_s: int | None = Field(examples=[None])
    idempotency_key: str | None = Field(description="Where it carries one.", examples=[None])
    undo_verified: bool = Field(description="Whether the last drill of its undo went well.", examples=[False])
    metadata: dict[str, Any] = Field(examples=[{"cost_impact": "high", "recovery_difficulty": "high"}])
    created_at: str | None = Field(description="Null: known from the start.", examples=[None])
    updated_at: str | None = Field(examples=[None])


COLUMNS: Final = tuple(Action.model_fields)


class ActionPage(BaseModel):
    """Types of actions, by name."""

    actions: list[Action]
    next_cursor: str | None = Field(description="For the next page; null at the end.", examples=[None])


@router.get(
    "/v1/action-registry",
    response_model=ActionPage,
    responses=problems(),
    summary="List types of actions",
)
async def list_actions(
    request: Request,
    limit: Limit = None,
    cursor: Cursor = None,
    min_position: MinPosition = None,
) -> Response:
    """Types of actions, by name."""
    size = limit_of(limit, 200)
    position = position_of(min_position)
    (after,) = ORDER.after(cursor)
    place = (position.seq, position.stream_type, position.stream_id)
    rows = await reader_of(request).page(SQL["list_actions"], "action_type", *place, after, size + 1)
    # Those that come after the last row are cut off below, whether or not a later row replaces them.
    known = {name: _seeded(name) for name in SEEDED if name > str(after)}
    merged = known | {row["action_type"]: _action(row) for row in rows}
    shown, next_cursor = ORDER.page(
        [merged[name] for name in sorted(merged)], size, lambda action: (action["action_type"],)
    )
    return answer({"actions": shown, "next_cursor": next_cursor})


def _action(row: Row) -> dict[str, Any]:
    return {**members(row, COLUMNS), "metadata": orjson.Fragment(row["metadata"])}


def _seeded(name: str) -> dict[str, Any]:
    told = asdict(SEEDED[name])
    return {column: told[column] for column in COLUMNS}
