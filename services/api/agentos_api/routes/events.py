"""Reading events from the store: the query with its filters, and one event in full."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, cast
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, Field, WithJsonSchema

from agentos_api.reads.paging import EARLIEST, LATEST, MAX_SEQ, Key, Order, limit_of, seq_of, time_of
from agentos_api.reads.queries import Cursor, Limit, Reader, Row, answer, problems, reader_of, storable
from agentos_shared.domain.errors import Invalid, NotFound
from agentos_shared.store import statements
from agentos_shared.store.reader import event_of

router = APIRouter(tags=["events"])

STREAM_TYPES: Final = ("room", "thread", "workspace")
MAX_EVENT_TYPES: Final = 20
ORDERS: Final = ("asc", "desc")
#: How far the clocks of those who append to one stream may be apart, so that a range of time there is complete.
CLOCKS_DIFFER: Final = timedelta(seconds=10)
#: Sort before and after every id.
FIRST_ID: Final = UUID(int=0)
LAST_ID: Final = UUID(int=2**128 - 1)
#: By direction: how pages are ordered, and so where the first one begins. A cursor goes on in its own direction only.
BY_TIME: Final = {
    "asc": Order("events", (EARLIEST, FIRST_ID)),
    "desc": Order("events_desc", (LATEST, LAST_ID)),
}
BY_STREAM: Final = {"asc": Order("stream", (0,)), "desc": Order("stream_desc", (MAX_SEQ,))}

_TEXTS: Final = statements.load("agentos_api.routes", "events.sql")


def _statement(name: str, column: str = "", value: str = "") -> dict[str, str]:
    """A statement with its fragments filled in, by direction; all of them stand in the .sql file or the table below."""
    text = _TEXTS[name].replace("{column}", column).replace("{value}", value)
    for fragment in ("columns", "filters", "between"):
        text = text.replace(f"{{{fragment}}}", _TEXTS[fragment])
    return {direction: text.replace("{direction}", direction) for direction in ORDERS}


#: Filters with an index of their own, the most selective first.
_BY_COLUMN: Final = {
    "step_id": _statement("by_column", "step_id", "$5"),
    "run_id": _statement("by_column", "run_id", "$4"),
    "correlation_id": _statement("by_column", "correlation_id", "$6"),
    "subject_agent_id": _statement(
        "by_column", """strpos(content, '"agent_id":') > 0 and evt_events.data ->> 'agent_id'""", "$8"
    ),
    "thread_id": _statement("by_column", "thread_id", "$3"),
}
_SQL: Final = {name: _statement(name) for name in ("by_stream", "by_stream_and_time", "by_principal", "by_types")}
_BY_EVENT_ID: Final = _TEXTS["by_event_id"].replace("{columns}", _TEXTS["columns"])


class Event(BaseModel):
    """The envelope: the same object on HTTP, SSE and NATS."""

    event_id: str = Field(examples=["019ab3c4-5d6e-7f80-9123-456789abcdef"])
    event_type: str = Field(examples=["message.created"])
    event_version: int = Field(examples=[1])
    occurred_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])
    recorded_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])
    workspace_id: str = Field(examples=["ws_dev"])
    mission_id: str | None = Field(examples=[None])
    room_id: str | None = Field(examples=["room_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    thread_id: str | None = Field(examples=["th_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    run_id: str | None = Field(examples=[None])
    step_id: str | None = Field(examples=[None])
    actor_type: str = Field(examples=["user"])
    actor_id: str = Field(examples=["anon"])
    actor_principal_id: str = Field(examples=["6f1d2f0e-5d0c-5e7a-9c1b-9f6c0a7d3b42"])
    zone: str = Field(examples=["supervised"])
    stream_type: str = Field(examples=["room"])
    stream_id: str = Field(examples=["room_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    stream_seq: int = Field(examples=[3])
    entity_type: str = Field(examples=["message"])
    entity_id: str = Field(examples=["msg_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    entity_version: int = Field(examples=[1])
    correlation_id: str = Field(examples=["019ab3c4-5d6e-7f80-9123-456789abcdee"])
    causation_id: str | None = Field(examples=[None])
    redaction_level: str = Field(examples=["none"])
    contains_secrets: bool = Field(examples=[False])
    data: dict[str, Any] = Field(examples=[{"content_md": "hello"}])
    idempotency_key: str | None = Field(examples=[None])
    prev_event_hash: str | None = Field(examples=["sha256:" + "0" * 64])
    event_hash: str = Field(examples=["sha256:" + "1" * 64])


class EventInFull(Event):
    """The envelope with the contexts that the list leaves out."""

    policy_context: dict[str, Any] = Field(examples=[{}])
    model_context: dict[str, Any] = Field(examples=[{}])
    display: dict[str, Any] = Field(examples=[{}])


class EventPage(BaseModel):
    """Events in order."""

    events: list[Event]
    next_cursor: str | None = Field(description="For the next page; null at the end.", examples=[None])


class EventAnswer(BaseModel):
    """One event."""

    event: EventInFull


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What was asked for; an absent filter is None."""

    stream_type: str | None
    stream_id: str | None
    from_seq: int
    before_seq: int
    room_id: str | None
    thread_id: str | None
    run_id: str | None
    step_id: str | None
    correlation_id: str | None
    event_types: list[str] | None
    subject_agent_id: str | None
    subject_principal_id: str | None
    after: datetime | None
    before: datetime | None
    direction: str

    @property
    def order(self) -> Order:
        """How the page is ordered."""
        return (BY_STREAM if self.is_one_stream else BY_TIME)[self.direction]

    @property
    def is_one_stream(self) -> bool:
        """Whether all that can match stands in one stream: a room's events are the stream of the room."""
        return self.stream_id is not None or self.room_id is not None

    def only_types(self) -> bool:
        """Whether nothing but types and time is asked for."""
        return not self.is_one_stream and all(
            text is None
            for text in (
                self.thread_id,
                self.run_id,
                self.step_id,
                self.correlation_id,
                self.subject_agent_id,
                self.subject_principal_id,
            )
        )

    def can_match(self) -> bool:
        """False when an id is no text that the store could hold."""
        texts = (
            self.stream_id,
            self.room_id,
            self.thread_id,
            self.run_id,
            self.step_id,
            self.correlation_id,
            self.subject_agent_id,
            self.subject_principal_id,
            *(self.event_types or ()),
        )
        return all(storable(text) for text in texts if text is not None)


