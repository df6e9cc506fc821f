"""Reading incidents."""

from typing import Annotated, Any, Final, get_args

import orjson
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field, WithJsonSchema

from agentos_api.reads.listing import Listing, one_of
from agentos_api.reads.queries import Cursor, Limit, MinPosition, answer, members, problems, reader_of
from agentos_shared.domain import incidents
from agentos_shared.domain.errors import NotFound
from agentos_shared.store import statements

router = APIRouter(tags=["incidents"])

SQL: Final = statements.load("agentos_api.routes", "incidents.sql")
STATUSES: Final = get_args(incidents.Status)


class Incident(BaseModel):
    """Something that went wrong."""

    incident_id: str = Field(examples=["inc_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    workspace_id: str = Field(examples=["ws_dev"])
    room_id: str | None = Field(examples=["room_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    thread_id: str | None = Field(examples=[None])
    run_id: str | None = Field(examples=["run_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    status: str = Field(examples=["open"])
    title: str = Field(examples=["Run failed triage"])
    summary: str | None = Field(examples=[None])
    severity: str = Field(examples=["high"])
    category: str | None = Field(examples=["run_failed"])
    entity_type: str | None = Field(examples=[None])
    entity_id: str | None = Field(examples=[None])
    details: dict[str, Any] = Field(examples=[{}])
    rca: dict[str, Any] = Field(description="The last analysis; empty before the first.", examples=[{}])
    rca_updated_at: str | None = Field(examples=[None])
    learning_count: int = Field(examples=[0])
    acknowledged_at: str | None = Field(examples=[None])
    acknowledged_by_type: str | None = Field(examples=[None])
    acknowledged_by_id: str | None = Field(examples=[None])
    closed_reason: str | None = Field(examples=[None])
    created_by_type: str = Field(examples=["user"])
    created_by_id: str = Field(examples=["ceo"])
    created_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])
    closed_at: str | None = Field(examples=[None])
    updated_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])
    correlation_id: str = Field(examples=["019ab3c4-5d6e-7f80-9123-456789abcdee"])
    last_event_id: str = Field(examples=["019ab3c4-5d6e-7f80-9123-456789abcdef"])


class Learning(BaseModel):
    """What somebody learnt from an incident."""

    learning_id: str = Field(examples=["learn_0a0c63cd9161614187196fca135f3d35"])
    incident_id: str = Field(examples=["inc_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    workspace_id: str = Field(examples=["ws_dev"])
    room_id: str | None
    run_id: str | None
    note: str = Field(examples=["Alert at 80 %, not at 95 %."])
    tags: list[str] = Field(examples=[["alerting"]])
    created_by_type: str = Field(examples=["user"])
    created_by_id: str = Field(examples=["ceo"])
    created_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])
    last_event_id: str = Field(examples=["019ab3c4-5d6e-7f80-9123-456789abcdef"])


LISTING: Final = Listing(
    "incidents",
    "proj_incidents",
    key="incident_id",
    time="updated_at",
    columns=tuple(Incident.model_fields),
    documents=("details", "rca"),
    filters=("room_id", "status"),
    workspace_first=("status",),
)
LEARNING_COLUMNS: Final = tuple(Learning.model_fields)


class IncidentPage(BaseModel):
    """Incidents, last changed first."""

    incidents: list[Incident]
    next_cursor: str | None = Field(description="For the next page; null at the end.", examples=[None])


class IncidentAnswer(BaseModel):
    """One incident, with what was learnt from it, oldest first."""

    incident: Incident
    learning: list[Learning]


@router.get(
    "/v1/incidents",
    response_model=IncidentPage,
    responses=problems(None, "invalid_status, invalid_limit, invalid_cursor, invalid_min_position"),
    summary="List incidents",
)
async def list_incidents(
    request: Request,
    room_id: Annotated[str | None, Query(), WithJsonSchema({"type": "string"})] = None,
    status: Annotated[str | None, Query(), WithJsonSchema({"type": "string", "enum": list(STATUSES)})] = None,
    limit: Limit = None,
    cursor: Cursor = None,
    min_position: MinPosition = None,
) -> Response:
    """Incidents of the workspace, last changed first."""
    asked = {"room_id": room_id, "status": one_of(status, STATUSES, "invalid_status")}
    page = await LISTING.page(reader_of(request), asked, limit, cursor, min_position)
    return answer({"incidents": page["rows"], "next_cursor": page["next_cursor"]})


@router.get(
    "/v1/incidents/{incident_id}",
    response_model=IncidentAnswer,
    responses=problems("incident_not_found"),
    summary="Read an incident",
)
async def get_incident(request: Request, incident_id: str) -> Response:
    """One incident, as new as the store is, with what was learnt from it."""
    reader = reader_of(request)
    missing = NotFound("incident_not_found", "There is no such incident in this workspace.")
    row = await reader.entity(SQL["get_incident"], incident_id, missing)
    learning = await reader.fetch(SQL["learning"], incident_id, row["stream_seq"])
    return answer(
        {
            "incident": LISTING.entry(row),
            "learning": [members(one, LEARNING_COLUMNS) | {"tags": orjson.Fragment(one["tags"])} for one in learning],
        }
    )
