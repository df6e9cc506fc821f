"""Deciding on approvals, and what time brings about when nobody does."""

from datetime import datetime, timedelta
from typing import Final

from agentos_shared.domain import approval_answers as answers
from agentos_shared.domain.actions import action_digest
from agentos_shared.domain.approval_answers import Deciding
from agentos_shared.domain.approval_bodies import DecideApproval, ExpireApproval, Json
from agentos_shared.domain.approval_stops import frozen, held_up
from agentos_shared.domain.approval_votes import VOTE, Terms
from agentos_shared.domain.approvals import (
    GRANT_LASTS,
    LONG_REACHING,
    PENDING_MOST,
    Approval,
    effective_of,
    event_of,
    future,
    known,
    require_open,
    require_person,
    told,
    too_late,
)
from agentos_shared.domain.decider import Command, View, expect_version
from agentos_shared.domain.envelope import NewEvent, Zone, timestamp
from agentos_shared.domain.errors import Conflict, Invalid
from agentos_shared.domain.runs import Run, inside

#: How long what was approved once lasts when nobody says.
ONCE_LASTS: Final = timedelta(hours=24)
ONCE_LASTS_HIGH_STAKES: Final = timedelta(minutes=15)


def decide(command: Command[DecideApproval], view: View) -> list[NewEvent]:
    """``approval.decided``. Where several people must approve, ``approval.vote_recorded`` of each before it; where a
    run waits under a lease, ``run.lease_released`` before a hold; before a denial or an edit what is learned from it.
    Nothing when this very decision was taken before. ``command.loaded`` is :class:`Deciding`, or the time alone.

    Raises:
        NotFound: ``approval_not_found``. Forbidden: ``approver_must_be_user``.
        Conflict: ``approval_already_decided``, ``approval_expired``, ``approval_cancelled``, ``approval_superseded``,
            ``approval_action_mismatch``, ``approval_not_editable``, ``approval_already_voted``,
            ``approval_terms_differ``, ``approval_policy_changed``, ``approval_policy_denies``,
            ``approval_edit_widens``.
        Contradiction: ``client_token_reused``. TryLater: ``policy_unavailable``.
        Invalid: ``invalid_scope``, ``invalid_expires_at``, ``invalid_wake_at``, ``invalid_edited_request``.
    """
    approval = known(command, view)
    require_person(command.meta)
    body = command.body
    now, review, failure = command.loaded if isinstance(command.loaded, Deciding) else Deciding(command.loaded)
    answer = answers.answered(body, command.meta)
    if answers.is_repeated(answer, approval.answers):
        return []
    stood = held_up(approval, view, now)
    require_open(approval, now, stood)
    expect_version(command, view)
    if body.expected_digest is not None and body.expected_digest != approval.digest:
        raise Conflict("approval_action_mismatch", "This approval is of another action than you expect.")
    scope = approval.scope if body.scope is None else effective_of(approval, body.scope)
    expires_at = future("expires_at", body.expires_at, now) or approval.expires_at
    terms = Terms(scope, told(expires_at), _edited(approval, body), body.edited_request)
    answers.require_reviewed(body, review)
    data: Json = {"decision": body.decision, "reason": body.reason, "action": approval.action, **terms.told()}
    data |= answers.told(answer)
    votes: list[NewEvent] = []
    if body.wake_at is not None and body.decision != "hold":
        raise Invalid("invalid_wake_at", "wake_at goes with the decision hold.")
    if body.decision == "approve":
        if expires_at is not None and expires_at <= now:
            raise Invalid("invalid_expires_at", "What was asked for is over: give an expires_at that is to come.")
        if scope["type"] in LONG_REACHING and expires_at is not None and expires_at > now + GRANT_LASTS:
            raise too_late("expires_at")
        if approval.votes.required > 1:
            approval.votes.require_new(command.meta.actor, terms)
            so_far = approval.votes.and_(command.meta.actor, terms)
            vote = {"vote": len(so_far.voters), "required_approvals": so_far.required, "reason": body.reason}
            vote |= {**terms.told(), **answers.told(answer)}
            votes.append(event_of(command.entity_id, approval, command.meta, VOTE, vote))
            if not so_far.enough:
                return votes
        data |= {"expires_at": timestamp(expires_at or now + lasts(scope, approval.zone))}
        data |= {"decide_by": None, "wake_at": None, "remaining_s": None}
    elif body.decision == "deny":
        data |= {"expires_at": told(expires_at), "decide_by": None, "wake_at": None, "remaining_s": None}
    else:
        most = approval.requested_at + PENDING_MOST
        wake_at = future("wake_at", body.wake_at, now)
        if wake_at is not None and wake_at > most:
            raise too_late("wake_at")
        left = approval.remaining
        if approval.status == "pending" and approval.decide_by is not None:
            left = approval.decide_by + stood - now
        data |= {"expires_at": told(expires_at), "decide_by": timestamp(most), "wake_at": told(wake_at)}
        data |= {"remaining_s": max(1, round(left.total_seconds()))}
    released = _released(command, approval, view) if body.decision == "hold" else []
    decided = event_of(command.entity_id, approval, command.meta, "approval.decided", data)
    lessons = [] if failure is None else failure.lessons(decided, view, body.reason)
    return [*released, *votes, *lessons, decided]


