"""Commands of approvals."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from agentos_api.append.locator import Location
from agentos_api.approval_reviews import asking, deciding, using
from agentos_api.command_type import CommandType, Reader, Reference
from agentos_shared.domain import (
    approval_bodies,
    approval_decisions,
    approval_marks,
    approvals,
    egress_proposals,
    grants,
    ids,
)
from agentos_shared.domain.approval_bodies import CreateApproval, DecideApproval
from agentos_shared.domain.approvals import Approval
from agentos_shared.domain.decider import Command, View
from agentos_shared.domain.egress_proposals import proposal_id
from agentos_shared.domain.egress_rules import rules_id
from agentos_shared.domain.envelope import Event
from agentos_shared.domain.kill_switches import switches_id
from agentos_shared.host.lifecycle import CLOCK


def _switches(_body: Any, approval: Location) -> tuple[str, ...]:
    """What may have stopped it."""
    return (switches_id(approval.workspace_id),)


def _held_run(_body: Any, approval: Location) -> tuple[str, ...]:
    """The run that it was asked for, whose holder may use it."""
    return () if approval.run_id is None else (approval.run_id,)


def _decided_on(body: DecideApproval, approval: Location) -> tuple[str, ...]:
    """What may have stopped it, the run that a hold lets go, and the egress rule that it may be about."""
    stopped = _switches(body, approval)
    if body.decision == "hold" and approval.run_id is not None:
        stopped = (*stopped, approval.run_id)
    if approval.stream.type != "workspace":
        return stopped
    return (*stopped, proposal_id(approval.entity_id), rules_id(approval.workspace_id))


async def _now(_reader: Reader, _location: Location, _body: Any) -> datetime:
    return CLOCK.now()


def _home(body: CreateApproval) -> Reference | None:
    for kind, entity_id in (("run", body.run_id), ("room", body.room_id), ("thread", body.thread_id)):
        if entity_id is not None:
            return kind, entity_id
    return None


def _named(body: CreateApproval) -> tuple[Reference, ...]:
    named = (("room", body.room_id), ("thread", body.thread_id), ("step", body.step_id), ("approval", body.supersedes))
    return (*((kind, entity_id) for kind, entity_id in named if entity_id is not None), *_targets(body))


def _targets(body: CreateApproval | DecideApproval) -> tuple[Reference, ...]:
    """What the scope names."""
    scope = body.scope
    if scope is None:
        return ()
    named = (("room", scope.room_id), ("thread", scope.thread_id), ("run", scope.run_id))
    return tuple((kind, entity_id) for kind, entity_id in named if entity_id is not None)


def _asked(body: CreateApproval, home: Location) -> tuple[str, ...]:
    room = (home.stream.id,) if home.stream.type == "room" else ()
    return room if body.supersedes is None else (*room, body.supersedes)


def _digest(command: Command[Any], _events: Sequence[Event], view: View) -> Mapping[str, Any]:
    approval = view.get(Approval, command.entity_id)
    return {} if approval is None else {"action_digest": approval.digest}


def _status(command: Command[Any], _events: Sequence[Event], view: View) -> Mapping[str, Any]:
    approval = view.get(Approval, command.entity_id)
    if approval is None:
        return {}
    told: dict[str, Any] = {"approval_status": approval.status}
    if approval.votes.required > 1:
        told |= {"votes": len(approval.votes.voters), "required_approvals": approval.votes.required}
    return told


CONTROL: Final = (
    CommandType(
        name="approval.create",
        path="/v1/approvals",
        body=approval_bodies.CreateApproval,
        decide=approvals.create,
        prefix=ids.APPROVAL,
        answers="approval_id",
        home=_home,
        refs=_named,
        reads=_asked,
        load=asking,
        extra=_digest,
    ),
    CommandType(
        name="approval.decide",
        path="/v1/approvals/{approval_id}/decide",
        body=approval_bodies.DecideApproval,
        decide=egress_proposals.applying(approval_decisions.decide),
        by_person=True,
        parent="approval",
        refs=_targets,
        reads=_decided_on,
        load=deciding,
        extra=_status,
        status=200,
    ),
    CommandType(
        name="approval.see",
        path="/v1/approvals/{approval_id}/seen",
        body=approval_bodies.SeeApproval,
        decide=approval_marks.see,
        by_person=True,
        parent="approval",
        extra=_status,
        status=200,
    ),
    CommandType(
        name="approval.cancel",
        path="/v1/approvals/{approval_id}/cancel",
        body=approval_bodies.CancelApproval,
        decide=approvals.cancel,
        parent="approval",
        load=_now,
        extra=_status,
        status=200,
    ),
    CommandType(
        name="approval.consume",
        path="/v1/approvals/{approval_id}/consume",
        body=approval_bodies.ConsumeApproval,
        decide=grants.consume,
        parent="approval",
        reads=_held_run,
        weigh=using,
        acts=True,
        extra=_status,
        status=200,
    ),
    CommandType(
        name="grant.revoke",
        path="/v1/grants/{approval_id}/revoke",
        body=approval_bodies.RevokeGrant,
        decide=grants.revoke,
        by_person=True,
        parent="approval",
        unknown="grant_not_found",
        load=_now,
        extra=_status,
        status=200,
    ),
    CommandType(
        name="approval.deliver",
        path="",
        body=approval_bodies.DeliverApproval,
        decide=approval_marks.deliver,
        parent="approval",
        status=200,
        internal=True,
    ),
    CommandType(
        name="approval.notify",
        path="",
        body=approval_bodies.NotifyApproval,
        decide=approval_marks.notify,
        parent="approval",
        status=200,
        internal=True,
    ),
    CommandType(
        name="approval.expire",
        path="",
        body=approval_bodies.ExpireApproval,
        decide=approval_decisions.expire,
        parent="approval",
        reads=_switches,
        load=_now,
        status=200,
        internal=True,
    ),
)
