"""Reading egress rules and proposals of them."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field, WithJsonSchema

from agentos_api.reads.listing import Listing, one_of
from agentos_api.reads.queries import Cursor, Limit, MinPosition, Row, answer, problems, reader_of, storable
from agentos_api.routes.approvals import STATUSES as PROPOSAL_STATUSES
from agentos_shared.domain.egress_proposals import ACTION
from agentos_shared.domain.egress_rules import rules_id
from agentos_shared.domain.errors import NotFound
from agentos_shared.store import statements

router = APIRouter(tags=["egress_rules"])

SQL: Final = statements.load("agentos_api.routes", "egress_rules.sql")
STATUSES: Final = ("active", "removed")
_TEXT: Final = WithJsonSchema({"type": "string"})


class EgressRule(BaseModel):
    """Who may send what where. Members that are null are not looked at."""

    rule_id: str = Field(examples=["egrl_0c5f7c621c535a0e9d0b9a4be2f1d3c7"])
    workspace_id: str = Field(examples=["ws_dev"])
    host: str = Field(examples=["api.github.com"])
    effect: str = Field(description="allow, deny or require_approval.", examples=["allow"])
    methods: list[str] | None = Field(description="Null: reads for allow, all for the others.", examples=[["GET"]])
    path: str | None = Field(examples=["/repos/ada/**"])
    port: int | None = Field(examples=[443])
    principal: str | None = Field(description="A principal's or an agent's id.", examples=[None])
    room_id: str | None = Field(examples=[None])
    zones: list[str] | None = Field(examples=[None])
    mode: str = Field(description="enforce, or shadow: only noted.", examples=["enforce"])
    private: bool = Field(description="Opens a host of this machine or of a private network.", examples=[False])
    networks: list[str] | None = Field(description="Where a name that it opens may lead.", examples=[None])
    rate: dict[str, Any] | None = Field(
        examples=[{"requests": 60, "per_s": 60, "burst": 60, "per": "principal"}],
    )
    request_bytes: int | None = Field(examples=[None])
    response_bytes: int | None = Field(examples=[10_000_000])
    expires_at: str | None = Field(description="From then on it counts no more.", examples=[None])
    note: str | None = Field(examples=["issues of our own repositories"])
    status: str = Field(description="active or removed.", examples=["active"])
    approval_id: str | None = Field(description="Of the proposal that it came from.", examples=[None])
    set_by_type: str = Field(examples=["user"])
    set_by_id: str = Field(examples=["ada"])
    set_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])
    removed_by_id: str | None = Field(examples=[None])
    removed_at: str | None = Field(examples=[None])
    remove_reason: str | None = Field(examples=[None])
    updated_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])
    last_event_id: str = Field(examples=["019ab3c4-5d6e-7f80-9123-456789abcdef"])


RULES: Final = Listing(
    "egress_rules",
    "proj_egress_rules",
    key="rule_id",
    time="updated_at",
    columns=tuple(EgressRule.model_fields),
    documents=("methods", "zones", "networks", "rate"),
    filters=("host", "status"),
    workspace_first=("host", "status"),
)


_GET: Final = SQL["get_rule"].format(columns=", ".join(EgressRule.model_fields))


class EgressRulePage(BaseModel):
    """Egress rules, last changed first."""

    rules: list[EgressRule]
    next_cursor: str | None = Field(description="For the next page; null at the end.", examples=[None])


class EgressRuleAnswer(BaseModel):
    """One egress rule."""

    rule: EgressRule


@router.get(
    "/v1/egress/rules",
    response_model=EgressRulePage,
    responses=problems(None, "invalid_status, invalid_limit, invalid_cursor, invalid_min_position"),
    summary="List egress rules",
)
async def list_rules(
    request: Request,
    host: Annotated[str | None, Query(description="As the rule names it."), _TEXT] = None,
    status: Annotated[str | None, Query(), WithJsonSchema({"type": "string", "enum": list(STATUSES)})] = None,
    limit: Limit = None,
    cursor: Cursor = None,
    min_position: MinPosition = None,
) -> Response:
    """Egress rules of the workspace, last changed first; removed ones too, unless ``status`` is given."""
    asked = {"host": host, "status": one_of(status, STATUSES, "invalid_status")}
    page = await RULES.page(reader_of(request), asked, limit, cursor, min_position)
    return answer({"rules": page["rows"], "next_cursor": page["next_cursor"]})


@router.get(
    "/v1/egress/rules/{rule_id}",
    response_model=EgressRuleAnswer,
    responses=problems("egress_rule_not_found", malformed=None),
    summary="Read an egress rule",
)
async def get_rule(request: Request, rule_id: str) -> Response:
    """One egress rule, as new as the store is."""
    reader = reader_of(request)
    missing = NotFound("egress_rule_not_found", "There is no such egress rule in this workspace.")
    if not storable(rule_id):
        raise missing

    async def look() -> Row | None:
        (row,) = await reader.fetch(_GET, reader.workspace_id, rule_id, rules_id(reader.workspace_id))
        return row if row["entity_version"] >= row["store_version"] else None

    row = await reader.projected.until(look)
    if row["rule_id"] is None:
        raise missing
    return answer({"rule": RULES.entry(row)})


class EgressProposal(BaseModel):
    """An egress rule that somebody asks for: an approval whose request is the rule."""

    approval_id: str = Field(examples=["appr_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    workspace_id: str = Field(examples=["ws_dev"])
    status: str = Field(description="Of the approval; consumed: the rule is in force.", examples=["pending"])
    title: str | None = Field(examples=["Egress rule: allow pypi.org"])
    request: dict[str, Any] = Field(description="The rule.", examples=[{"host": "pypi.org", "effect": "allow"}])
    context: dict[str, Any] = Field(examples=[{"rationale": "pip must load packages"}])
    edited_request: dict[str, Any] | None = Field(description="The rule that was approved instead.", examples=[None])
    requested_by_type: str = Field(examples=["agent"])
    requested_by_id: str = Field(examples=["summariser"])
    requested_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])
    decided_by_id: str | None = Field(examples=[None])
    decided_at: str | None = Field(examples=[None])
    decision_reason: str | None = Field(examples=[None])
    decide_by: str | None = Field(examples=["2026-11-25T05:30:00.123Z"])
    action_digest: str | None = Field(examples=["sha256:" + "9f" * 32])
    updated_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])


PROPOSALS: Final = Listing(
    "egress_proposals",
    "proj_approvals",
    key="approval_id",
    time="updated_at",
    columns=tuple(EgressProposal.model_fields),
    documents=("request", "context", "edited_request"),
    filters=("status", "action"),
    workspace_first=("status", "action"),
)


class EgressProposalPage(BaseModel):
    """Proposals of egress rules, last changed first."""

    proposals: list[EgressProposal]
    next_cursor: str | None = Field(description="For the next page; null at the end.", examples=[None])


@router.get(
    "/v1/egress/proposals",
    response_model=EgressProposalPage,
    responses=problems(None, "invalid_status, invalid_limit, invalid_cursor, invalid_min_position"),
    summary="List proposals of egress rules",
)
async def list_proposals(
    request: Request,
    status: Annotated[str | None, Query(), WithJsonSchema({"type": "string", "enum": list(PROPOSAL_STATUSES)})] = None,
    limit: Limit = None,
    cursor: Cursor = None,
    min_position: MinPosition = None,
) -> Response:
    """Proposals of the workspace, last changed first; they are decided like any approval."""
    asked = {"status": one_of(status, PROPOSAL_STATUSES, "invalid_status"), "action": ACTION}
    page = await PROPOSALS.page(reader_of(request), asked, limit, cursor, min_position)
    return answer({"proposals": page["rows"], "next_cursor": page["next_cursor"]})
