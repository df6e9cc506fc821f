"""Reading the pipeline: what stands in which of its six stages."""

import hashlib
from collections import Counter
from typing import Annotated, Any, Final, Literal

import orjson
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field, WithJsonSchema

from agentos_api.reads import pipeline
from agentos_api.reads.paging import limit_of, time_of
from agentos_api.reads.pipeline import START, Found, Place
from agentos_api.reads.queries import Limit, MinPosition, answer, position_of, problems, reader_of, storable
from agentos_shared.domain.envelope import timestamp
from agentos_shared.domain.errors import Invalid, TryLater
from agentos_shared.host.lifecycle import CLOCK

router = APIRouter(tags=["pipeline"])

SCHEMA_VERSION: Final = "2.1"
MAX_ITEMS: Final = 200
_UNAVAILABLE: Final = ("store_unavailable", "query_timeout")


class Links(BaseModel):
    """What a stage follows from."""

    experiment_id: str | None = Field(examples=[None])
    approval_id: str | None = Field(examples=[None])
    run_id: str | None = Field(examples=["run_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    evidence_id: str | None = Field(examples=[None])
    scorecard_id: str | None = Field(examples=[None])
    incident_id: str | None = Field(examples=[None])


class Item(BaseModel):
    """An experiment, a run, an open approval, or a scorecard of neither run nor experiment."""

    entity_type: Literal["approval", "experiment", "run", "scorecard"]
    entity_id: str = Field(examples=["run_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    title: str | None = Field(examples=["Summarise the night"])
    status: str = Field(examples=["running"])
    room_id: str | None = Field(examples=["room_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    thread_id: str | None = Field(examples=[None])
    correlation_id: str = Field(examples=["019ab3c4-5d6e-7f80-9123-456789abcdee"])
    updated_at: str = Field(description="Of the newest of all that is linked.", examples=["2026-11-24T05:30:00.123Z"])
    last_event_id: str = Field(examples=["019ab3c4-5d6e-7f80-9123-456789abcdef"])
    links: Links
    diagnostics: list[str] | None = Field(None, description="Absent when nothing is odd.", examples=[["missing_data"]])


class Stages(BaseModel):
    """Items by stage, each last changed first."""

    inbox: list[Item] = Field(alias="1_inbox")
    pending_approval: list[Item] = Field(alias="2_pending_approval")
    execute_workspace: list[Item] = Field(alias="3_execute_workspace")
    review_evidence: list[Item] = Field(alias="4_review_evidence")
    promoted: list[Item] = Field(alias="5_promoted")
    demoted: list[Item] = Field(alias="6_demoted")


class Flat(Stages):
    """The default format."""

    schema_version: str = Field(examples=[SCHEMA_VERSION])
    generated_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])


class NextCursor(BaseModel):
    """Where the page ended: the three ``cursor_`` parameters of the next."""

    updated_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])
    entity_type: str = Field(examples=["run"])
    entity_id: str = Field(examples=["run_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])


class StageStats(BaseModel):
    """Of one stage, how many items the page has."""

    returned: int = Field(examples=[3])
    truncated: Literal[False]


class Meta(BaseModel):
    """About a page."""

    schema_version: str = Field(examples=[SCHEMA_VERSION])
    workspace_id: str = Field(examples=["ws_dev"])
    generated_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])
    limit: int = Field(examples=[200])
    truncated: bool = Field(description="Whether more follow.", examples=[False])
    next_cursor: NextCursor | None
    stage_stats: dict[str, StageStats]
    watermark_event_id: str | None = Field(description="The newest event that the pipeline reflects.", examples=[None])


class Envelope(BaseModel):
    """The format ``envelope``."""

    meta: Meta
    stages: Stages


Format = Annotated[
    str | None,
    Query(alias="format", description="`envelope` adds what is needed to page; absent: the stages alone."),
    WithJsonSchema({"type": "string", "enum": ["envelope"]}),
]
CursorTime = Annotated[
    str | None,
    Query(description="`updated_at` of `next_cursor`; the three go together."),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
CursorPart = Annotated[
    str | None, Query(description="Of `next_cursor`; the three go together."), WithJsonSchema({"type": "string"})
]


@router.get(
    "/v1/pipeline/projection",
    response_model=Flat | Envelope,
    responses={
        304: {"description": "Nothing has changed since the ETag in if-none-match."},
        **problems(
            None,
            "missing_required_field, invalid_format, invalid_cursor_updated_at, invalid_limit, invalid_min_position",
        ),
    },
    summary="Read the pipeline",
)
async def get_projection(
    request: Request,
    form: Format = None,
    limit: Limit = None,
    cursor_updated_at: CursorTime = None,
    cursor_entity_type: CursorPart = None,
    cursor_entity_id: CursorPart = None,
    min_position: MinPosition = None,
) -> Response:
    """What is going on in the workspace, by stage, last changed first; ``limit`` counts over all stages.

    The ETag is that of the content, without the time at which it was made: who sends it as ``if-none-match`` is
    answered 304 as long as nothing has changed.
    """
    size = limit_of(limit, MAX_ITEMS, MAX_ITEMS)
    position = position_of(min_position)
    if form not in (None, "", "envelope"):
        raise Invalid("invalid_format", "format is envelope, or absent.")
    start = _start(cursor_updated_at, cursor_entity_type, cursor_entity_id)
    reader = reader_of(request)
    try:
        found = await pipeline.find(reader, position, start, size)
    except TryLater as error:
        if error.code in _UNAVAILABLE:
            raise TryLater("projection_unavailable", error.detail) from error
        raise
    body: dict[str, Any] = (
        _envelope(found, reader.workspace_id, size) if form else {"schema_version": SCHEMA_VERSION, **found.stages()}
    )
    tag = 'W/"' + hashlib.sha256(orjson.dumps(body)).hexdigest()[:32] + '"'
    headers = {"etag": tag, "cache-control": "private, no-cache"}
    if _matches(request.headers.get("if-none-match"), tag):
        return Response(status_code=304, headers=headers)
    (body["meta"] if form else body)["generated_at"] = timestamp(CLOCK.now())
    response = answer(body)
    response.headers.update(headers)
    return response


def _start(updated_at: str | None, entity_type: str | None, entity_id: str | None) -> Place:
    if not (updated_at or entity_type or entity_id):
        return START
    if not (updated_at and entity_type and entity_id):
        raise Invalid(
            "missing_required_field",
            "cursor_updated_at, cursor_entity_type and cursor_entity_id go together: give all three, or none.",
        )
    if not (storable(entity_type) and storable(entity_id)):
        raise Invalid("invalid_cursor", "The cursor is not one that this list gave out; start without it.")
    return Place(time_of(updated_at, "invalid_cursor_updated_at"), entity_type, entity_id)


def _envelope(found: Found, workspace_id: str, limit: int) -> dict[str, Any]:
    returned = Counter[str](stage for stage, _ in found.items)
    place = found.next_place
    stages = found.stages()
    return {
        "meta": {
            "schema_version": SCHEMA_VERSION,
            "workspace_id": workspace_id,
            "limit": limit,
            "truncated": place is not None,
            "next_cursor": place and {**place._asdict(), "updated_at": timestamp(place.updated_at)},
            "stage_stats": {name: {"returned": returned[name], "truncated": False} for name in stages},
            "watermark_event_id": found.watermark_event_id,
        },
        "stages": stages,
    }


def _matches(header: str | None, tag: str) -> bool:
    """Whether if-none-match names this content; the comparison is the weak one (RFC 9110)."""
    if header is None:
        return False
    named = {text.strip().removeprefix("W/") for text in header.split(",")}
    return "*" in named or tag.removeprefix("W/") in named
