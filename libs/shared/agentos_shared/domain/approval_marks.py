"""What is noted of an approval beside what is decided: who was told, who saw it, and that its answer got through."""

from agentos_shared.domain.approval_bodies import DeliverApproval, NotifyApproval, SeeApproval
from agentos_shared.domain.approvals import OPEN, event_of, known, require_person
from agentos_shared.domain.decider import Command, View, expect_version
from agentos_shared.domain.envelope import NewEvent


def see(command: Command[SeeApproval], view: View) -> list[NewEvent]:
    """``approval.seen``: the first time, and while it can still be decided; else nothing.

    Raises:
        NotFound: ``approval_not_found``. Forbidden: ``approver_must_be_user``.
    """
    approval = known(command, view)
    require_person(command.meta)
    expect_version(command, view)
    if approval.seen or approval.status not in OPEN:
        return []
    return [event_of(command.entity_id, approval, command.meta, "approval.seen", {})]


def deliver(command: Command[DeliverApproval], view: View) -> list[NewEvent]:
    """``approval.delivered``: the first time, once it is no longer to be decided; else nothing.

    Raises:
        NotFound: ``approval_not_found``.
    """
    approval = known(command, view)
    if approval.delivered or approval.status in OPEN:
        return []
    data = {"approval_status": approval.status, "via": "wait"}
    return [event_of(command.entity_id, approval, command.meta, "approval.delivered", data)]


def notify(command: Command[NotifyApproval], view: View) -> list[NewEvent]:
    """``approval.notified``, or ``approval.notification_failed``.

    Raises:
        NotFound: ``approval_not_found``.
    """
    approval, body = known(command, view), command.body
    about = {"channel": body.channel, "step": body.step}
    if body.failure is not None:
        failed = {**about, "reason": body.failure}
        return [event_of(command.entity_id, approval, command.meta, "approval.notification_failed", failed)]
    return [event_of(command.entity_id, approval, command.meta, "approval.notified", about)]
