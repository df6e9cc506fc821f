"""Reading rooms."""

from typing import Final

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from agentos_api.reads.paging import LATEST, Order, limit_of
from agentos_api.reads.queries import Cursor, Limit, MinPosition, answer, members, position_of, problems, reader_of
from agentos_shared.domain.errors import NotFound
from agentos_shared.store import statements

router = APIRouter(tags=["rooms"])

SQL: Final = statements.load("agentos_api.routes", "rooms.sql")
ORDER: Final = Order("rooms", (LATEST, ""))
UNKNOWN: Final = "There is no such room in this workspace."


class Room(BaseModel):
    """A place where people and agents meet."""

    room_id: str = Field(examples=["room_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    workspace_id: str = Field(examples=["ws_dev"])
    mission_id: str | None = Field(examples=[None])
    title: str = Field(examples=["Ops desk"])
    topic: str | None = Field(examples=["night shift"])
    room_mode: str = Field(examples=["normal"])
    default_lang: str = Field(examples=["en"])
    tool_policy_ref: str | None = Field(examples=[None])
    created_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])
    updated_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])


COLUMNS: Final = tuple(Room.model_fields)


class RoomPage(BaseModel):
    """Rooms, last changed first."""

    rooms: list[Room]
    next_cursor: str | None = Field(description="For the next page; null at the end.", examples=[None])


class RoomAnswer(BaseModel):
    """One room."""

    room: Room


@router.get("/v1/rooms", response_model=RoomPage, responses=problems(), summary="List rooms")
async def list_rooms(
    request: Request,
    limit: Limit = None,
    cursor: Cursor = None,
    min_position: MinPosition = None,
) -> Response:
    """Rooms of the workspace, last changed first; of credentials that cover some rooms, these."""
    rooms = request.state.identity.rooms
    size = limit_of(limit, 100)
    position = position_of(min_position)
    after = ORDER.after(cursor)
    rows = await reader_of(request).page(
        SQL["list_rooms"],
        "room_id",
        position.seq,
        position.stream_type,
        position.stream_id,
        *after,
        size + 1,
        None if rooms is None else list(rooms),
    )
    shown, next_cursor = ORDER.page(rows, size, lambda row: (row["updated_at"], row["room_id"]))
    return answer({"rooms": [members(row, COLUMNS) for row in shown], "next_cursor": next_cursor})


@router.get(
    "/v1/rooms/{room_id}",
    response_model=RoomAnswer,
    responses=problems("room_not_found"),
    summary="Read a room",
)
async def get_room(request: Request, room_id: str) -> Response:
    """One room, as new as the store is: a room just created is never a 404."""
    row = await reader_of(request).entity(SQL["get_room"], room_id, NotFound("room_not_found", UNKNOWN))
    return answer({"room": members(row, COLUMNS)})
