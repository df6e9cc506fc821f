"""Reading approvals, and waiting for their decision."""

from functools import partial
from typing import Annotated, Any, Final, get_args

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field, WithJsonSchema

from agentos_api.reads.listing import Listing, one_of
from agentos_api.reads.queries import Cursor, Limit, MinPosition, Row, answer, problems, reader_of
from agentos_api.routes.approval_review import Review, review_of
from agentos_shared.domain import approvals
from agentos_shared.domain.errors import Invalid, NotFound
from agentos_shared.store import statements

router = APIRouter(tags=["approvals"])

SQL: Final = statements.load("agentos_api.routes", "approvals.sql")
STATUSES: Final = get_args(approvals.Status)
MAX_WAIT_S: Final = 30.0


class Vote(BaseModel):
    """Somebody's yes, and to what."""

    actor_type: str = Field(examples=["user"])
    actor_id: str = Field(examples=["ada"])
    at: str = Field(examples=["2026-11-24T05:31:00.123Z"])
    reason: str | None = Field(examples=[None])
    scope: dict[str, Any] = Field(examples=[{"type": "once"}])
    expires_at: str | None = Field(examples=[None])
    action_digest: str | None = Field(examples=["sha256:" + "9f" * 32])
    edited_request: dict[str, Any] | None = Field(examples=[None])


