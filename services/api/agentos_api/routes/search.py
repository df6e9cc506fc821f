"""Searching what was said: for a text as it stands, or for words."""

import re
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
    Query(
        description='What to find, in any case. As text, % and _ mean themselves; as words, `"one phrase"`, `or` and '
        "`-not` mean what they do in web searches."
    ),
    WithJsonSchema({"type": "string", "minLength": 2, "maxLength": MAX_QUERY}),
]
Match = Annotated[
    str | None,
    Query(
        description="`text` (the default): messages that contain q as it stands, within words too. `words`: messages "
        "that hold the words of q, whole and in any order; of a long one the first 200,000 characters count."
    ),
    WithJsonSchema({"type": "string", "enum": ["text", "words"], "default": "text"}),
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
    responses=problems(None, "q_too_short, invalid_q, invalid_match, invalid_limit, invalid_cursor"),
    summary="Search messages",
)
async def search(
    request: Request,
    q: Text = None,
    match: Match = None,
    room_id: str | None = None,
    thread_id: str | None = None,
    doc_type: DocType = None,
    limit: Limit100 = None,
    cursor: Cursor = None,
    min_position: MinPosition = None,
) -> Response:
    """Messages of the workspace that contain ``q``, as text or as words, in any case, last changed first."""
    if match not in (None, "", "text", "words"):
        raise Invalid("invalid_match", "match is text or words.")
    text = (q or "").strip()
    if len(text) < 2:
        raise Invalid("q_too_short", "q must have at least two characters.")
    if len(text) > MAX_QUERY or not storable(text):
        raise Invalid(
            "invalid_q",
            f"q must be text of at most {MAX_QUERY} characters, without NUL.",
        )
    by_words = match == "words"
    patterns = contained(text) if by_words else []
    if by_words and not patterns:
        raise Invalid("invalid_q", "q must hold a word to find.")
    size = limit_of(limit, 20, 100)
    position = position_of(min_position)
    after = ORDER.after(cursor)
    if doc_type not in (None, "message") or not all(storable(value) for value in (room_id, thread_id) if value):
        return answer({"docs": [], "next_cursor": None})
    rows = await reader_of(request).page(
        SQL["search_words" if by_words else "search_text"],
        "doc_id",
        position.seq,
        position.stream_type,
        position.stream_id,
        SHOWN_CHARACTERS,
        patterns if by_words else f"%{escaped(text)}%",
        room_id,
        thread_id,
        *after,
        size + 1,
        *([text] if by_words else ()),
    )
    shown, next_cursor = ORDER.page(rows, size, lambda row: (row["updated_at"], row["doc_id"]))
    return answer({"docs": [members(row, COLUMNS) for row in shown], "next_cursor": next_cursor})


_TERM: Final = re.compile(r'-?"[^"]*"?|[^\s"]+')
_WORD: Final = re.compile(r"[^\W_]+")
_MARKUP: Final = re.compile(r"<[^<>]*>|&\w+;")


def contained(query: str) -> list[str]:
    """LIKE patterns of which whatever a query by words finds fits one; the index knows those. Empty: it finds nothing.

    Where all words must be there, the longest says most; with ``or``, any may be the one.
    """
    terms = _TERM.findall(_MARKUP.sub(" ", query))
    asked = [term for term in terms if not term.startswith("-") and term.lower() != "or"]
    words = sorted({word for term in asked for word in _WORD.findall(term)}, key=lambda word: (-len(word), word))
    return [f"%{escaped(word)}%" for word in (words if len(asked) < len(terms) else words[:1])]


def escaped(text: str) -> str:
    """Text for a LIKE pattern in which every character means itself."""
    return text.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
