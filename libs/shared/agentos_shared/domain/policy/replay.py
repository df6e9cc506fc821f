"""Decisions made again under other policies, on what was captured with them."""

from dataclasses import dataclass
from typing import Any, Final

from agentos_shared.domain.envelope import Actor, Event
from agentos_shared.domain.policy.basis import Basis, basis_of
from agentos_shared.domain.policy.decision import Decision
from agentos_shared.domain.policy.evaluate import Policies, settled
from agentos_shared.domain.policy.facts import ActionRule, AgentFact, DataLabel, Facts, Request

#: Events that tell of a decision: one on record, and an act that was allowed.
DECIDED: Final = ("policy.decided", "tool.invoked")


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
    called = event.event_type == "tool.invoked"
    told = event.parsed_content()["policy_context"] if called else event.data
    inputs = told["inputs"]
    return Recorded(
        event, _request(event, inputs, called=called), basis_of(inputs), told["decision"], told["reason_code"]
    )


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


def _request(event: Event, inputs: Any, *, called: bool) -> Request:
    data = event.data
    kind, name, principal_id = inputs["actor"]
    tool_name = data["tool_name"]
    return Request(
        workspace_id=event.workspace_id,
        category="tool_call" if called else data["category"],
        action="tool.call" if called else data["action"],
        actor=Actor(kind, name, principal_id),
        digest="" if called else data["action_digest"],
        zone=inputs["zone"],
        principal_id=inputs["principal_id"],
        room_id=event.room_id,
        thread_id=event.thread_id,
        run_id=event.run_id,
        step_id=event.step_id,
        resource=tool_name if called else data["resource"],
        tool_name=tool_name,
        egress_host=inputs["egress_host"],
        purpose_tags=tuple(inputs["purpose_tags"]),
    )