class Approval(BaseModel):
    """A request to act, and what became of it."""

    approval_id: str = Field(examples=["appr_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    workspace_id: str = Field(examples=["ws_dev"])
    room_id: str | None = Field(examples=["room_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    thread_id: str | None = Field(examples=[None])
    run_id: str | None = Field(examples=["run_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    step_id: str | None = Field(examples=[None])
    action: str = Field(examples=["external.write"])
    status: str = Field(description=f"One of {', '.join(STATUSES)}.", examples=["approved"])
    title: str | None = Field(examples=["Send the report"])
    request: dict[str, Any] = Field(examples=[{"to": "ada@example.org"}])
    context: dict[str, Any] = Field(examples=[{}])
    scope: dict[str, Any] = Field(description="How far it reaches.", examples=[{"type": "once"}])
    expires_at: str | None = Field(description="End of what it allows.", examples=["2026-11-25T05:30:00.123Z"])
    requested_by_type: str = Field(examples=["agent"])
    requested_by_id: str = Field(examples=["summariser"])
    requested_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])
    decided_by_type: str | None = Field(examples=["user"])
    decided_by_id: str | None = Field(examples=["ceo"])
    decided_at: str | None = Field(examples=["2026-11-24T05:31:00.123Z"])
    decision: str | None = Field(description="approve, deny or hold.", examples=["approve"])
    decision_reason: str | None = Field(examples=[None])
    correlation_id: str = Field(examples=["019ab3c4-5d6e-7f80-9123-456789abcdee"])
    created_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])
    updated_at: str = Field(examples=["2026-11-24T05:31:00.123Z"])
    last_event_id: str = Field(examples=["019ab3c4-5d6e-7f80-9123-456789abcdef"])
    zone: str = Field(examples=["supervised"])
    action_digest: str | None = Field(description="Of exactly this action.", examples=["sha256:" + "9f" * 32])
    decide_by: str | None = Field(description="Until then it can be decided.", examples=[None])
    wake_at: str | None = Field(description="When a held one is pending again.", examples=[None])
    uses: int = Field(examples=[0])
    ended_at: str | None = Field(examples=[None])
    superseded_by: str | None = Field(examples=[None])
    edited_request: dict[str, Any] | None = Field(description="What was approved in place of it.", examples=[None])
    escalate_at: str | None = Field(description="When the next step of the escalation comes.", examples=[None])
    escalations: int = Field(examples=[0])
    required_approvals: int = Field(description="People who must approve it.", examples=[1])
    notified_at: str | None = Field(description="When a channel outside was first told of it.", examples=[None])
    seen_at: str | None = Field(description="When a person first saw it, before it was decided.", examples=[None])
    seen_by_id: str | None = Field(examples=["ceo"])
    delivered_at: str | None = Field(
        description="When the answer first reached somebody who waited for it (`wait_s`).", examples=[None]
    )
    consumed_at: str | None = Field(description="When it was first used.", examples=[None])
    votes: list[Vote] = Field(description="Who has approved it, where several people must.")


LISTING: Final = Listing(
    "approvals",
    "proj_approvals",
    key="approval_id",
    time="updated_at",
    columns=tuple(Approval.model_fields),
    documents=("request", "context", "scope", "edited_request", "votes"),
    filters=("room_id", "status"),
    workspace_first=("status",),
)


class ApprovalPage(BaseModel):
    """Approvals, last changed first."""

    approvals: list[Approval]
    next_cursor: str | None = Field(description="For the next page; null at the end.", examples=[None])


class ApprovalAnswer(BaseModel):
    """One approval, and what a person looks at before deciding; ``review`` is null with ``wait_s``."""

    approval: Approval
    review: Review | None


@router.get(
    "/v1/approvals",
    response_model=ApprovalPage,
    responses=problems(None, "invalid_status, invalid_limit, invalid_cursor, invalid_min_position"),
    summary="List approvals",
)
async def list_approvals(
    request: Request,
    room_id: Annotated[str | None, Query(), WithJsonSchema({"type": "string"})] = None,
    status: Annotated[str | None, Query(), WithJsonSchema({"type": "string", "enum": list(STATUSES)})] = None,
    limit: Limit = None,
    cursor: Cursor = None,
    min_position: MinPosition = None,
) -> Response:
    """Approvals of the workspace, last changed first."""
    asked = {"room_id": room_id, "status": one_of(status, STATUSES, "invalid_status")}
    page = await LISTING.page(reader_of(request), asked, limit, cursor, min_position)
    return answer({"approvals": page["rows"], "next_cursor": page["next_cursor"]})


@router.get(
    "/v1/approvals/{approval_id}",
    response_model=ApprovalAnswer,
    responses=problems("approval_not_found", "invalid_wait_s"),
    summary="Read an approval, or wait for its decision",
)
async def get_approval(
    request: Request,
    approval_id: str,
    wait_s: Annotated[
        str | None,
        Query(description="Seconds to wait while it is pending or held."),
        WithJsonSchema({"type": "number", "minimum": 0, "maximum": MAX_WAIT_S}),
    ] = None,
) -> Response:
    """One approval, as new as the store is. With ``wait_s`` the answer comes with the decision, at the latest then.

    ``review`` tells what a person looks at before deciding: who asks, on whose behalf, why the gate asked and what it
    says now, and what is known of the action. Who waits for the answer does not get it.
    """
    seconds = _seconds(wait_s)
    reader = reader_of(request)
    missing = NotFound("approval_not_found", "There is no such approval in this workspace.")
    look = partial(reader.entity, SQL["get_approval"], approval_id, missing)
    decisions = request.app.state.services.decisions
    row = await decisions.until(approval_id, seconds, look, _decided, _stream)
    if seconds > 0 and _decided(row) and row["delivered_at"] is None:
        request.app.state.services.deliveries.note(row["workspace_id"], approval_id)
    review = None if seconds > 0 else await review_of(reader, request.app.state.services.gatekeeper, approval_id)
    return answer({"approval": LISTING.entry(row), "review": review})


def _decided(row: Row) -> bool:
    return row["status"] not in approvals.OPEN


def _stream(row: Row) -> tuple[str, str]:
    return ("room", row["room_id"]) if row["room_id"] else ("workspace", row["workspace_id"])


def _seconds(text: str | None) -> float:
    """Raises Invalid: ``invalid_wait_s``."""
    if not text:
        return 0.0
    refusal = Invalid("invalid_wait_s", f"wait_s must be a number from 0 to {MAX_WAIT_S:.0f}.")
    try:
        seconds = float(text)
    except ValueError:
        raise refusal from None
    if not 0 <= seconds <= MAX_WAIT_S:
        raise refusal
    return seconds