Id = Annotated[str | None, Query(), WithJsonSchema({"type": "string"})]
StreamType = Annotated[
    str | None,
    Query(description="`room` or `workspace`, with stream_id: one stream, in its order. Any other counts as absent."),
    WithJsonSchema({"type": "string"}),
]
FromSeq = Annotated[
    str | None,
    Query(description="Exclusive: events of the stream or room, of which one must be given, after this stream_seq."),
    WithJsonSchema({"type": "integer", "minimum": 0, "maximum": MAX_SEQ}),
]
BeforeSeq = Annotated[
    str | None,
    Query(description="Exclusive: events of the stream or room, of which one must be given, before this stream_seq."),
    WithJsonSchema({"type": "integer", "minimum": 0, "maximum": MAX_SEQ}),
]
EventTypes = Annotated[
    list[str] | None,
    Query(description="Comma separated or repeated, at most 20 together with event_type."),
    WithJsonSchema({"type": "string"}),  # any text is a list of one
]
SubjectAgent = Annotated[
    str | None,
    Query(description="Events about this agent (data.agent_id)."),
    WithJsonSchema({"type": "string"}),
]
SubjectPrincipal = Annotated[
    str | None,
    Query(description="Events by or about this principal."),
    WithJsonSchema({"type": "string"}),
]
BeforeRecordedAt = Annotated[
    str | None,
    Query(description="Only events recorded before this time."),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
AfterRecordedAt = Annotated[
    str | None,
    Query(description="Only events recorded after this time."),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
Direction = Annotated[
    str | None,
    Query(description="`asc` (the default): oldest first. `desc`: newest first."),
    WithJsonSchema({"type": "string", "enum": list(ORDERS), "default": "asc"}),
]


def filters_of(
    stream_type: StreamType = None,
    stream_id: Id = None,
    from_seq: FromSeq = None,
    before_seq: BeforeSeq = None,
    room_id: Id = None,
    thread_id: Id = None,
    run_id: Id = None,
    step_id: Id = None,
    correlation_id: Id = None,
    event_type: Id = None,
    event_types: EventTypes = None,
    subject_agent_id: SubjectAgent = None,
    subject_principal_id: SubjectPrincipal = None,
    after_recorded_at: AfterRecordedAt = None,
    before_recorded_at: BeforeRecordedAt = None,
    order: Direction = None,
) -> Filters:
    """The filters of a request. An empty one, and an unknown stream type, count as absent.

    Raises:
        Invalid: ``stream_type_and_stream_id_required_together``, ``invalid_from_seq``, ``invalid_before_seq``,
            ``invalid_event_types``, ``invalid_after_recorded_at``, ``invalid_before_recorded_at``, ``invalid_order``.
    """
    if order and order not in ORDERS:
        raise Invalid("invalid_order", "order is asc (oldest first) or desc (newest first).")
    known_type = stream_type if stream_type in STREAM_TYPES else None
    if (known_type is None) != (not stream_id):
        raise Invalid(
            "stream_type_and_stream_id_required_together",
            "Give both stream_type (room or workspace) and stream_id, or none.",
        )
    if from_seq is not None and not (stream_id or room_id):
        raise Invalid(
            "invalid_from_seq", "from_seq is a place in one stream: give stream_type and stream_id with it, or room_id."
        )
    if before_seq is not None and not (stream_id or room_id):
        raise Invalid(
            "invalid_before_seq",
            "before_seq is a place in one stream: give stream_type and stream_id with it, or room_id.",
        )
    return Filters(
        stream_type=known_type,
        stream_id=stream_id or None,
        from_seq=0 if from_seq is None else seq_of(from_seq, "invalid_from_seq"),
        before_seq=MAX_SEQ if before_seq is None else seq_of(before_seq, "invalid_before_seq"),
        room_id=room_id or None,
        thread_id=thread_id or None,
        run_id=run_id or None,
        step_id=step_id or None,
        correlation_id=correlation_id or None,
        event_types=_types(event_type, event_types),
        subject_agent_id=subject_agent_id or None,
        subject_principal_id=subject_principal_id or None,
        after=time_of(after_recorded_at, "invalid_after_recorded_at") if after_recorded_at else None,
        before=time_of(before_recorded_at, "invalid_before_recorded_at") if before_recorded_at else None,
        direction=order or "asc",
    )


def _types(one: str | None, several: list[str] | None) -> list[str] | None:
    named = {name.strip() for text in (one or "", *(several or ())) for name in text.split(",")} - {""}
    if len(named) > MAX_EVENT_TYPES:
        raise Invalid(
            "invalid_event_types",
            f"At most {MAX_EVENT_TYPES} event types can be asked for at once.",
        )
    return sorted(named) or None


@router.get(
    "/v1/events",
    response_model=EventPage,
    responses=problems(
        None,
        "stream_type_and_stream_id_required_together, invalid_from_seq, invalid_before_seq, invalid_event_types, "
        "invalid_after_recorded_at, invalid_before_recorded_at, invalid_order, invalid_limit, invalid_cursor",
    ),
    summary="Query events",
)
async def list_events(
    request: Request,
    filters: Annotated[Filters, Depends(filters_of)],
    limit: Limit = None,
    cursor: Cursor = None,
) -> Response:
    """Events that pass all filters: those of one stream or room in stream order, others by (recorded_at, event_id)."""
    size = limit_of(limit, 100)
    place = filters.order.after(cursor)
    rows = await find(reader_of(request), filters, place, size + 1) if filters.can_match() else ()
    shown, next_cursor = filters.order.page(rows, size, _place if filters.is_one_stream else _time)
    return answer(
        {
            "events": [event_of(row).envelope() for row in shown],
            "next_cursor": next_cursor,
        }
    )


@router.get(
    "/v1/events/{event_id}",
    response_model=EventAnswer,
    responses=problems("event_not_found", None),
    summary="Read an event",
)
async def get_event(request: Request, event_id: str) -> Response:
    """One event in full."""
    reader = reader_of(request)
    rows = await reader.fetch(_BY_EVENT_ID, known, reader.workspace_id) if (known := _uuid(event_id)) else ()
    if not rows:
        raise NotFound("event_not_found", "There is no such event in this workspace.")
    return answer({"event": event_of(rows[0]).envelope(detail=True)})


async def find(reader: Reader, filters: Filters, place: Key, limit: int) -> Sequence[Row]:
    """Events beyond a place in the order, by the statement of the most selective filter."""
    way = filters.direction
    if filters.only_types():
        bounds = _times(filters, place)
        return await reader.fetch(_SQL["by_types"][way], reader.workspace_id, filters.event_types, *bounds, limit)
    passed = (
        reader.workspace_id,
        filters.room_id,
        filters.thread_id,
        filters.run_id,
        filters.step_id,
        filters.correlation_id,
        filters.event_types,
        filters.subject_agent_id,
        filters.subject_principal_id,
        limit,
    )
    if filters.is_one_stream:
        stream = (filters.stream_type or "room", filters.stream_id or filters.room_id)
        seq = cast("int", place[0])
        seqs = (
            (max(filters.from_seq, seq), filters.before_seq)
            if way == "asc"
            else (filters.from_seq, min(filters.before_seq, seq))
        )
        if filters.after is None and filters.before is None:
            return await reader.fetch(_SQL["by_stream"][way], *passed, *stream, *seqs)
        times = (filters.after, filters.before, CLOCKS_DIFFER)
        return await reader.fetch(_SQL["by_stream_and_time"][way], *passed, *stream, *seqs, *times)
    served = (statement for column, statement in _BY_COLUMN.items() if getattr(filters, column) is not None)
    return await reader.fetch(next(served, _SQL["by_principal"])[way], *passed, *_times(filters, place))


def _times(filters: Filters, place: Key) -> Key:
    """The keys between which a page lies, both exclusive: the times asked for, narrowed by where the last one ended."""
    low: Key = (EARLIEST if filters.after is None else filters.after, LAST_ID if filters.after else FIRST_ID)
    high: Key = (LATEST if filters.before is None else filters.before, FIRST_ID if filters.before else LAST_ID)
    return (*max(low, place), *high) if filters.direction == "asc" else (*low, *min(high, place))


def _place(row: Row) -> Key:
    return (row["stream_seq"],)


def _time(row: Row) -> Key:
    return (row["recorded_at"], UUID(int=row["event_id"].int))


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
