"""What a person looks at before deciding on an approval: who asks, why the gate asks, and what was decided before."""

from collections.abc import Mapping
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import orjson
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field, WithJsonSchema

from agentos_api.approval_reviews import wish_of
from agentos_api.gatekeeper import Gatekeeper
from agentos_api.reads.paging import limit_of
from agentos_api.reads.queries import Reader, Row, answer, members, problems, reader_of
from agentos_shared.domain.action_registry import SEEDED
from agentos_shared.domain.errors import NotFound
from agentos_shared.store import statements
from agentos_shared.store.reader import event_of

router = APIRouter(tags=["approvals"])

SQL: Final = statements.load("agentos_api.routes", "approval_review.sql")
_REGISTERED: Final = ("side_effect", "reversible", "zone_required", "requires_pre_approval", "undo_window_s")
MISSING: Final = NotFound("approval_not_found", "There is no such approval in this workspace.")
_SHOWN: Final = (
    "approval_id",
    "title",
    "status",
    "decision",
    "decision_reason",
    "decided_by_type",
    "decided_by_id",
    "decided_at",
    "requested_by_type",
    "requested_by_id",
    "room_id",
    "zone",
    "action_digest",
)


class Rules(BaseModel):
    """A decision of the gate, and what was decisive."""

    decision: str = Field(examples=["require_approval"])
    reason_codes: list[str] = Field(examples=[["external_write_requires_approval"]])
    determining_rules: list[dict[str, Any]]
    policy_bundle_hash: str = Field(examples=["sha256:" + "9f" * 32])
    event_id: str | None = Field(None, description="Where it is on record; null: it was made just now.")


class Handed(BaseModel):
    """A capability of the chain that whoever asks holds, the first one first."""

    token_id: str
    granted_by_principal_id: str
    issued_to_principal_id: str
    valid_until: str | None
    revoked_at: str | None


class Review(BaseModel):
    """What is known about a request."""

    principal_id: str | None = Field(description="Of whoever asks.")
    on_behalf_of: str | None = Field(description="For whom the gate was asked.", examples=[None])
    delegation: list[Handed]
    asked: Rules | None = Field(description="The decision that led to the request, where the gate was asked before it.")
    now: Rules | None = Field(description="What the gate says now; null while it cannot be asked.")
    zone: str = Field(examples=["supervised"])
    registered: bool = Field(description="Whether the action registry knows the action.", examples=[True])
    side_effect: str | None = Field(examples=["external_write"])
    reversible: bool | None = Field(description="Null: nobody said.", examples=[False])
    zone_required: str | None = Field(examples=["high_stakes"])
    requires_pre_approval: bool | None = Field(examples=[True])
    undo_window_s: int | None = Field(examples=[None])
    resource: str | None = Field(description="What it is done to, as the gate was told.", examples=[None])
    destination: str | None = Field(description="The host that it goes to, where a URL says so.", examples=[None])
    risk: int | None = Field(description="Of 100, as the gate sees it now; null: it cannot be asked.", examples=[65])
    risk_factors: dict[str, int] = Field(description="Its points.", examples=[{"cannot_be_undone": 20}])


class Similar(BaseModel):
    """A decision on a request for the same action."""

    approval_id: str
    title: str | None
    status: str
    decision: str
    decision_reason: str | None
    decided_by_type: str
    decided_by_id: str
    decided_at: str
    requested_by_type: str
    requested_by_id: str
    room_id: str | None
    zone: str
    action_digest: str | None
    request: dict[str, Any]
    scope: dict[str, Any]
    same_action: bool = Field(description="Exactly this: the same digest.")
    same_requester: bool
    same_room: bool
    equal: list[str] = Field(description="Members of the request that are the same.", examples=[["to"]])
    different: list[str] = Field(examples=[["subject"]])


class SimilarAnswer(BaseModel):
    """Decisions on the same action, the most alike first; of those alike, the newest."""

    approved: int = Field(description="Of all that were looked at.", examples=[12])
    denied: int = Field(examples=[1])
    looked_at: int = Field(description="The newest 200 at most.", examples=[13])
    similar: list[Similar]


