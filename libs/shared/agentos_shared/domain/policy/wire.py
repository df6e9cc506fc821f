"""Requests and decisions as JSON, on their way between the API and the policy service."""

from collections.abc import Mapping
from typing import Any

from agentos_shared.domain.envelope import Actor, Zone
from agentos_shared.domain.policy.decision import Decision, Rule
from agentos_shared.domain.policy.facts import Request

_PLAIN = (
    "workspace_id",
    "category",
    "action",
    "digest",
    "zone",
    "principal_id",
    "capability_token_id",
    "capability_scopes",
    "room_id",
    "thread_id",
    "run_id",
    "step_id",
    "resource",
    "tool_name",
    "egress_host",
    "egress_method",
    "egress_port",
    "egress_path",
    "justification",
)


def request_told(request: Request, asked_zone: Zone | None) -> dict[str, Any]:
    """A request for the policy service, which finds out the call's zone.

    Args:
        asked_zone: the zone that the caller named.
    """
    told: dict[str, Any] = {name: getattr(request, name) for name in _PLAIN}
    told["zone"] = asked_zone
    told["actor"] = list(request.actor)
    told["purpose_tags"] = list(request.purpose_tags)
    told["context"] = dict(request.context)
    return told


def request_of(told: Mapping[str, Any]) -> tuple[Request, Zone | None]:
    """A request as it was told, and the zone that the caller named."""
    members = {name: told[name] for name in _PLAIN}
    asked: Zone | None = members.pop("zone")
    actor = Actor(*told["actor"])
    purpose_tags = tuple(told["purpose_tags"])
    return Request(actor=actor, purpose_tags=purpose_tags, context=told["context"], **members), asked


def decision_of(told: Mapping[str, Any]) -> Decision:
    """A decision from :meth:`Decision.told`."""
    return Decision(
        decision=told["decision"],
        reason_code=told["reason_code"],
        reason=told["reason"],
        reason_codes=tuple(told["reason_codes"]),
        next_steps=tuple(told["next_steps"]),
        determining_rules=tuple(Rule(**rule) for rule in told["determining_rules"]),
        action_digest=told["action_digest"],
        policy_bundle_hash=told["policy_bundle_hash"],
        zone=told["zone"],
        obligations=tuple(told["obligations"]),
        approval_id=told["approval_id"],
        shadow=tuple(told["shadow"]),
        valid_until=told["valid_until"],
    )
