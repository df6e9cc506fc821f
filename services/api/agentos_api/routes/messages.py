"""Reading messages."""

from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field, WithJsonSchema

from agentos_api.reads.paging import LATEST, Order, limit_of, time_of
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
from agentos_api.routes import threads
from agentos_shared.domain.errors import NotFound
from agentos_shared.store import statements

router = APIRouter(tags=["messages"])

SQL: Final = statements.load("agentos_api.routes", "messages.sql")
ORDER: Final = Order("messages", (LATEST, 0))
UNKNOWN: Final = "There is no such message in this workspace."

Before = Annotated[
    str | None,
    Query(description="Only messages created before this time."),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]


class Message(BaseModel):
    """What a person, an agent or a service said in a thread."""

    message_id: str = Field(examples=["msg_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    workspace_id: str = Field(examples=["ws_dev"])
    room_id: str = Field(examples=["room_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    thread_id: str = Field(examples=["th_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    sender_type: str = Field(examples=["user"])
    sender_id: str = Field(examples=["anon"])
    content_md: str = Field(examples=["**bold** text"])
    lang: str = Field(examples=["en"])
    parent_message_id: str | None = Field(examples=[None])
    run_id: str | None = Field(examples=[None])
    step_id: str | None = Field(examples=[None])
    labels: list[str] = Field(examples=[["draft"]])
    created_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])
    updated_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])


COLUMNS: Final = tuple(Message.model_fields)


class MessagePage(BaseModel):
    """Messages of a thread, newest first."""

    messages: list[Message]
    next_cursor: str | None = Field(description="For the next page; null at the end.", examples=[None])


class MessageAnswer(BaseModel):
    """One message."""

    message: Message


@router.get(
    "/v1/threads/{thread_id}/messages",
    response_model=MessagePage,
    responses=problems("thread_not_found", "invalid_limit, invalid_cursor, invalid_before"),
    summary="List a thread's messages",
)
async def list_messages(
    request: Request,
    thread_id: str,
    limit: Limit = None,
    before: Before = None,
    cursor: Cursor = None,
    min_position: MinPosition = None,
) -> Response:
    """Messages of a thread, newest first. ``cursor`` and ``before`` both bound the page."""
    size = limit_of(limit, 50)
    position = position_of(min_position)
    after = ORDER.after(cursor)
    if before is not None:
        # Exclusive: sorts before every message of that very time.
        after = min(after, (time_of(before, "invalid_before"), 0))
    missing = NotFound("thread_not_found", threads.UNKNOWN)
    if not storable(thread_id):
        raise missing
    rows = await reader_of(request).page(
        SQL["list_messages"],
        "message_id",
        thread_id,
        position.seq,
        position.stream_type,
        position.stream_id,
        *after,
        size + 1,
        missing=missing,
    )
    shown, next_cursor = ORDER.page(rows, size, lambda row: (row["created_at"], row["stream_seq"]))
    return answer(
        {
            "messages": [_message(row) for row in shown],
            "next_cursor": next_cursor,
        }
    )


@router.get(
    "/v1/messages/{message_id}",
    response_model=MessageAnswer,
    responses=problems("message_not_found"),
    summary="Read a message",
)
async def get_message(request: Request, message_id: str) -> Response:
    """One message, as new as the store is."""
    row = await reader_of(request).entity(SQL["get_message"], message_id, NotFound("message_not_found", UNKNOWN))
    return answer({"message": _message(row)})


def _message(row: Row) -> dict[str, Any]:
    # jsonb arrives as JSON text, which goes out as it is.
    return members(row, COLUMNS) | {"labels": orjson.Fragment(row["labels"])}
