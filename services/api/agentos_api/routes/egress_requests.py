"""Reading requests that leave the machine, and what came back."""

import base64
from typing import Annotated, Any, Final, get_args

import orjson
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field, WithJsonSchema

from agentos_api.http.edge import InternalError
from agentos_api.reads.listing import Listing, one_of
from agentos_api.reads.queries import Cursor, Limit, MinPosition, answer, problems, reader_of
from agentos_shared.domain import egress
from agentos_shared.domain.errors import NotFound
from agentos_shared.store import statements
from agentos_shared.store.blobs import Blobs

router = APIRouter(tags=["egress"])

SQL: Final = statements.load("agentos_api.routes", "egress_requests.sql")
STATUSES: Final = get_args(egress.Status)
#: Whoever wrote the content is a stranger to the browser that opens it: it is saved, and runs nothing.
HARMLESS: Final = {"content-disposition": "attachment", "content-security-policy": "default-src 'none'; sandbox"}
_MISSING: Final = "There is no such request in this workspace."


class EgressRequest(BaseModel):
    """A request to the world outside."""

    egress_request_id: str = Field(examples=["egr_6f1d2f0e5d0c5e7a9c1b9f6c0a7d3b42"])
    workspace_id: str = Field(examples=["ws_dev"])
    room_id: str | None = Field(examples=["room_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    run_id: str | None = Field(examples=[None])
    step_id: str | None = Field(examples=[None])
    requested_by_type: str = Field(examples=["agent"])
    requested_by_id: str = Field(examples=["agt_6f1d2f0e5d0c5e7a9c1b9f6c0a7d3b42"])
    requested_by_principal_id: str = Field(examples=["019ab3c4-5d6e-5f80-9123-456789abcdef"])
    zone: str = Field(examples=["supervised"])
    action: str = Field(examples=["external.write"])
    method: str = Field(examples=["GET"])
    target_url: str = Field(examples=["https://example.org/"])
    target_domain: str = Field(examples=["example.org"])
    action_digest: str = Field(examples=["sha256:" + "9f" * 32])
    status: str = Field(description=f"One of {', '.join(STATUSES)}.", examples=["succeeded"])
    policy_decision: str | None = Field(examples=["allow"])
    policy_reason_code: str | None = Field(examples=["egress.rule_allows"])
    policy_reason: str | None = Field(examples=[None])
    enforcement_mode: str | None = Field(examples=["enforce"])
    blocked: bool | None = Field(examples=[False])
    would_deny: bool = Field(description="Whether a rule that is only watched would have denied it.", examples=[False])
    approval_id: str | None = Field(examples=[None])
    attempts: int = Field(description="How often it was sent.", examples=[1])
    outcome: dict[str, Any] | None = Field(
        examples=[{"result": "succeeded", "status": 200, "content": {"type": "text", "text": "hello"}}]
    )
    sent_at: str | None = Field(examples=["2026-11-24T05:30:00.123Z"])
    ended_at: str | None = Field(examples=["2026-11-24T05:30:01.123Z"])
    correlation_id: str = Field(examples=["019ab3c4-5d6e-7f80-9123-456789abcdee"])
    created_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])
    updated_at: str = Field(examples=["2026-11-24T05:30:01.123Z"])
    last_event_id: str = Field(examples=["019ab3c4-5d6e-7f80-9123-456789abcdef"])


LISTING: Final = Listing(
    "egress_requests",
    "proj_egress_requests",
    key="egress_request_id",
    time="created_at",
    columns=tuple(EgressRequest.model_fields),
    documents=("outcome",),
    filters=("room_id", "run_id", "status"),
    workspace_first=("status",),
)


class EgressRequestPage(BaseModel):
    """Requests, the newest first."""

    requests: list[EgressRequest]
    next_cursor: str | None = Field(description="For the next page; null at the end.", examples=[None])


class WholeRequest(EgressRequest):
    """A request with what came back. ``content`` is text, base64, or none; a large one is at ``/content``."""

    content: dict[str, Any] | None = Field(examples=[{"type": "text", "text": "hello"}])


class EgressRequestAnswer(BaseModel):
    """One request."""

    request: WholeRequest


Filter = Annotated[str | None, Query(), WithJsonSchema({"type": "string"})]


@router.get(
    "/v1/egress/requests",
    response_model=EgressRequestPage,
    responses=problems(None, "invalid_status, invalid_limit, invalid_cursor, invalid_min_position"),
    summary="List requests to the world outside",
)
async def list_egress_requests(
    request: Request,
    room_id: Filter = None,
    run_id: Filter = None,
    status: Annotated[str | None, Query(), WithJsonSchema({"type": "string", "enum": list(STATUSES)})] = None,
    limit: Limit = None,
    cursor: Cursor = None,
    min_position: MinPosition = None,
) -> Response:
    """Requests of the workspace, the newest first."""
    asked = {"room_id": room_id, "run_id": run_id, "status": one_of(status, STATUSES, "invalid_status")}
    page = await LISTING.page(reader_of(request), asked, limit, cursor, min_position)
    return answer({"requests": page["rows"], "next_cursor": page["next_cursor"]})


@router.get(
    "/v1/egress/requests/{egress_request_id}",
    response_model=EgressRequestAnswer,
    responses=problems("egress_request_not_found", None),
    summary="Read a request to the world outside",
)
async def get_egress_request(request: Request, egress_request_id: str) -> Response:
    """One request with its outcome, as new as the store is."""
    missing = NotFound("egress_request_not_found", _MISSING)
    row = await reader_of(request).entity(SQL["get_egress_request"], egress_request_id, missing)
    return answer({"request": {**LISTING.entry(row), "content": orjson.Fragment(row["content"])}})


@router.get(
    "/v1/egress/requests/{egress_request_id}/content",
    response_class=Response,
    responses={
        200: {
            "description": "The bytes of the answer's body.",
            "content": {
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}, "example": "hi"}
            },
        },
        **problems("egress_request_not_found, content_not_found", None),
    },
    summary="Read the body of an answer",
)
async def get_egress_content(request: Request, egress_request_id: str) -> Response:
    """The body that came back, byte for byte, as far as it was kept."""
    missing = NotFound("egress_request_not_found", _MISSING)
    row = await reader_of(request).entity(SQL["get_egress_request"], egress_request_id, missing)
    content = orjson.loads(row["content"])
    match content and content["type"]:
        case "text":
            raw = content["text"].encode()
        case "base64":
            raw = base64.b64decode(content["base64"])
        case "blob":
            kept = await Blobs(request.app.state.services.settings.blob_dir).get(content["sha256"])
            if kept is None:
                raise InternalError("content_damaged", f"blobs/{content['sha256']} is gone; restore it from a backup.")
            raw = kept
        case _:
            raise NotFound("content_not_found", "Nothing came back, or nothing has come back yet.")
    return Response(raw, 200, HARMLESS, media_type="application/octet-stream")
