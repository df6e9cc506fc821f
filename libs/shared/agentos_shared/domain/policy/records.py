"""Decisions on record: ``policy.decided``, and beside it what it means for whoever asked."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from agentos_shared.domain.actions import ActionName
from agentos_shared.domain.decider import Command, CommandBody, Meta, View
from agentos_shared.domain.egress_match import TUNNEL
from agentos_shared.domain.envelope import Event, NewEvent, Stream, Zone
from agentos_shared.domain.policy import learning
from agentos_shared.domain.policy.assessment import Grade, context_digest
from agentos_shared.domain.policy.decision import Decision
from agentos_shared.domain.policy.facts import Request
from agentos_shared.domain.policy.learning import NEVER, Counts
from agentos_shared.domain.policy.reasons import REASONS
from agentos_shared.domain.rooms import Room
from agentos_shared.domain.runs import Run

Mode = Literal["enforce", "shadow"]
Id = Annotated[str, Field(min_length=1, max_length=64)]

_REFUSALS: Final = {"deny": "policy.denied", "require_approval": "policy.requires_approval"}


class EvaluatePolicy(CommandBody):
    """Asks whether an action is allowed. ``action`` is required; ``context`` is what it is done with, ``resource`` what
    it is done to (a URL, a path, a table), for grants of patterns and labels of data; it counts as a member of
    ``context``.

    The answer allows, denies, or asks for an approval; it reserves nothing. ``zone`` may raise the zone of the room and
    the run, never lower it. An agent sends its ``principal_id``.
    """

    action: ActionName | None = None
    room_id: Id | None = None
    thread_id: Id | None = None
    run_id: Id | None = None
    step_id: Id | None = None
    context: dict[str, Any] = Field(default_factory=dict)
    resource: str | None = Field(None, min_length=1, max_length=4000)
    principal_id: Id | None = None
    capability_token_id: Id | None = None
    zone: Zone | None = None

    @property
    def done_with(self) -> dict[str, Any]:
        """What it is done with and to."""
        return self.context if self.resource is None else {**self.context, "resource": self.resource}


@dataclass(frozen=True, slots=True)
class Gated:
    """A wish that went through the gate.

    Args:
        mode: ``shadow`` marks refusals as not blocking; what is decided is the same.
        asked_before: whether an approval of exactly this is or was asked for. open_approval_id: one that is still to be
            decided.
        basis: what it was decided on besides policies (:meth:`Basis.told`); None: that is not known.
        elsewhere: how often the same was refused to the same in other streams (:func:`learning.chain`).
        rests_on: ids of entities that must still stand when it is done (:attr:`Facts.rests_on`).
        assessment: what is told besides (:func:`assessment`); None: that is not known.
        latency_us: from the wish to the answer, in microseconds.
    """

    request: Request
    decision: Decision
    mode: Mode = "enforce"
    rests_on: tuple[str, ...] = ()
    asked_before: bool = False
    open_approval_id: str | None = None
    basis: Mapping[str, Any] | None = None
    elsewhere: Counts = NEVER
    assessment: Mapping[str, Any] | None = None
    latency_us: int | None = None

    @property
    def learned_ids(self) -> tuple[str, ...]:
        """The constraint that a refusal counts for: its events are decided on that."""
        if not self.refused or self.decision.reason_code in learning.NO_MISTAKES:
            return ()
        return (learning.learned_id(self.request, self.decision, blocked=self.blocked),)

    @property
    def blocked(self) -> bool:
        """Whether the refusal is more than a mark."""
        return self.refused and self.mode == "enforce"

    @property
    def refused(self) -> bool:
        """Whether it may not be done now."""
        return not self.decision.allowed

    @property
    def passing(self) -> bool:
        """Whether the answer may be another one in a moment, without anybody doing anything."""
        return REASONS[self.decision.reason_code].retryable

    @property
    def grade(self) -> Grade:
        """Who sees to it that the decision holds."""
        if self.mode == "shadow":
            return "observe_only"
        if self.request.category != "egress":
            return "host_enforced"
        return "network" if self.request.egress_method == TUNNEL else "structural"

    def context(self) -> dict[str, Any]:
        """What an act says of the decision that allowed it."""
        decision = self.decision
        told = {
            "decision": decision.decision,
            "reason_code": decision.reason_code,
            "policy_bundle_hash": decision.policy_bundle_hash,
            "inputs": self.inputs(),
        }
        return told if decision.approval_id is None else {**told, "approval_id": decision.approval_id}

    def inputs(self) -> dict[str, Any] | None:
        """All that the decision was made on and that the event has no other place for; None: it was made on nothing."""
        if self.basis is None:
            return None
        request = self.request
        wish = {"wish": _wish(request)} if request.category == "egress" else {}
        return {
            "actor": list(request.actor),
            "principal_id": request.principal_id,
            "zone": request.zone,
            "egress_host": request.egress_host,
            "purpose_tags": list(request.purpose_tags),
            **wish,
            **self.basis,
        }

    def answer(self) -> dict[str, Any]:
        """What whoever asked is told."""
        decision = self.decision
        told: dict[str, Any] = {"decision": decision.decision, "reason_code": decision.reason_code}
        if self.refused:
            told["reason"] = decision.reason
        return told | {
            "reason_codes": list(decision.reason_codes),
            "next_steps": list(decision.next_steps),
            "determining_rules": [rule.told() for rule in decision.determining_rules],
            "obligations": [dict(obligation) for obligation in decision.obligations],
            "action_digest": decision.action_digest,
            "policy_bundle_hash": decision.policy_bundle_hash,
            "approval_id": decision.approval_id,
            "zone": decision.zone,
            **self._more(),
        }

    def _more(self) -> dict[str, Any]:
        told = self.assessment or _UNKNOWN
        return {
            "risk": told["risk"],
            "risk_factors": told["risk_factors"],
            "valid_until": told["valid_until"],
            "context_digest": context_digest(self.inputs()),
            "enforcement_grade": self.grade,
        }

    def on_record(self) -> dict[str, Any]:
        """What ``policy.decided`` tells besides the decision."""
        told = self.assessment or _UNKNOWN
        behalf = {"on_behalf_of": told["on_behalf_of"], "delegation": told["delegation"]}
        return {**self._more(), **behalf, "latency_us": self.latency_us}


_UNKNOWN: Final[Mapping[str, Any]] = {
    "risk": None,
    "risk_factors": {},
    "valid_until": None,
    "on_behalf_of": None,
    "delegation": [],
}


def _wish(request: Request) -> dict[str, Any]:
    """What a request that leaves the machine is, for those whose event tells it elsewhere."""
    told = {"method": request.egress_method, "port": request.egress_port, "path": request.egress_path}
    return {"action": request.action, "resource": request.resource, **told}


def evaluate(command: Command[EvaluatePolicy], view: View) -> list[NewEvent]:
    """``policy.decided``, and ``policy.denied`` or ``policy.requires_approval``. The decision is ``command.loaded``."""
    return recorded(command.entity_id, command.loaded, command.meta, view)


def recorded(decision_id: str, gated: Gated, meta: Meta, view: View) -> list[NewEvent]:
    """The events of a decision: one when it allows; when it does not, also the refusal and what is learned from it."""
    request, decision = gated.request, gated.decision
    about = {
        "category": request.category,
        "action": request.action,
        "reason_code": decision.reason_code,
        "reason": decision.reason,
        "enforcement_mode": gated.mode,
        "blocked": gated.blocked,
        "capability_token_id": request.capability_token_id,
    }
    decided = _event(
        decision_id,
        gated,
        meta,
        view,
        "policy.decided",
        {
            "decision_id": decision_id,
            "decision": decision.decision,
            **about,
            "reason_codes": list(decision.reason_codes),
            "next_steps": list(decision.next_steps),
            "determining_rules": [rule.told() for rule in decision.determining_rules],
            "obligations": [dict(obligation) for obligation in decision.obligations],
            "policy_bundle_hash": decision.policy_bundle_hash,
            "action_digest": decision.action_digest,
            "approval_id": decision.approval_id,
            "zone": decision.zone,
            "resource": request.resource,
            "tool_name": request.tool_name,
            "principal_id": request.principal_id,
            **gated.on_record(),
            "inputs": gated.inputs(),
        },
    )
    if not gated.refused:
        return [decided]
    refusal = {"decision_id": decision_id, **about, "action_digest": decision.action_digest}
    refused = _event(decision_id, gated, meta, view, _REFUSALS[decision.decision], refusal)
    learned = learning.chain(
        refused, request, decision, view, asked_before=gated.asked_before, elsewhere=gated.elsewhere
    )
    return [decided, refused, *learned]


def evolve(state: None, event: Event) -> None:
    """Nothing is decided on decisions."""
    return state


def _event(
    decision_id: str, gated: Gated, meta: Meta, view: View, event_type: str, data: Mapping[str, Any]
) -> NewEvent:
    request = gated.request
    run = view.get(Run, request.run_id) if request.run_id is not None else None
    room = view.get(Room, request.room_id) if request.room_id is not None else None
    return NewEvent(
        event_type=event_type,
        stream=Stream("room", request.room_id) if request.room_id else Stream("workspace", request.workspace_id),
        workspace_id=request.workspace_id,
        entity_type="decision",
        entity_id=decision_id,
        mission_id=run.mission_id if run is not None else room.mission_id if room is not None else None,
        room_id=request.room_id,
        thread_id=request.thread_id or (run.thread_id if run is not None else None),
        run_id=request.run_id,
        step_id=request.step_id,
        actor=meta.actor,
        zone=gated.decision.zone,
        correlation_id=meta.correlation_id,
        idempotency_key=meta.idempotency_key,
        data=data,
        policy_context=dict(request.context),
        model_context={},
        display={},
    )
