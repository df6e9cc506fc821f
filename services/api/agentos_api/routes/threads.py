"""Reading threads."""

from typing import Final

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from agentos_api.reads.paging import LATEST, Order, limit_of
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
from agentos_api.routes import rooms
from agentos_shared.domain.errors import NotFound
from agentos_shared.store import statements

router = APIRouter(tags=["threads"])

SQL: Final = statements.load("agentos_api.routes", "threads.sql")
ORDER: Final = Order("threads", (LATEST, 0))
UNKNOWN: Final = "There is no such thread in this workspace."


class Thread(BaseModel):
    """One subject of a room."""

    thread_id: str = Field(examples=["th_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    workspace_id: str = Field(examples=["ws_dev"])
    room_id: str = Field(examples=["room_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    title: str = Field(examples=["Plan"])
    status: str = Field(examples=["open"])
    created_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])
    updated_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])
    last_event_id: str = Field(examples=["019ab3c4-5d6e-7f80-9123-456789abcdef"])


COLUMNS: Final = tuple(Thread.model_fields)


class ThreadPage(BaseModel):
    """Threads of a room, last changed first."""

    threads: list[Thread]
    next_cursor: str | None = Field(description="For the next page; null at the end.", examples=[None])


class ThreadAnswer(BaseModel):
    """One thread."""

    thread: Thread


@router.get(
    "/v1/rooms/{room_id}/threads",
    response_model=ThreadPage,
    responses=problems("room_not_found"),
    summary="List a room's threads",
)
async def list_threads(
    request: Request,
    room_id: str,
    limit: Limit = None,
    cursor: Cursor = None,
    min_position: MinPosition = None,
) -> Response:
    """Threads of a room, last changed first."""
    size = limit_of(limit, 50)
    position = position_of(min_position)
    after = ORDER.after(cursor)
    missing = NotFound("room_not_found", rooms.UNKNOWN)
    if not storable(room_id):
        raise missing
    rows = await reader_of(request).page(
        SQL["list_threads"],
        "thread_id",
        room_id,
        position.seq,
        position.stream_type,
        position.stream_id,
        *after,
        size + 1,
        missing=missing,
    )
    shown, next_cursor = ORDER.page(rows, size, lambda row: (row["updated_at"], row["stream_seq"]))
    return answer(
        {
            "threads": [members(row, COLUMNS) for row in shown],
            "next_cursor": next_cursor,
        }
    )


@router.get(
    "/v1/threads/{thread_id}",
    response_model=ThreadAnswer,
    responses=problems("thread_not_found"),
    summary="Read a thread",
)
async def get_thread(request: Request, thread_id: str) -> Response:
    """One thread, as new as the store is."""
    row = await reader_of(request).entity(SQL["get_thread"], thread_id, NotFound("thread_not_found", UNKNOWN))
    return answer({"thread": members(row, COLUMNS)})
