"""Decisions made again under other policies, on what was captured with them."""

from dataclasses import dataclass
from typing import Any, Final

from agentos_shared.domain.envelope import Actor, Event
from agentos_shared.domain.policy.basis import Basis, basis_of
from agentos_shared.domain.policy.decision import Decision
from agentos_shared.domain.policy.evaluate import Policies, settled
from agentos_shared.domain.policy.facts import ActionRule, AgentFact, DataLabel, Facts, Request

#: Events that tell of a decision: one on record, and acts that were allowed.
DECIDED: Final = ("policy.decided", "tool.invoked", "egress.allowed")


@dataclass(frozen=True, slots=True)
class Recorded:
    """A decision on record, with what it was made on.

    Args:
        decision, reason_code: what it was.
    """

    event: Event
    request: Request
    basis: Basis
    decision: str
    reason_code: str


def recorded(event: Event) -> Recorded:
    """The decision that an event of :data:`DECIDED` tells of.

    Raises:
        KeyError, TypeError, ValueError: it does not carry all that it was made on.
    """
    told = event.data if event.event_type == "policy.decided" else event.parsed_content()["policy_context"]
    inputs = told["inputs"]
    return Recorded(event, _request(event, inputs), basis_of(inputs), told["decision"], told["reason_code"])


def again(past: Recorded, policies: Policies) -> Decision:
    """What would have been decided, had these been the policies."""
    request, known = past.request, past.basis
    rule = ActionRule(request.action, True, "supervised", False, external=known.external)
    facts = Facts(
        past.event.recorded_at,
        agent=AgentFact(request.actor.id, request.actor.principal_id, known.quarantined),
        action=rule,
        label=DataLabel(known.label),
    )
    return settled(request, known, policies.hash, policies.judge(request, facts))


def _request(event: Event, inputs: Any) -> Request:
    kind, name, principal_id = inputs["actor"]
    return Request(
        workspace_id=event.workspace_id,
        actor=Actor(kind, name, principal_id),
        zone=inputs["zone"],
        principal_id=inputs["principal_id"],
        room_id=event.room_id,
        thread_id=event.thread_id,
        run_id=event.run_id,
        step_id=event.step_id,
        egress_host=inputs["egress_host"],
        purpose_tags=tuple(inputs["purpose_tags"]),
        **_wish(event, inputs),
    )


def _wish(event: Event, inputs: Any) -> dict[str, Any]:
    """What was wanted, as each kind of event tells it."""
    data, out = event.data, inputs.get("wish", {})
    sent = {f"egress_{name}": out.get(name) for name in ("method", "port", "path")}
    match event.event_type:
        case "tool.invoked":
            name = data["tool_name"]
            return {"category": "tool_call", "action": "tool.call", "digest": "", "resource": name, "tool_name": name}
        case "egress.allowed":
            told = {"action": out["action"], "resource": out["resource"], "digest": data["action_digest"]}
            return {"category": "egress", **told, **sent}
    told = {name: data[name] for name in ("category", "action", "resource", "tool_name")}
    return {**told, "digest": data["action_digest"], **sent}
