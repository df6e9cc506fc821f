"""Reading grants: what was approved for more than one act."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field, WithJsonSchema

from agentos_api.reads.listing import Listing, one_of
from agentos_api.reads.queries import Cursor, Limit, MinPosition, answer, problems, reader_of

router = APIRouter(tags=["grants"])

STATUSES: Final = ("active", "revoked", "lapsed")


class Grant(BaseModel):
    """What an approval allows, for as long as it lasts."""

    approval_id: str = Field(examples=["appr_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    workspace_id: str = Field(examples=["ws_dev"])
    room_id: str | None = Field(examples=["room_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    thread_id: str | None = Field(examples=[None])
    run_id: str | None = Field(examples=[None])
    action: str = Field(examples=["external.write"])
    scope: dict[str, Any] = Field(examples=[{"type": "room", "room_id": "room_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"}])
    status: str = Field(description="active, revoked or lapsed.", examples=["active"])
    max_uses: int | None = Field(examples=[None])
    uses: int = Field(examples=[3])
    max_total_amount: str | None = Field(description="What its uses may come to in total.", examples=[None])
    total_amount: str | None = Field(description="What they have come to, where that is bounded.", examples=[None])
    last_used_at: str | None = Field(examples=["2026-11-24T05:40:00.123Z"])
    expires_at: str | None = Field(examples=["2026-12-24T05:30:00.123Z"])
    granted_by_type: str = Field(examples=["user"])
    granted_by_id: str = Field(examples=["ceo"])
    granted_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])
    revoked_by_type: str | None = Field(examples=[None])
    revoked_by_id: str | None = Field(examples=[None])
    revoked_at: str | None = Field(examples=[None])
    revoke_reason: str | None = Field(examples=[None])
    correlation_id: str = Field(examples=["019ab3c4-5d6e-7f80-9123-456789abcdee"])
    updated_at: str = Field(examples=["2026-11-24T05:40:00.123Z"])
    last_event_id: str = Field(examples=["019ab3c4-5d6e-7f80-9123-456789abcdef"])


LISTING: Final = Listing(
    "grants",
    "proj_grants",
    key="approval_id",
    time="updated_at",
    columns=tuple(Grant.model_fields),
    documents=("scope",),
    filters=("room_id", "status"),
    workspace_first=("status",),
)


class GrantPage(BaseModel):
    """Grants, last changed first."""

    grants: list[Grant]
    next_cursor: str | None = Field(description="For the next page; null at the end.", examples=[None])


@router.get(
    "/v1/grants",
    response_model=GrantPage,
    responses=problems(None, "invalid_status, invalid_limit, invalid_cursor, invalid_min_position"),
    summary="List grants",
)
async def list_grants(
    request: Request,
    room_id: Annotated[str | None, Query(), WithJsonSchema({"type": "string"})] = None,
    status: Annotated[str | None, Query(), WithJsonSchema({"type": "string", "enum": list(STATUSES)})] = None,
    limit: Limit = None,
    cursor: Cursor = None,
    min_position: MinPosition = None,
) -> Response:
    """Grants of the workspace, last changed first; ``room_id`` is where it was asked for."""
    asked = {"room_id": room_id, "status": one_of(status, STATUSES, "invalid_status")}
    page = await LISTING.page(reader_of(request), asked, limit, cursor, min_position)
    return answer({"grants": page["rows"], "next_cursor": page["next_cursor"]})