def _released(command: Command[DecideApproval], approval: Approval, view: View) -> list[NewEvent]:
    """``run.lease_released`` where a run waits under a lease: whoever works on it is free until the hold is over."""
    run = None if approval.run_id is None else view.get(Run, approval.run_id)
    if run is None or run.lease is None or approval.run_id is None:
        return []
    lease = {"run_id": approval.run_id, "attempt_no": run.attempt_no, "claim_token": run.lease.claim_token}
    data = {**lease, "reason": "approval_held", "approval_id": command.entity_id}
    event = inside(command, approval.run_id, run, "run.lease_released", "run", data)
    return [event._replace(entity_id=approval.run_id)]


def _edited(approval: Approval, body: DecideApproval) -> str | None:
    """The digest of what is decided on."""
    if body.edited_request is None:
        return approval.digest
    if body.decision != "approve":
        raise Invalid("invalid_edited_request", "edited_request goes with the decision approve.")
    if not approval.editable:
        raise Conflict(
            "approval_not_editable", "Its action_digest is of something else than its request: deny it and ask anew."
        )
    return action_digest(
        approval.workspace_id,
        approval.action,
        approval.requester,
        approval.room_id,
        approval.run_id,
        body.edited_request,
    )


def lasts(scope: Json, zone: Zone) -> timedelta:
    """How long what is approved lasts when nobody says."""
    if scope.get("type") != "once":
        return GRANT_LASTS
    return ONCE_LASTS_HIGH_STAKES if zone == "high_stakes" else ONCE_LASTS


def expire(command: Command[ExpireApproval], view: View) -> list[NewEvent]:
    """``approval.expired``, ``.resumed``, ``.escalated`` or ``.lapsed``; nothing when its time has not come.

    Raises:
        NotFound: ``approval_not_found``.
    """
    approval, now = known(command, view), command.loaded
    due = approval.due_at
    if due is None or now < due:
        return []
    data: Json
    stood = held_up(approval, view, now)
    end = None if approval.decide_by is None else approval.decide_by + stood
    if stood and approval.status == "pending" and (end is None or now < end):
        if end is None or frozen(approval, view):
            return []
        kind, data = "approval.resumed", {"decide_by": timestamp(end), "escalate_at": _escalates(approval, now)}
    elif approval.status == "approved":
        kind, data = "approval.lapsed", {"expires_at": timestamp(due)}
    elif end is not None and now >= end:
        kind, data = "approval.expired", {"decide_by": timestamp(end)}
    elif approval.status == "held":
        end = min(now + approval.remaining, approval.requested_at + PENDING_MOST)
        kind, data = "approval.resumed", {"decide_by": timestamp(end), "escalate_at": _escalates(approval, now)}
    else:
        (_, notify), *rest = approval.escalation
        following = approval.requested_at + timedelta(seconds=rest[0][0]) if rest else None
        data = {"step": approval.escalated + 1, "notify": notify, "decide_by": told(approval.decide_by)}
        kind, data = "approval.escalated", {**data, "escalate_at": told(following)}
    return [event_of(command.entity_id, approval, command.meta, kind, data)]


def _escalates(approval: Approval, now: datetime) -> str | None:
    """When the next step comes of a request whose clock is set anew."""
    return told(now + timedelta(seconds=approval.escalation[0][0])) if approval.escalation else None
