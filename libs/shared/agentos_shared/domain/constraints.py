"""Constraints: what was refused again and again, and what a person made of it.

Each refusal of the same kind to the same subject is counted, in the stream where it happened, on from the most that any
stream of the workspace has come to. What is counted is a
candidate and does nothing. A person activates it, with an end if need be, and retires it; active ones narrow what the
gate allows, and never widen it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Literal

from pydantic import Field

from agentos_shared.domain import ids
from agentos_shared.domain.capabilities import Instant, moment
from agentos_shared.domain.decider import Command, CommandBody, View, expect_version
from agentos_shared.domain.envelope import Event, NewEvent, Stream, Zone
from agentos_shared.domain.errors import Conflict, Forbidden, Invalid, NotFound
from agentos_shared.domain.policy import facts
from agentos_shared.domain.policy.facts import Category, Effect

Status = Literal["candidate", "active", "retired"]
#: Refusals of an agent after which it goes into quarantine by itself.
QUARANTINE_AFTER: Final = 3


class ActivateConstraint(CommandBody):
    """Has the gate apply a constraint to its subject's actions of this kind: ``effect`` is required."""

    effect: Effect | None = None
    expires_at: Instant | None = None
    reason: str | None = Field(None, max_length=4000)


class RetireConstraint(CommandBody):
    """Ends a constraint; the refusals that led to it go on being counted."""

    reason: str | None = Field(None, max_length=4000)


@dataclass(frozen=True, slots=True)
class Constraint:
    """What decisions read of a constraint.

    Args:
        seen: refusals of this kind; repeats: those of them that no approval was asked for before.
        category: as the gate has it.
    """

    workspace_id: str
    stream: Stream
    room_id: str | None
    zone: Zone
    correlation_id: str
    category: Category
    action: str
    subject_key: str
    seen: int = 0
    repeats: int = 0
    status: Status = "candidate"
    effect: Effect | None = None
    expires_at: datetime | None = None

    def fact(self, constraint_id: str, now: datetime) -> facts.Constraint | None:
        """The constraint as the gate sees it; None while it is not in force."""
        if self.status != "active" or self.effect is None or (self.expires_at is not None and self.expires_at <= now):
            return None
        return facts.Constraint(constraint_id, self.effect, self.category, self.action, self.subject_key)


def constraint_id(workspace_id: str, stream_id: str, subject_key: str, pattern_hash: str) -> str:
    """The id of what a subject is refused: the same for the same, always."""
    return ids.derived_hex(ids.CONSTRAINT, workspace_id, stream_id, subject_key, pattern_hash)


def activate(command: Command[ActivateConstraint], view: View) -> list[NewEvent]:
    """``constraint.activated``, or nothing when it is active just so.

    Raises:
        NotFound: ``constraint_not_found``. Invalid: ``missing_effect``. Forbidden: ``activator_must_be_user``.
    """
    body = command.body
    constraint = _known(command, view)
    if body.effect is None:
        raise Invalid("missing_effect", "effect is required: deny, require_approval or warn.")
    expect_version(command, view)
    until = None if body.expires_at is None else moment(body.expires_at)
    if constraint.status == "active" and (constraint.effect, constraint.expires_at) == (body.effect, until):
        return []
    data = {"effect": body.effect, "expires_at": body.expires_at, "reason": body.reason}
    return [_event(command, constraint, "constraint.activated", data)]


def retire(command: Command[RetireConstraint], view: View) -> list[NewEvent]:
    """``constraint.retired``, or nothing when it is retired already.

    Raises:
        NotFound: ``constraint_not_found``. Forbidden: ``activator_must_be_user``. Conflict: ``constraint_not_active``.
    """
    constraint = _known(command, view)
    expect_version(command, view)
    if constraint.status == "retired":
        return []
    if constraint.status != "active":
        raise Conflict("constraint_not_active", "Nobody activated this constraint: it does nothing.")
    return [_event(command, constraint, "constraint.retired", {"reason": command.body.reason})]


def evolve(state: Constraint | None, event: Event) -> Constraint | None:
    """Fold one event of a constraint."""
    data = event.data
    match event.event_type:
        case "constraint.learned":
            known = state or Constraint(
                event.workspace_id,
                event.stream,
                event.room_id,
                event.zone,
                event.correlation_id,
                data["gate_category"],
                data["action"],
                data["subject_key"],
            )
            return replace(known, seen=data["seen_count"], repeats=data["repeat_count"])
        case "constraint.activated" if state is not None:
            until = data["expires_at"]
            expires_at = None if until is None else moment(until)
            return replace(state, status="active", effect=data["effect"], expires_at=expires_at)
        case "constraint.retired" if state is not None:
            return replace(state, status="retired")
    return state


def _known(command: Command[Any], view: View) -> Constraint:
    constraint = view.get(Constraint, command.entity_id)
    if constraint is None:
        raise NotFound("constraint_not_found", "There is no such constraint in this workspace.")
    if command.meta.engine is not None or command.meta.actor.type != "user":
        raise Forbidden("activator_must_be_user", "Only a person activates and retires constraints.")
    return constraint


def _event(command: Command[Any], constraint: Constraint, event_type: str, data: Mapping[str, Any]) -> NewEvent:
    meta = command.meta
    return NewEvent(
        event_type=event_type,
        stream=constraint.stream,
        workspace_id=constraint.workspace_id,
        entity_type="constraint",
        entity_id=command.entity_id,
        room_id=constraint.room_id,
        zone=constraint.zone,
        actor=meta.actor,
        correlation_id=constraint.correlation_id,
        idempotency_key=meta.idempotency_key,
        data={"constraint_id": command.entity_id, **data},
    )
