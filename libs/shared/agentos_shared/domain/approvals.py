"""Approvals: somebody asks a person before acting, and the answer allows exactly so much.

::

    pending <-- resumed -- held          approved -- consumed --> consumed   (once)
       |  ------- held ----->|              |    -- lapsed ----> lapsed     (its time is over)
       +-- decided --> approved, denied     |    -- revoked ---> revoked
       +-- expired, cancelled, superseded

A decision is final: what was allowed is revoked, never decided again. Where several people must approve, it is pending
until the last of them does. What is pending ends at ``decide_by``, and then
nothing is allowed. ``expires_at`` is the end of what an approval allows. What is held waits without its time running,
until it wakes. Only people decide. Time comes with each command as ``loaded``.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final, Literal, NamedTuple

from agentos_shared.domain import approval_amounts
from agentos_shared.domain.actions import action_digest, normalised
from agentos_shared.domain.approval_amounts import ZERO
from agentos_shared.domain.approval_answers import Answered
from agentos_shared.domain.approval_bodies import (
    CancelApproval,
    CreateApproval,
    Json,
)
from agentos_shared.domain.approval_scopes import ONCE, Scope, Wish, covers, effective
from agentos_shared.domain.approval_votes import Votes
from agentos_shared.domain.capabilities import moment
from agentos_shared.domain.decider import Command, Meta, View, expect_version
from agentos_shared.domain.envelope import Actor, NewEvent, Stream, Zone, timestamp
from agentos_shared.domain.errors import Conflict, DomainError, Forbidden, Invalid, NotFound
from agentos_shared.domain.rooms import Room
from agentos_shared.domain.runs import Run

#: How long an approval may be pending: by default, while somebody watches, and at most. The last bounds a hold as well.
PENDING: Final = timedelta(hours=24)
PENDING_INTERACTIVE: Final = timedelta(hours=1)
PENDING_MOST: Final = timedelta(days=30)
#: How long a grant lasts when nobody says, and one that reaches over many acts at most.
GRANT_LASTS: Final = timedelta(days=30)
LONG_REACHING: Final = frozenset({"room", "workspace", "pattern"})
NEVER: Final = datetime(1, 1, 1, tzinfo=UTC)

Status = Literal[
    "pending",
    "held",
    "approved",
    "denied",
    "expired",
    "cancelled",
    "superseded",
    "consumed",
    "lapsed",
    "revoked",
]
#: Still to be decided.
OPEN: Final[frozenset[Status]] = frozenset({"pending", "held"})


@dataclass(frozen=True, slots=True)
class Approval:
    """What decisions read of an approval.

    Args:
        scope: effective: with its target.
        clock_from: when ``decide_by`` was set. remaining: what was left to decide when it was put on hold.
        spent: the sum of what its uses came to, where its scope bounds that.
        editable: whether the digest is that of the request, so that it follows when the request is edited.
        seen: by a person, before it was decided. delivered: its answer has reached somebody who waited.
        answers: decisions that came with a token, the last of them.
        votes: who has approved so far, where several people must.
        escalation: (seconds, whom to tell) of each step that is left. escalate_at: when the next one is due.
    """

    workspace_id: str
    action: str
    digest: str | None
    requester: Actor
    requested_at: datetime
    room_id: str | None
    thread_id: str | None
    run_id: str | None
    step_id: str | None
    mission_id: str | None
    zone: Zone
    correlation_id: str
    status: Status = "pending"
    scope: Json = field(default_factory=lambda: dict(ONCE))
    expires_at: datetime | None = None
    decide_by: datetime | None = None
    wake_at: datetime | None = None
    clock_from: datetime = NEVER
    remaining: timedelta = timedelta(0)
    uses: int = 0
    spent: Decimal = ZERO
    editable: bool = False
    seen: bool = False
    delivered: bool = False
    answers: tuple[Answered, ...] = ()
    votes: Votes = field(default_factory=Votes)
    escalation: tuple[tuple[int, str], ...] = ()
    escalate_at: datetime | None = None
    escalated: int = 0

    @property
    def due_at(self) -> datetime | None:
        """When its time brings something about, by itself."""
        match self.status:
            case "pending":
                return first(self.decide_by, self.escalate_at)
            case "held":
                return first(self.decide_by, self.wake_at)
            case "approved":
                return self.expires_at
            case _:
                return None

    def live(self, now: datetime) -> bool:
        """Whether it allows anything at all, uses aside."""
        return self.status == "approved" and (self.expires_at is None or now < self.expires_at)

    def allows(self, wish: Wish, now: datetime) -> bool:
        """Whether this wish may be done now."""
        most = self.scope.get("max_uses")
        return (
            self.live(now)
            and (most is None or self.uses < most)
            and covers(self.scope, self.action, self.digest, wish)
            and approval_amounts.fits(self.scope, self.spent, wish.parameters)
        )


class Act(NamedTuple):
    """What the gate was asked about, as its decision is on record.

    Args:
        parameters: what the digest is made of.
    """

    action: str
    actor: Actor
    room_id: str | None
    run_id: str | None
    parameters: Json

    def digest(self, workspace_id: str) -> str:
        """Of exactly this."""
        return action_digest(workspace_id, self.action, self.actor, self.room_id, self.run_id, self.parameters)


class Asking(NamedTuple):
    """What asking needs to know besides states.

    Args:
        act: the one of the ``action_digest`` that came without its request; None: nobody knows of such a one.
    """

    now: datetime
    act: Act | None = None


def create(command: Command[CreateApproval], view: View) -> list[NewEvent]:
    """``approval.requested``, after ``approval.superseded`` of the one that it replaces. ``command.loaded`` is
    :class:`Asking`, or the time alone.

    Raises:
        Invalid: ``approval_action_mismatch``, ``invalid_scope``, ``invalid_expires_at``, ``invalid_decide_by``,
            ``invalid_escalation``, ``run_room_mismatch``, ``run_thread_mismatch``.
        NotFound: ``approval_not_found`` of ``supersedes``. Conflict: as :func:`decide`, of that one.
    """
    body, meta = command.body, command.meta
    now = command.loaded.now if isinstance(command.loaded, Asking) else command.loaded
    run = view.get(Run, body.run_id) if body.run_id else None
    room = view.get(Room, command.room_id) if command.room_id else None
    if run is not None and body.room_id is not None and body.room_id != run.room_id:
        raise Invalid("run_room_mismatch", "The run is of another room than room_id.")
    if run is not None and None not in (body.thread_id, run.thread_id) and body.thread_id != run.thread_id:
        raise Invalid("run_thread_mismatch", "The run is of another thread than thread_id.")
    expect_version(command, view)
    action = normalised(body.action)
    inherits = run is not None and body.correlation_id is None
    digest, request = _asked_for(command)
    approval = Approval(
        meta.workspace_id,
        action,
        digest,
        meta.actor,
        now,
        command.room_id,
        body.thread_id or (run.thread_id if run else None),
        body.run_id,
        body.step_id,
        run.mission_id if run else room.mission_id if room else None,
        run.zone if run else room.zone if room else "supervised",
        run.correlation_id if run and inherits else meta.correlation_id,
    )
    scope = dict(ONCE) if body.scope is None else effective_of(approval, body.scope)
    expires_at = future("expires_at", body.expires_at, now)
    if scope["type"] in LONG_REACHING and expires_at is not None and expires_at > now + GRANT_LASTS:
        raise too_late("expires_at")
    decide_by = future("decide_by", body.decide_by, now)
    if decide_by is not None and decide_by > now + PENDING_MOST:
        raise too_late("decide_by")
    steps = [step.after_s for step in body.escalation]
    if any(later <= earlier for earlier, later in pairwise(steps)):
        raise Invalid("invalid_escalation", "Each step must come after the one before it.")
    requested = event_of(
        command.entity_id,
        approval,
        meta,
        "approval.requested",
        {
            "action": action,
            "title": body.title,
            "request": request,
            "context": body.context,
            "scope": scope,
            "expires_at": told(expires_at),
            "decide_by": timestamp(decide_by or now + (PENDING_INTERACTIVE if body.interactive else PENDING)),
            "action_digest": approval.digest,
            "supersedes": body.supersedes,
            "escalation": [step.model_dump() for step in body.escalation],
            "escalate_at": timestamp(now + timedelta(seconds=steps[0])) if steps else None,
            "required_approvals": body.required_approvals,
        },
    )
    return [*_superseded(command, view, now), requested]


def _asked_for(command: Command[CreateApproval]) -> tuple[str, Json]:
    """The digest of what is asked for, and the request that it is made of: what people see is what is allowed.

    Raises:
        Invalid: ``approval_action_mismatch``.
    """
    body, meta = command.body, command.meta
    if body.action_digest is not None and not body.request and not isinstance(command.loaded, Asking):
        return body.action_digest, body.request  # the caller of this function knows what it is of
    act = command.loaded.act if isinstance(command.loaded, Asking) else None
    own = action_digest(meta.workspace_id, body.action, meta.actor, command.room_id, body.run_id, body.request)
    if body.action_digest in (None, own):
        return own, body.request
    if body.request or act is None or act.digest(meta.workspace_id) != body.action_digest:
        raise Invalid(
            "approval_action_mismatch",
            "action_digest is of something else than what this asks for. Send the request that it is made of (the "
            "context of an evaluation, {tool_name, input} of a tool call, {method, url, body_sha256} of an egress "
            "request) with the same action, room_id, run_id and actor; or leave action_digest out.",
            action_digest=own,
        )
    same_place = command.room_id in (None, act.room_id) and body.run_id in (None, act.run_id)
    # A person may ask on behalf of whoever was refused; nobody else asks for what another does.
    same_actor = meta.actor.type == "user" or (meta.actor.type, meta.actor.id) == (act.actor.type, act.actor.id)
    if normalised(body.action) != normalised(act.action) or not same_place or not same_actor:
        raise Invalid(
            "approval_action_mismatch",
            "action_digest is of another action, place or actor than this asks for. Ask with those of the decision.",
            action=act.action,
            room_id=act.room_id,
            run_id=act.run_id,
        )
    return body.action_digest, act.parameters


def _superseded(command: Command[CreateApproval], view: View, now: datetime) -> list[NewEvent]:
    old_id = command.body.supersedes
    if old_id is None:
        return []
    old = view.get(Approval, old_id)
    if old is None or (old.workspace_id, old.room_id) != (command.meta.workspace_id, command.room_id):
        raise NotFound("approval_not_found", "There is no such approval in this room: supersedes names none.")
    require_open(old, now)
    return [event_of(old_id, old, command.meta, "approval.superseded", {"superseded_by": command.entity_id})]


def cancel(command: Command[CancelApproval], view: View) -> list[NewEvent]:
    """``approval.cancelled``.

    Raises:
        NotFound: ``approval_not_found``. Forbidden: ``approval_of_another``. Conflict: as :func:`decide`.
    """
    approval, meta = known(command, view), command.meta
    if meta.actor.type != "user" and meta.actor.principal_id != approval.requester.principal_id:
        raise Forbidden("approval_of_another", "A request is taken back by whoever made it, or by a person.")
    require_open(approval, command.loaded)
    expect_version(command, view)
    return [event_of(command.entity_id, approval, meta, "approval.cancelled", {"reason": command.body.reason})]


def require_person(meta: Meta) -> None:
    """Raises Forbidden ``approver_must_be_user``: what agents want is never allowed by agents."""
    if meta.actor.type != "user" or meta.engine is not None:
        raise Forbidden("approver_must_be_user", "Only people decide on approvals, never agents or services.")


def known(command: Command[Any], view: View) -> Approval:
    """The approval of a command. Raises NotFound: ``approval_not_found``."""
    approval = view.get(Approval, command.entity_id)
    if approval is None:
        raise NotFound("approval_not_found", "There is no such approval in this workspace.")
    return approval


def require_open(approval: Approval, now: datetime, held_up: timedelta = timedelta(0)) -> None:
    """Raise Conflict unless an approval can still be decided; ``held_up`` is for how long its time has stood still."""
    if approval.status in OPEN:
        if approval.decide_by is None or now < approval.decide_by + held_up:
            return
        raise Conflict("approval_expired", "Nobody decided in time; ask again.", approval_status="expired")
    own: dict[str, DomainError] = {
        "expired": Conflict("approval_expired", "Nobody decided in time; ask again.", approval_status="expired"),
        "cancelled": Conflict("approval_cancelled", "The request was taken back.", approval_status="cancelled"),
        "superseded": Conflict("approval_superseded", "Another request has replaced it.", approval_status="superseded"),
    }
    raise own.get(
        approval.status,
        Conflict(
            "approval_already_decided",
            f"A decision is final, and this approval is {approval.status}. What was allowed can be revoked.",
            approval_status=approval.status,
        ),
    )


def effective_of(approval: Approval, scope: Scope) -> Json:
    """A scope with its target. Raises Invalid: ``invalid_scope``."""
    own = {"room_id": approval.room_id, "thread_id": approval.thread_id, "run_id": approval.run_id}
    return effective(scope, own, approval.workspace_id)


def future(member: str, given: str | None, now: datetime) -> datetime | None:
    """A time that was given, if any. Raises Invalid: ``invalid_<member>`` when it is not to come."""
    if given is None:
        return None
    at = moment(given)
    if at <= now:
        raise Invalid(f"invalid_{member}", f"{member} must be in the future.")
    return at


def too_late(member: str) -> Invalid:
    """The refusal of a time that is too far away."""
    return Invalid(f"invalid_{member}", f"{member} must be within {PENDING_MOST.days} days.")


def told(at: datetime | None) -> str | None:
    """A time as events tell it."""
    return None if at is None else timestamp(at)


def event_of(approval_id: str, approval: Approval, meta: Meta, event_type: str, data: Json) -> NewEvent:
    """An event of an approval, where the approval is."""
    room_id = approval.room_id
    return NewEvent(
        event_type=event_type,
        stream=Stream("room", room_id) if room_id else Stream("workspace", approval.workspace_id),
        workspace_id=approval.workspace_id,
        entity_type="approval",
        entity_id=approval_id,
        mission_id=approval.mission_id,
        room_id=room_id,
        thread_id=approval.thread_id,
        run_id=approval.run_id,
        step_id=approval.step_id,
        actor=meta.actor,
        zone=approval.zone,
        correlation_id=approval.correlation_id,
        idempotency_key=meta.idempotency_key,
        data={"approval_id": approval_id, **data},
    )


def first(*times: datetime | None) -> datetime | None:
    """The earliest of some times, if there is any."""
    return min((at for at in times if at is not None), default=None)