@router.get(
    "/v1/approvals/{approval_id}/similar",
    response_model=SimilarAnswer,
    responses=problems("approval_not_found", "invalid_limit"),
    summary="Read what was decided on the same action before",
)
async def similar_approvals(
    request: Request,
    approval_id: str,
    limit: Annotated[str | None, Query(), WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 50})] = None,
) -> Response:
    """Past decisions on requests for the same action, wherever in the workspace, the most alike first."""
    size = limit_of(limit, 10, 50)
    reader = reader_of(request)
    row = await reader.entity(SQL["one"], approval_id, MISSING)
    rows = await reader.fetch(SQL["decided"], reader.workspace_id, approval_id, row["action"])
    own = orjson.loads(row["request"])
    alike = sorted((_alike(row, own, other) for other in rows), key=lambda one: one[0], reverse=True)
    decisions = [other["decision"] for other in rows]
    told = {"approved": decisions.count("approve"), "denied": decisions.count("deny"), "looked_at": len(rows)}
    return answer({**told, "similar": [shown for _, shown in alike[:size]]})


def _alike(row: Row, own: Mapping[str, Any], other: Row) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """How much alike two requests are, and the other as it is shown."""
    request = orjson.loads(other["request"])
    names = sorted(own.keys() | request.keys())
    equal = [name for name in names if name in own and name in request and own[name] == request[name]]
    same = {
        "same_action": other["action_digest"] == row["action_digest"],
        "same_requester": _requester(other) == _requester(row),
        "same_room": other["room_id"] == row["room_id"],
    }
    shown = {
        **members(other, _SHOWN),
        "request": request,
        "scope": orjson.loads(other["scope"]),
        **same,
        "equal": equal,
        "different": [name for name in names if name not in equal],
    }
    return (*same.values(), len(equal) / max(1, len(names)), other["decided_at"]), shown


def _requester(row: Row) -> tuple[str, str]:
    return row["requested_by_type"], row["requested_by_id"]


async def review_of(reader: Reader, gatekeeper: Gatekeeper, approval_id: str) -> dict[str, Any]:
    """What is known about a request: one that the store knows.

    Raises:
        TryLater: the store cannot be read now.
    """
    async with reader.connection() as connection:
        (first,) = await connection.fetch(SQL["requested"], reader.workspace_id, approval_id)
        requested = event_of(first)
        data = requested.data
        asked = await connection.fetchrow(
            SQL["asked"], reader.workspace_id, requested.recorded_at, data.get("action_digest") or ""
        )
        action = await connection.fetchrow(SQL["action"], reader.workspace_id, data.get("action"))
        before = None if asked is None else event_of(asked)
        token_id = None if before is None else before.data.get("capability_token_id")
        chain = await connection.fetch(SQL["chain"], reader.workspace_id, token_id) if token_id else []
    if "request" not in data:  # redacted
        now, resource, destination = None, None, None
    else:
        now = await gatekeeper.decide(wish_of(requested, data["request"]), requested.zone)
        resource = None if before is None else before.data.get("resource")
        destination = _host(resource, data["request"])
    known = _action(action, data.get("action"))
    said = None if now is None or now.decision.reason_code == "policy_unavailable" else now.answer()
    told = {} if before is None else before.data
    return {
        "principal_id": requested.actor_principal_id,
        "on_behalf_of": told.get("on_behalf_of"),
        "delegation": [members(row, tuple(Handed.model_fields)) for row in chain],
        "asked": None if before is None else _rules(before.data, before.event_id),
        "now": None if said is None else _rules(said, None),
        "zone": requested.zone,
        **known,
        "resource": resource,
        "destination": destination,
        "risk": None if said is None else said["risk"],
        "risk_factors": {} if said is None else said["risk_factors"],
    }


def _rules(told: Mapping[str, Any], event_id: str | None) -> dict[str, Any]:
    names = ("decision", "reason_codes", "determining_rules", "policy_bundle_hash")
    return {**{name: told.get(name) for name in names}, "event_id": event_id}


def _action(row: Row | None, action: str | None) -> dict[str, Any]:
    if row is not None:
        return {"registered": True, **{name: row[name] for name in _REGISTERED}}
    seeded = SEEDED.get(action or "")
    if seeded is None:
        return {"registered": False, **dict.fromkeys(_REGISTERED)}
    return {"registered": True, **{name: getattr(seeded, name) for name in _REGISTERED}}


def _host(resource: str | None, request: Mapping[str, Any]) -> str | None:
    for text in (resource, request.get("url"), request.get("target_url")):
        if isinstance(text, str) and "://" in text:
            try:
                return urlsplit(text).hostname
            except ValueError:
                continue
    return None
