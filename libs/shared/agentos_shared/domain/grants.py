"""What an approval allows, as it is used and taken back: exactly one act, or many, which are then counted."""

from datetime import datetime
from typing import Final, NamedTuple

from agentos_shared.domain import approval_amounts
from agentos_shared.domain.actions import action_digest
from agentos_shared.domain.approval_bodies import ConsumeApproval, RevokeGrant
from agentos_shared.domain.approval_scopes import Wish, covers
from agentos_shared.domain.approval_stops import kill_switch_active, require_running
from agentos_shared.domain.approvals import OPEN, Approval, event_of, known, require_person
from agentos_shared.domain.decider import Command, Meta, View, expect_version
from agentos_shared.domain.envelope import Actor, NewEvent
from agentos_shared.domain.errors import Conflict, Forbidden, Invalid, NotFound, TryLater
from agentos_shared.domain.policy.facts import Request
from agentos_shared.domain.policy.records import Gated
from agentos_shared.domain.policy.standing import require_standing
from agentos_shared.domain.runs import Run

#: What the gate says of an agent that nobody registered, whose act a person has approved by name.
_NOT_REGISTERED: Final = frozenset({"agent_principal_required", "agent_principal_not_found"})


class Moment(NamedTuple):
    """What :func:`consume` needs to know besides states.

    Args:
        external_write_stopped: whether the environment engages that kill switch.
        gated: what the gate says of the act now; None: nothing from outside, where it is always asked.
    """

    now: datetime
    external_write_stopped: bool = False
    gated: Gated | None = None


def consume(command: Command[ConsumeApproval], view: View) -> list[NewEvent]:
    """``approval.consumed``, or ``grant.used``.

    Raises:
        NotFound: ``approval_not_found``. Forbidden: ``approval_of_another``, ``agent_quarantined``.
        Conflict: as :func:`used`, ``kill_switch_active``, ``approval_policy_denies``. TryLater: ``policy_unavailable``;
            Outdated: something stops it since the gate looked at it.
    """
    approval, body = known(command, view), command.body
    moment: Moment = command.loaded
    expect_version(command, view)
    _require_holder(approval, command.meta, view)
    wish = Wish(
        body.action or approval.action,
        body.action_digest,
        body.room_id,
        body.thread_id,
        body.run_id,
        body.resource,
        body.parameters,
    )
    if moment.gated is not None and approval.scope["type"] != "once":
        wish = wish_of(moment.gated.request)  # what the scope is held against is what the gate has judged
    event = used(command.entity_id, approval, wish, command.meta, max(moment.now, view.now))
    require_running(approval, wish, command.meta.actor, view, forced=moment.external_write_stopped)
    if moment.gated is not None:
        _require_passed(moment.gated, view)
    return [event]


def _require_holder(approval: Approval, meta: Meta, view: View) -> None:
    """What is allowed once is done by whoever asked, by the holder of the run that it was asked for, or by a person.
    Grants are for whoever does what they cover.
    """
    user = meta.actor.type == "user" and meta.engine is None
    if approval.scope["type"] != "once" or user or meta.actor.principal_id == approval.requester.principal_id:
        return
    run = None if approval.run_id is None else view.get(Run, approval.run_id)
    if run is None or run.lease is None or run.lease.actor_principal_id != meta.actor.principal_id:
        raise Forbidden(
            "approval_of_another",
            "This approval is for whoever asked for it, for the holder of its run, or for a person to use.",
        )


def require_told(approval: Approval, body: ConsumeApproval, meta: Meta) -> Actor:
    """Whose act it is that a grant is used for: the caller's, or the requester's where a person sees to it.

    Raises:
        Invalid: ``missing_action``. Conflict: ``approval_action_mismatch``: the digest is of another act.
    """
    if body.action is None:
        raise Invalid(
            "missing_action",
            "A grant is used for an act that is told: action, parameters, room_id, thread_id and run_id, of which "
            "action_digest is made, and the resource.",
        )
    if body.resource is not None and body.resource != body.parameters.get("resource", body.resource):
        raise Conflict("approval_action_mismatch", "resource is another one than that of parameters.")
    person = meta.actor.type == "user" and meta.engine is None
    for actor in (meta.actor, approval.requester) if person else (meta.actor,):
        place = body.room_id, body.run_id
        if action_digest(approval.workspace_id, body.action, actor, *place, body.parameters) == body.action_digest:
            return actor
    raise Conflict(
        "approval_action_mismatch",
        "action_digest is not of the act that is told: of action, parameters, room_id and run_id, done by the caller.",
    )


