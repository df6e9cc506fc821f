"""Searching what was said."""

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field, WithJsonSchema

from agentos_api.reads.paging import LATEST, Order, limit_of
from agentos_api.reads.queries import (
    Cursor,
    Limit100,
    MinPosition,
    answer,
    members,
    position_of,
    problems,
    reader_of,
    storable,
)
from agentos_shared.domain.errors import Invalid
from agentos_shared.store import statements

router = APIRouter(tags=["search"])

SQL: Final = statements.load("agentos_api.routes", "search.sql")
ORDER: Final = Order("search", (LATEST, ""))
SHOWN_CHARACTERS: Final = 280
MAX_QUERY: Final = 1000

Text = Annotated[
    str | None,
    Query(description="Text to find, in any case; % and _ mean themselves."),
    WithJsonSchema({"type": "string", "minLength": 2, "maxLength": MAX_QUERY}),
]
DocType = Annotated[
    str | None,
    Query(description="Only documents of this type; today all are messages."),
    WithJsonSchema({"type": "string"}),
]


class Document(BaseModel):
    """A message that contains the text."""

    doc_id: str = Field(examples=["msg_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    workspace_id: str = Field(examples=["ws_dev"])
    room_id: str = Field(examples=["room_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    thread_id: str = Field(examples=["th_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    doc_type: str = Field(examples=["message"])
    content_text: str = Field(description="The first 280 characters.", examples=["**bold** text"])
    lang: str = Field(examples=["en"])
    updated_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])


COLUMNS: Final = tuple(Document.model_fields)


class DocumentPage(BaseModel):
    """Documents that contain the text, last changed first."""

    docs: list[Document]
    next_cursor: str | None = Field(description="For the next page; null at the end.", examples=[None])


@router.get(
    "/v1/search",
    response_model=DocumentPage,
    responses=problems(None, "q_too_short, invalid_q, invalid_limit, invalid_cursor"),
    summary="Search messages",
)
async def search(
    request: Request,
    q: Text = None,
    room_id: str | None = None,
    thread_id: str | None = None,
    doc_type: DocType = None,
    limit: Limit100 = None,
    cursor: Cursor = None,
    min_position: MinPosition = None,
) -> Response:
    """Messages of the workspace that contain ``q``, in any case, last changed first."""
    text = (q or "").strip()
    if len(text) < 2:
        raise Invalid("q_too_short", "q must have at least two characters.")
    if len(text) > MAX_QUERY or not storable(text):
        raise Invalid(
            "invalid_q",
            f"q must be text of at most {MAX_QUERY} characters, without NUL.",
        )
    size = limit_of(limit, 20, 100)
    position = position_of(min_position)
    after = ORDER.after(cursor)
    if doc_type not in (None, "message") or not all(storable(value) for value in (room_id, thread_id) if value):
        return answer({"docs": [], "next_cursor": None})
    rows = await reader_of(request).page(
        SQL["search_messages"],
        "doc_id",
        position.seq,
        position.stream_type,
        position.stream_id,
        SHOWN_CHARACTERS,
        f"%{escaped(text)}%",
        room_id,
        thread_id,
        *after,
        size + 1,
    )
    shown, next_cursor = ORDER.page(rows, size, lambda row: (row["updated_at"], row["doc_id"]))
    return answer({"docs": [members(row, COLUMNS) for row in shown], "next_cursor": next_cursor})


def escaped(text: str) -> str:
    """Text for a LIKE pattern in which every character means itself."""
    return text.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
