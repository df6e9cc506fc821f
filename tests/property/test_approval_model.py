"""Random commands on approvals: the writer's draft against a model that is nothing but tables.

The model knows of each command what is refused with which code and what an accepted one leaves. Time goes on by itself,
and timers come early, in time or late, so decisions at the very end are common.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agentos_api.append.draft import Draft
from agentos_api.append.stream_cache import StreamCache, fold
from agentos_api.append.submission import Answer, Outcome, Part, Submission
from agentos_shared.domain import approval_decisions as decisions
from agentos_shared.domain import approvals, grants, ids, principals, rooms
from agentos_shared.domain.approval_bodies import (
    CancelApproval,
    ConsumeApproval,
    CreateApproval,
    DecideApproval,
    ExpireApproval,
    RevokeGrant,
)
from agentos_shared.domain.approval_scopes import Wish
from agentos_shared.domain.approvals import Approval
from agentos_shared.domain.decider import Command, CommandBody, Decide, Meta
from agentos_shared.domain.envelope import Event, Stream
from agentos_shared.domain.errors import DomainError
from agentos_shared.domain.grants import Moment

START = datetime(2026, 11, 24, 5, 30, tzinfo=UTC)
ROOM = Stream("room", "room_1")
DIGEST = "sha256:" + "1" * 64
OTHER = "sha256:" + "2" * 64
HOUR = timedelta(hours=1)
ACTORS = {
    "user": principals.actor("ws_1", "user", "ada"),
    "other": principals.actor("ws_1", "user", "bo"),
    "agent": principals.actor("ws_1", "agent", "bot"),
    "service": principals.actor("ws_1", "service", "mailer"),
}
PEOPLE = frozenset({"user", "other"})
#: Refusal of a decision, by status.
NOT_OPEN = {
    "expired": "approval_expired",
    "cancelled": "approval_cancelled",
    "superseded": "approval_superseded",
}
#: Refusal of a use, by status.
NO_USE = {"consumed": "approval_already_consumed", "expired": "approval_expired", "lapsed": "approval_expired"}


@dataclass
class Model:
    """What the rules say of an approval. Times are hours since the start."""

    scope: str
    created: int
    status: str = "pending"
    decide_by: int | None = 24
    wake_at: int | None = None
    expires_at: int | None = None
    left: int = 0
    uses: int = 0
    most: int | None = None
    required: int = 1
    voters: set[str] = field(default_factory=set)
    #: What all of them said yes to: the end of what it allows, where one was given.
    terms: int | None = None


pick = st.integers(0, 30)
actors = st.sampled_from(["user", "user", "user", "other", "other", "agent", "service"])
scopes = st.sampled_from(["once", "once", "workspace", "room"])


class ApprovalMachine(RuleBasedStateMachine):
    """One room, many requests."""

    def __init__(self) -> None:
        super().__init__()
        self.cache = StreamCache()
        self.events: list[Event] = []
        self.models: dict[str, Model] = {}
        self.now = 0
        self.numbers = 0

    def time(self, hours: int) -> datetime:
        return START + hours * HOUR

    def send(
        self, decide: Decide, body: CommandBody, entity_id: str, reads: tuple[str, ...] = (), actor: str = "user"
    ) -> list[str] | str:
        """Types of the events, or the code of the refusal."""
        meta = Meta("ws_1", ACTORS[actor], "c-1")
        now = self.time(self.now)
        loaded: Any = Moment(now) if isinstance(body, ConsumeApproval) else now
        command = Command(body, meta, entity_id, None, ROOM.id, loaded)
        unknown = [read for read in reads if self.cache.entry(ROOM, read) is None]
        entries = {read: (ROOM, fold(self.life(read))) for read in unknown}
        draft = Draft(self.cache, {}, entries, self.time(self.now), ids.new_event_id)
        told: list[Outcome] = []

        def render(outcomes: Sequence[Outcome]) -> Answer:
            told.extend(outcomes)
            return Answer(200, b"")

        draft.add(Submission([Part(command, decide, ROOM, reads, not self.events)], render))
        draft.settle()
        (outcome,) = told
        if isinstance(outcome, DomainError):
            assert not draft.events, "a refusal appends nothing"
            return outcome.code
        self.events += draft.events
        return [event.event_type for event in draft.events]

    def life(self, entity_id: str) -> list[Event]:
        return [event for event in self.events if event.entity_id == entity_id]

    @initialize()
    def open_room(self) -> None:
        assert self.send(rooms.create, rooms.CreateRoom(title="Ops"), ROOM.id) == ["room.created"]

    @rule(forgotten=st.booleans())
    def forget(self, forgotten: bool) -> None:
        """Another process wrote: everything is read from the store again."""
        head = self.cache.head(ROOM)
        if forgotten and head is not None:
            self.cache.forget([ROOM])
            self.cache.remember(ROOM, head)

    @rule(hours=st.integers(1, 30))
    def time_passes(self, hours: int) -> None:
        self.now += hours

    def one(self, number: int) -> tuple[str, Model]:
        approval_id = list(self.models)[number % len(self.models)]
        return approval_id, self.models[approval_id]

    def overdue(self, model: Model) -> bool:
        return model.decide_by is not None and self.now >= model.decide_by

    def refusal(self, model: Model) -> str | None:
        """Why it cannot be decided any more."""
        if model.status in ("pending", "held"):
            return "approval_expired" if self.overdue(model) else None
        return NOT_OPEN.get(model.status, "approval_already_decided")

    # -- commands

    @rule(
        scope=scopes,
        most=st.sampled_from([None, 1, 3]),
        interactive=st.booleans(),
        number=pick,
        old=st.booleans(),
        required=st.sampled_from([1, 1, 2]),
    )
    def create(self, scope: str, most: int | None, interactive: bool, number: int, old: bool, required: int) -> None:
        self.numbers += 1
        approval_id = f"appr_{self.numbers}"
        most = None if scope == "once" else most
        body: dict[str, Any] = {"action": "x", "action_digest": DIGEST, "interactive": interactive}
        body["required_approvals"] = required
        body["scope"] = {"type": scope, **({"max_uses": most} if most else {})}
        reads: tuple[str, ...] = (ROOM.id,)
        refusal, replaced = None, None
        if old and self.models:
            replaced_id, replaced = self.one(number)
            body["supersedes"], reads = replaced_id, (ROOM.id, replaced_id)
            refusal = self.refusal(replaced)
        got = self.send(approvals.create, CreateApproval.model_validate(body), approval_id, reads, "agent")
        wanted = ["approval.superseded", "approval.requested"] if replaced else ["approval.requested"]
        assert got == (refusal or wanted)
        if refusal is None:
            end = self.now + (1 if interactive else 24)
            self.models[approval_id] = Model(scope, self.now, decide_by=end, most=most, required=required)
            if replaced is not None:
                replaced.status = "superseded"

    @precondition(lambda self: self.models)
    @rule(
        number=pick, word=st.sampled_from(["approve", "approve", "deny", "hold"]), actor=actors, hours=st.integers(0, 9)
    )
    def decide(self, number: int, word: str, actor: str, hours: int) -> None:
        approval_id, model = self.one(number)
        body: dict[str, Any] = {"decision": word}
        if hours and word != "deny":
            body["wake_at" if word == "hold" else "expires_at"] = self.time(self.now + hours).isoformat()
        got = self.send(decisions.decide, DecideApproval.model_validate(body), approval_id, (approval_id,), actor)
        refusal = "approver_must_be_user" if actor not in PEOPLE else self.refusal(model)
        wanted, terms = ["approval.decided"], self.now + hours if hours else None
        if refusal is None and word == "approve" and model.required > 1:
            refusal = self.no_vote(model, actor, terms)
            wanted = ["approval.vote_recorded", "approval.decided"][: 1 + len(model.voters)]
        if refusal is None and word == "hold" and hours and self.now + hours > model.created + 720:
            refusal = "invalid_wake_at"
        assert got == (refusal or wanted)
        if refusal is not None:
            return
        if word == "approve" and model.required > 1:
            model.terms = terms
            model.voters.add(actor)
            if len(model.voters) < model.required:
                return
        if word == "hold":
            if model.status == "pending" and model.decide_by is not None:
                model.left = model.decide_by - self.now
            model.status, model.wake_at = "held", self.now + hours if hours else None
            model.decide_by = model.created + 720
            return
        model.decide_by = model.wake_at = None
        model.status = "approved" if word == "approve" else "denied"
        if word == "approve":
            model.expires_at = self.now + (hours or (24 if model.scope == "once" else 720))

    def no_vote(self, model: Model, actor: str, terms: int | None) -> str | None:
        if actor in model.voters:
            return "approval_already_voted"
        return "approval_terms_differ" if model.voters and terms != model.terms else None

    @precondition(lambda self: self.models)
    @rule(number=pick, actor=actors)
    def cancel(self, number: int, actor: str) -> None:
        approval_id, model = self.one(number)
        got = self.send(approvals.cancel, CancelApproval(), approval_id, (approval_id,), actor)
        refusal = "approval_of_another" if actor == "service" else self.refusal(model)
        assert got == (refusal or ["approval.cancelled"])
        if refusal is None:
            model.status = "cancelled"

    def no_use(self, model: Model, digest: str, here: bool) -> str | None:
        if model.status != "approved":
            return NO_USE.get(model.status, "approval_not_approved")
        if model.expires_at is not None and self.now >= model.expires_at:
            return "approval_expired"
        if model.most is not None and model.uses >= model.most:
            return "grant_used_up"
        fits = {"once": digest == DIGEST, "workspace": True, "room": here}[model.scope]
        return None if fits else "approval_action_mismatch"

    @precondition(lambda self: self.models)
    @rule(number=pick, digest=st.sampled_from([DIGEST, DIGEST, OTHER]), here=st.booleans(), actor=actors)
    def use(self, number: int, digest: str, here: bool, actor: str) -> None:
        approval_id, model = self.one(number)
        body = ConsumeApproval(action_digest=digest, room_id=ROOM.id if here else None)
        got = self.send(grants.consume, body, approval_id, (approval_id,), actor)
        refusal = self.no_use(model, digest, here)
        if model.scope == "once" and actor == "service":
            refusal = "approval_of_another"
        assert got == (refusal or ["approval.consumed" if model.scope == "once" else "grant.used"])
        if refusal is None:
            model.uses += 1
            model.status = "consumed" if model.scope == "once" else model.status

    @precondition(lambda self: self.models)
    @rule(number=pick, actor=actors)
    def revoke(self, number: int, actor: str) -> None:
        approval_id, model = self.one(number)
        got = self.send(grants.revoke, RevokeGrant(), approval_id, (approval_id,), actor)
        if model.status in ("pending", "held"):
            assert got == "grant_not_found"
        elif actor not in PEOPLE:
            assert got == "approver_must_be_user"
        elif model.status == "revoked":
            assert got == []
        elif model.status != "approved":
            assert got == "grant_not_active"
        else:
            assert got == ["grant.revoked"]
            model.status = "revoked"

    @precondition(lambda self: self.models)
    @rule(number=pick)
    def timer(self, number: int) -> None:
        approval_id, model = self.one(number)
        got = self.send(decisions.expire, ExpireApproval(), approval_id, (approval_id,), "service")
        if model.status in ("pending", "held") and self.overdue(model):
            assert got == ["approval.expired"]
            model.status = "expired"
        elif model.status == "held" and model.wake_at is not None and self.now >= model.wake_at:
            assert got == ["approval.resumed"]
            model.status, model.wake_at = "pending", None
            model.decide_by = min(self.now + model.left, model.created + 720)
        elif model.status == "approved" and model.expires_at is not None and self.now >= model.expires_at:
            assert got == ["approval.lapsed"]
            model.status = "lapsed"
        else:
            assert got == []

    # -- what always holds

    @invariant()
    def states_are_the_models(self) -> None:
        for approval_id, model in self.models.items():
            state = fold(self.life(approval_id)).state
            assert isinstance(state, Approval)
            assert (state.status, state.uses) == (model.status, model.uses)
            wish = Wish("x", DIGEST, ROOM.id)
            assert state.allows(wish, self.time(self.now)) == (self.no_use(model, DIGEST, True) is None)

    @invariant()
    def nothing_is_allowed_but_by_a_person_and_once_is_once(self) -> None:
        for approval_id in self.models:
            types = [event.event_type for event in self.life(approval_id)]
            assert types.count("approval.consumed") <= 1
            deciders = {event.actor_type for event in self.life(approval_id) if event.event_type == "approval.decided"}
            assert deciders <= {"user"}

    @invariant()
    def nothing_is_allowed_before_enough_people_said_yes(self) -> None:
        for approval_id, model in self.models.items():
            life = self.life(approval_id)
            voters = {event.actor_principal_id for event in life if event.event_type == "approval.vote_recorded"}
            if model.required > 1 and model.status in ("approved", "consumed", "lapsed", "revoked"):
                assert len(voters) == model.required


TestApprovals = ApprovalMachine.TestCase
TestApprovals.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
