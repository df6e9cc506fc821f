"""What an approval allows, as it is used and taken back: exactly one act, or many, which are then counted."""

from datetime import datetime
from typing import NamedTuple

from agentos_shared.domain import approval_amounts
from agentos_shared.domain.approval_bodies import ConsumeApproval, RevokeGrant
from agentos_shared.domain.approval_scopes import Wish, covers
from agentos_shared.domain.approval_stops import require_running
from agentos_shared.domain.approvals import OPEN, Approval, event_of, known, require_person
from agentos_shared.domain.decider import Command, Meta, View, expect_version
from agentos_shared.domain.envelope import NewEvent
from agentos_shared.domain.errors import Conflict, NotFound
from agentos_shared.domain.policy.facts import Request
from agentos_shared.domain.policy.records import Gated


class Moment(NamedTuple):
    """What :func:`consume` needs to know besides states.

    Args:
        external_write_stopped: whether the environment engages that kill switch.
    """

    now: datetime
    external_write_stopped: bool = False


def consume(command: Command[ConsumeApproval], view: View) -> list[NewEvent]:
    """``approval.consumed``, or ``grant.used``.

    Raises:
        NotFound: ``approval_not_found``. Conflict: as :func:`used`, ``kill_switch_active``.
    """
    approval, body = known(command, view), command.body
    moment: Moment = command.loaded
    expect_version(command, view)
    wish = Wish(
        body.action or approval.action,
        body.action_digest,
        body.room_id,
        body.thread_id,
        body.run_id,
        body.resource,
        body.parameters,
    )
    event = used(command.entity_id, approval, wish, command.meta, max(moment.now, view.now))
    require_running(approval, wish, command.meta.actor, view, forced=moment.external_write_stopped)
    return [event]


def used(approval_id: str, approval: Approval, wish: Wish, meta: Meta, now: datetime) -> NewEvent:
    """The event that an act puts on record in its own append: ``approval.consumed``, or ``grant.used``.

    Raises:
        Conflict: ``approval_not_approved``, ``approval_already_consumed``, ``approval_expired``,
            ``approval_action_mismatch``, ``grant_used_up``, ``grant_amount_exceeded``.
    """
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
