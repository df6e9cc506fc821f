"""What the events of an approval make of it: its state, and when time comes back to it."""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from agentos_shared.domain.actions import action_digest
from agentos_shared.domain.approval_answers import remembered
from agentos_shared.domain.approval_bodies import Json
from agentos_shared.domain.approval_votes import Terms, Votes
from agentos_shared.domain.approvals import Approval, Status, first
from agentos_shared.domain.capabilities import moment
from agentos_shared.domain.envelope import Actor, Event

#: Events after which time goes on as before.
TIMELESS: Final = frozenset(
    {
        "grant.used",
        "approval.delivered",
        "approval.notification_failed",
        "approval.notified",
        "approval.seen",
        "approval.vote_recorded",
    }
)
_STATUS_OF: Final[dict[str, Status]] = {"approve": "approved", "deny": "denied", "hold": "held"}
_ENDS: Final[dict[str, Status]] = {
    "approval.expired": "expired",
    "approval.cancelled": "cancelled",
    "approval.superseded": "superseded",
    "approval.consumed": "consumed",
    "approval.lapsed": "lapsed",
    "grant.revoked": "revoked",
}


def evolve(state: Approval | None, event: Event) -> Approval | None:
    """Fold one event of an approval."""
    if event.event_type == "approval.requested":
        return _requested(event)
    if state is None:
        return None
    data = event.data
    if event.event_type in _ENDS:
        uses = state.uses + (event.event_type == "approval.consumed")
        return replace(state, status=_ENDS[event.event_type], uses=uses)
    match event.event_type:
        case "approval.decided":
            return replace(
                state,
                answers=remembered(state.answers, data),
                status=_STATUS_OF[data["decision"]],
                digest=data["action_digest"],
                scope=data["scope"],
                expires_at=_at(data["expires_at"]),
                decide_by=_at(data["decide_by"]),
                wake_at=_at(data["wake_at"]),
                remaining=timedelta(seconds=data["remaining_s"] or 0),
                escalate_at=None,
            )
        case "approval.vote_recorded":
            terms = Terms(data["scope"], data["expires_at"], data["action_digest"], data["edited_request"])
            voter = Actor(event.actor_type, event.actor_id, event.actor_principal_id)
            told = remembered(state.answers, data)
            return replace(state, votes=state.votes.and_(voter, terms), answers=told)
        case "approval.seen":
            return replace(state, seen=True)
        case "approval.delivered":
            return replace(state, delivered=True)
        case "approval.resumed":
            end, again = _at(data["decide_by"]), _at(data["escalate_at"])
            at = event.recorded_at
            return replace(state, status="pending", decide_by=end, wake_at=None, escalate_at=again, clock_from=at)
        case "approval.escalated":
            again, rest = _at(data["escalate_at"]), state.escalation[1:]
            return replace(state, escalation=rest, escalate_at=again, escalated=data["step"])
        case "grant.used":
            return replace(state, uses=data["use"], spent=Decimal(data.get("total_amount", 0)))
        case _:
            return state


def _requested(event: Event) -> Approval:
    data = event.data
    return Approval(
        event.workspace_id,
        data["action"],
        data["action_digest"],
        Actor(event.actor_type, event.actor_id, event.actor_principal_id),
        event.recorded_at,
        event.room_id,
        event.thread_id,
        event.run_id,
        event.step_id,
        event.mission_id,
        event.zone,
        event.correlation_id,
        scope=data["scope"],
        expires_at=_at(data["expires_at"]),
        decide_by=_at(data["decide_by"]),
        clock_from=event.recorded_at,
        editable=_is_of_request(event, data),
        escalation=tuple((step["after_s"], step["notify"]) for step in data["escalation"]),
        escalate_at=_at(data["escalate_at"]),
        votes=Votes(data.get("required_approvals", 1)),
    )


def due_after(event: Event) -> datetime | None:
    """When time will bring about the next thing by itself, as an event leaves it (those of ``TIMELESS`` do not say)."""
    data = event.data
    ends: tuple[str, ...] = ()
    if event.event_type in ("approval.requested", "approval.resumed", "approval.escalated"):
        ends = ("decide_by", "escalate_at")
    elif event.event_type == "approval.decided":
        ends = {"approve": ("expires_at",), "hold": ("decide_by", "wake_at")}.get(data["decision"], ())
    return first(*(_at(data[end]) for end in ends))


def _is_of_request(event: Event, data: Json) -> bool:
    actor = Actor(event.actor_type, event.actor_id, event.actor_principal_id)
    place = event.room_id, event.run_id
    own = action_digest(event.workspace_id, data["action"], actor, *place, data["request"])
    return bool(own == data["action_digest"])


def _at(text: str | None) -> datetime | None:
    return None if text is None else moment(text)
