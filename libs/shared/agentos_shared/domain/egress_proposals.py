"""Proposals of egress rules: anybody asks, a person approves, and the rule is in force with that very answer.

A proposal is an approval of the action ``egress.rule.set`` whose request is the rule. Why it is wanted stands in the
approval's context; what counts is the rule.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import Field, ValidationError

from agentos_shared.domain import approvals, egress_rules, ids
from agentos_shared.domain.approval_bodies import CreateApproval, DecideApproval
from agentos_shared.domain.approvals import Approval
from agentos_shared.domain.capabilities import moment
from agentos_shared.domain.decider import Command, CommandBody, Decide, View
from agentos_shared.domain.egress_rules import MAX_NOTE, Id, RuleBody
from agentos_shared.domain.envelope import Event, NewEvent, Stream
from agentos_shared.domain.errors import Invalid

ACTION: Final = "egress.rule.set"


class ProposeEgressRule(RuleBody, CommandBody):
    """Asks a person to put an egress rule in force. ``rationale`` says what for, ``run_id`` of which run it is. The
    answer's ``approval_id`` is decided like any other.
    """

    rationale: str | None = Field(None, max_length=MAX_NOTE)
    run_id: Id | None = None


@dataclass(frozen=True, slots=True)
class EgressProposal:
    """What the decision on a proposal reads of it."""

    rule: dict[str, Any]


def proposal_id(approval_id: str) -> str:
    """The id of the proposal that an approval decides on."""
    return ids.derived_id(ids.EGRESS_PROPOSAL, approval_id)


def propose(command: Command[ProposeEgressRule], view: View) -> list[NewEvent]:
    """``approval.requested`` and ``egress.rule.proposed``. ``command.loaded`` is the time.

    Raises:
        Invalid: as :func:`egress_rules.rule_of`, ``invalid_expires_at``.
    """
    body, meta, now = command.body, command.meta, command.loaded
    rule = egress_rules.rule_of(body)
    if rule["expires_at"] is not None and moment(rule["expires_at"]) <= now:
        raise Invalid("invalid_expires_at", "expires_at must be in the future.")
    asked = CreateApproval(
        action=ACTION,
        title=f"Egress rule: {rule['effect'].replace('_', ' ')} {rule['host']}",
        request=rule,
        context={"rationale": body.rationale, "run_id": body.run_id, "room_id": body.room_id},
    )
    requested = approvals.create(Command(asked, meta, command.entity_id, loaded=now), view)
    proposed = NewEvent(
        event_type="egress.rule.proposed",
        stream=Stream("workspace", meta.workspace_id),
        workspace_id=meta.workspace_id,
        entity_type="egress_proposal",
        entity_id=proposal_id(command.entity_id),
        actor=meta.actor,
        correlation_id=meta.correlation_id,
        idempotency_key=meta.idempotency_key,
        data={"approval_id": command.entity_id, "rule": rule, "rationale": body.rationale, "run_id": body.run_id},
    )
    return [*requested, proposed]


def evolve(state: EgressProposal | None, event: Event) -> EgressProposal | None:
    """Fold one event of a proposal."""
    return EgressProposal(event.data["rule"]) if event.event_type == "egress.rule.proposed" else state


def applying(decide: Decide) -> Decide:
    """Deciding on approvals, where the approval of a proposal puts its rule in force and is thereby used.

    The view must know of the proposal and of the workspace's rules.

    Raises:
        Invalid: ``invalid_edited_request``: it is no rule; ``invalid_scope``. Conflict: ``egress_rule_limit``.
    """

    def decided(command: Command[DecideApproval], view: View) -> Sequence[NewEvent]:
        events = decide(command, view)
        return [*events, *_applied(command, view, events)]

    return decided


def _applied(command: Command[DecideApproval], view: View, events: Sequence[NewEvent]) -> list[NewEvent]:
    proposal = view.get(EgressProposal, proposal_id(command.entity_id))
    approval = view.get(Approval, command.entity_id)
    final = events[-1] if events else None
    if proposal is None or approval is None or final is None or final.event_type != "approval.decided":
        return []
    if final.data["decision"] != "approve":
        return []
    if final.data["scope"]["type"] != "once":
        raise Invalid("invalid_scope", "A proposal is approved once; expires_at ends the rule.")
    edited = final.data.get("edited_request")
    rule = proposal.rule if edited is None else _rule(edited)
    ends = command.body.expires_at
    if ends is not None and (rule["expires_at"] is None or moment(ends) < moment(rule["expires_at"])):
        rule = {**rule, "expires_at": ends}
    used = {"action_digest": final.data["action_digest"], "use": approval.uses + 1}
    return [
        *egress_rules.setting(rule, command.meta, view, command.entity_id),
        approvals.event_of(command.entity_id, approval, command.meta, "approval.consumed", used),
    ]


def _rule(edited: dict[str, Any]) -> dict[str, Any]:
    try:
        body = RuleBody.model_validate(edited)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise Invalid("invalid_edited_request", f"It is no egress rule: {where}: {first['msg']}") from None
    return egress_rules.rule_of(body)