def _require_passed(gated: Gated, view: View) -> None:
    """What a person has approved needs no further approval, but nothing may deny it now."""
    decision = gated.decision
    if decision.reason_code == "policy_unavailable":
        raise TryLater("policy_unavailable", "The policy service cannot be asked now, so nothing is done; try again.")
    denials = {rule.rule_id for rule in decision.determining_rules if rule.effect == "deny"}
    if "kill_switch_active" in denials:
        raise kill_switch_active()
    if "agent_quarantined" in denials:
        raise Forbidden("agent_quarantined", "This agent is in quarantine: it may read and nothing else.")
    if denials - _NOT_REGISTERED:
        raise Conflict(
            "approval_policy_denies",
            f"The gate does not allow this any more: {decision.reason}",
            reason_code=decision.reason_code,
            reason_codes=list(decision.reason_codes),
            denied_by=sorted(denials),
            next_steps=list(decision.next_steps),
        )
    if not denials:
        require_standing(gated, view)


def require_live(approval: Approval, now: datetime) -> None:
    """Raise Conflict as :func:`used` unless an approval allows anything at all, uses of grants aside."""
    if approval.status == "consumed":
        raise Conflict("approval_already_consumed", "This approval was for one use, which it has had.")
    if approval.status in ("expired", "lapsed") or (approval.status == "approved" and not approval.live(now)):
        raise Conflict(
            "approval_expired", "The time of this approval is over; ask again.", approval_status=approval.status
        )
    if approval.status != "approved":
        raise Conflict(
            "approval_not_approved",
            f"This approval is {approval.status}: it allows nothing.",
            approval_status=approval.status,
        )


def used(approval_id: str, approval: Approval, wish: Wish, meta: Meta, now: datetime) -> NewEvent:
    """The event that an act puts on record in its own append: ``approval.consumed``, or ``grant.used``.

    Raises:
        Conflict: ``approval_not_approved``, ``approval_already_consumed``, ``approval_expired``,
            ``approval_action_mismatch``, ``grant_used_up``, ``grant_amount_exceeded``.
    """
    require_live(approval, now)
    most = approval.scope.get("max_uses")
    if most is not None and approval.uses >= most:
        raise Conflict("grant_used_up", f"This grant allows {most} uses, and has had them.")
    if not covers(approval.scope, approval.action, approval.digest, wish):
        raise Conflict("approval_action_mismatch", "This approval is of another action than the one to be done.")
    data = {"action_digest": wish.digest, "use": approval.uses + 1, **_spent(approval, wish)}
    kind = "approval.consumed" if approval.scope["type"] == "once" else "grant.used"
    return event_of(approval_id, approval, meta, kind, data)


def _spent(approval: Approval, wish: Wish) -> dict[str, str]:
    """What a use comes to, and all uses with it, where the scope bounds that."""
    most = approval_amounts.limit(approval.scope)
    if most is None:
        return {}
    amount = approval_amounts.amount_of(approval.scope, wish.parameters)
    if amount is None:
        pointer = approval.scope["amount_pointer"]
        raise Conflict("approval_action_mismatch", f"This grant is for amounts, and there is none at {pointer}.")
    total = approval.spent + amount
    if total > most:
        left = approval_amounts.told(most - approval.spent)
        raise Conflict("grant_amount_exceeded", f"This grant allows {left} more in total.", amount_left=left)
    return {"amount": approval_amounts.told(amount), "total_amount": approval_amounts.told(total)}


def used_by_act(gated: Gated, meta: Meta, view: View) -> list[NewEvent]:
    """What an act that the gate allows has to put on record of the approval that allows it: nothing where none does.

    Raises:
        NotFound: ``approval_not_found``: the view must know of it. Conflict: as :func:`used`.
    """
    approval_id = gated.decision.approval_id
    if approval_id is None:
        return []
    approval = view.get(Approval, approval_id)
    if approval is None:
        raise NotFound("approval_not_found", "The approval that allows this cannot be found.")
    return [used(approval_id, approval, wish_of(gated.request), meta, view.now)]


def wish_of(request: Request) -> Wish:
    """A request of the gate as approvals look at it."""
    return Wish(
        request.action,
        request.digest,
        request.room_id,
        request.thread_id,
        request.run_id,
        request.resource,
        request.context,
    )


def revoke(command: Command[RevokeGrant], view: View) -> list[NewEvent]:
    """``grant.revoked``, or nothing when it is revoked already.

    Raises:
        NotFound: ``grant_not_found``. Forbidden: ``approver_must_be_user``. Conflict: ``grant_not_active``.
    """
    approval = view.get(Approval, command.entity_id)
    if approval is None or approval.status in OPEN:
        raise NotFound("grant_not_found", "There is no such grant in this workspace.")
    require_person(command.meta)
    expect_version(command, view)
    if approval.status == "revoked":
        return []
    if approval.status != "approved":
        raise Conflict(
            "grant_not_active", f"It is {approval.status}: it allows nothing.", approval_status=approval.status
        )
    return [event_of(command.entity_id, approval, command.meta, "grant.revoked", {"reason": command.body.reason})]
