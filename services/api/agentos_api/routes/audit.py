"""Audit: is a stream what was appended, and what was taken out of events before they were?"""

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field, WithJsonSchema

from agentos_api.reads.paging import LATEST, MAX_SEQ, Order, limit_of, seq_of
from agentos_api.reads.queries import Cursor, Limit, answer, members, problems, reader_of, storable
from agentos_shared.domain.envelope import Stream
from agentos_shared.domain.errors import Invalid
from agentos_shared.store import audit, chain, statements

router = APIRouter(tags=["audit"])

DEFAULT_LIMIT: Final = 2000
MAX_LIMIT: Final = 10_000

SQL: Final = statements.load("agentos_api.routes", "audit.sql")
ORDER: Final = Order("redactions", (LATEST, ""))
ACTIONS: Final = ("shadow_flagged", "event_emitted")
STREAM_TYPES: Final = ("room", "workspace")


class Mismatch(BaseModel):
    """The first thing in a stream that does not fit. The event's id and type are null where the event is missing."""

    stream_seq: int = Field(examples=[5])
    event_id: str | None = Field(examples=["019ab3c4-5d6e-7f80-9123-456789abcdef"])
    event_type: str | None = Field(examples=["message.created"])
    kind: chain.Kind = Field(examples=["data_digest_mismatch"])
    detail: str = Field(examples=["its content and salt do not give its digest"])
    expected_prev_event_hash: str | None
    actual_prev_event_hash: str | None
    expected_event_hash: str | None
    actual_event_hash: str | None


class Verification(BaseModel):
    """What was found out about one stream."""

    stream_type: str = Field(examples=["room"])
    stream_id: str = Field(examples=["room_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    checked: int = Field(description="Events that were looked at, with the bad one.", examples=[17])
    valid: bool = Field(examples=[True])
    first_mismatch: Mismatch | None = Field(examples=[None])
    last_event_hash: str | None = Field(
        description="Stored hash of the last event looked at.", examples=["sha256:" + "1" * 64]
    )
    redacted: int = Field(description="Events checked whose content was redacted.", examples=[0])
    head_seq: int | None = Field(
        description="Length of the stream. When more than was checked, go on with from_seq.", examples=[17]
    )


@router.get(
    "/v1/audit/hash-chain/verify",
    response_model=Verification,
    responses=problems(None, "invalid_limit, invalid_from_seq"),
    summary="Verify a stream's hash chain",
)
async def verify_hash_chain(
    request: Request,
    stream_type: Annotated[str, Query(description="room or workspace")] = "workspace",
    stream_id: Annotated[str | None, Query(description="Default: the workspace's own stream.")] = None,
    from_seq: Annotated[
        str | None,
        Query(description="Exclusive: verify the events behind this one, which is taken as good."),
        WithJsonSchema({"type": "integer", "minimum": 0, "maximum": MAX_SEQ}),
    ] = None,
    limit: Annotated[
        str | None,
        Query(description=f"Events to check; default {DEFAULT_LIMIT}."),
        WithJsonSchema({"type": "integer", "minimum": 1, "maximum": MAX_LIMIT}),
    ] = None,
) -> Response:
    """Hashes each event again from what is stored, and names the first one that does not fit.

    A stream that is unknown, or of another workspace, is valid with nothing checked. The stream's end is compared with
    its head when it is reached.
    """
    size = limit_of(limit, DEFAULT_LIMIT, MAX_LIMIT)
    after = 0 if from_seq is None else seq_of(from_seq, "invalid_from_seq")
    reader = reader_of(request)
    asked = stream_id or reader.workspace_id
    if stream_type in ("room", "workspace") and storable(asked):
        stream = Stream("room" if stream_type == "room" else "workspace", asked)
        async with reader.connection() as connection:
            if reader.workspace_id in await audit.owners(connection, stream):
                return answer((await audit.verify_stream(connection, stream, after=after, limit=size)).json())
    return answer(chain.Verdict(stream_type, asked, 0, True, None, None).json())


class Redaction(BaseModel):
    """One secret that was found in an event and replaced before the event was stored."""

    redaction_log_id: str = Field(examples=["019ab3c4-5d6e-7f80-9123-456789abcdef:0"])
    workspace_id: str = Field(examples=["ws_dev"])
    event_id: str = Field(description="The event that it was in.", examples=["019ab3c4-5d6e-7f80-9123-456789abcdee"])
    event_type: str = Field(examples=["message.created"])
    stream_type: str = Field(examples=["room"])
    stream_id: str = Field(examples=["room_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    rule_id: str = Field(examples=["github_pat"])
    match_preview: str = Field(examples=["ghp_...H8i9"])
    detector_version: str = Field(examples=["dlp_v1"])
    action: str = Field(examples=["event_emitted"])
    details: dict[str, str] = Field(examples=[{}])
    created_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])


class RedactionPage(BaseModel):
    """Redactions, newest first."""

    redactions: list[Redaction]
    next_cursor: str | None = Field(description="For the next page; null at the end.")


@router.get(
    "/v1/audit/redactions",
    response_model=RedactionPage,
    responses=problems(None, "invalid_action, invalid_stream_type, invalid_limit, invalid_cursor"),
    summary="What was redacted",
)
async def list_redactions(
    request: Request,
    event_id: Annotated[str | None, Query(description="The event that it was in.")] = None,
    rule_id: Annotated[str | None, Query(description="The rule that found it.")] = None,
    action: Annotated[str | None, Query(), WithJsonSchema({"type": "string", "enum": list(ACTIONS)})] = None,
    stream_type: Annotated[str | None, Query(), WithJsonSchema({"type": "string", "enum": list(STREAM_TYPES)})] = None,
    stream_id: str | None = None,
    limit: Limit = None,
    cursor: Cursor = None,
) -> Response:
    """Secrets that were found in events of the workspace, newest first. Everything found is also replaced."""
    if action is not None and action not in ACTIONS:
        raise Invalid("invalid_action", f"action must be one of {', '.join(ACTIONS)}.")
    if stream_type is not None and stream_type not in STREAM_TYPES:
        raise Invalid("invalid_stream_type", f"stream_type must be one of {', '.join(STREAM_TYPES)}.")
    size = limit_of(limit, 100)
    after = ORDER.after(cursor)
    filters = (event_id, rule_id, stream_type, stream_id)
    # Nothing is only flagged here: what is found is always replaced, and said by an event.
    if action == "shadow_flagged" or not all(storable(value) for value in filters if value):
        return answer({"redactions": [], "next_cursor": None})
    reader = reader_of(request)
    rows = await reader.fetch(SQL["redactions"], reader.workspace_id, *filters, *after, size + 1)
    shown, next_cursor = ORDER.page(rows, size, lambda row: (row["created_at"], row["redaction_log_id"]))
    columns = [name for name in Redaction.model_fields if name != "details"]
    return answer(
        {"redactions": [{**members(row, columns), "details": {}} for row in shown], "next_cursor": next_cursor}
    )
