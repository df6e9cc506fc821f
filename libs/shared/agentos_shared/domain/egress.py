"""Requests that leave the machine: decided, sent at most once for each attempt, and accounted for.

::

    requested -> allowed ----------> sent --> succeeded, failed
              -> blocked -> allowed -->|  --> outcome_unknown --> reconciled (a person, or the answer that came late)
                                       |                     --> sent (again, where that does no harm)
                                       +-- failed: before a byte was out

``sent`` is on record before the first byte leaves, in one append with the use of the approval that allows it, and
names the attempt's sender: of two processes that would send, one finds the other's name. What follows is only taken
from that sender. A process that dies in between leaves ``sent``, of which nobody knows the outcome.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from agentos_shared.domain import approvals, grants, ids
from agentos_shared.domain.approval_bodies import CreateApproval
from agentos_shared.domain.decider import Command, Meta, View, expect_version
from agentos_shared.domain.egress_bodies import FinishEgress, ReconcileEgress, RefuseEgress, RequestEgress, SendEgress
from agentos_shared.domain.envelope import Actor, Event, NewEvent, Stream, Zone
from agentos_shared.domain.errors import Conflict, Forbidden, NotFound
from agentos_shared.domain.policy.facts import Request
from agentos_shared.domain.policy.records import Gated, recorded
from agentos_shared.domain.policy.standing import require_standing
from agentos_shared.domain.rooms import Room
from agentos_shared.domain.runs import Run

Status = Literal["requested", "blocked", "allowed", "sent", "succeeded", "failed", "outcome_unknown"]
#: Nothing more comes of it.
FINAL = frozenset({"succeeded", "failed"})


@dataclass(frozen=True, slots=True)
class EgressRequest:
    """What decisions read of a request.

    Args:
        wish: as the gate looked at it; its zone is the one that was asked for, if any.
        idempotent: whether sending it twice does no more than sending it once.
        sender: who sends it, or has.
    """

    wish: Request
    asked_zone: Zone | None
    zone: Zone
    requester: Actor
    correlation_id: str
    mission_id: str | None
    thread_id: str | None
    idempotent: bool
    status: Status = "requested"
    attempt: int = 0
    sender: str | None = None
    reconciled: bool = False


def request(command: Command[RequestEgress], view: View) -> list[NewEvent]:
    """``egress.requested`` and what was decided (``command.loaded``): ``egress.allowed``; or the decision, the approval
    that it asks for unless that is asked for already, and ``egress.blocked``.

    Raises:
        Invalid, NotFound: as :func:`approvals.create`.
    """
    gated: Gated = command.loaded
    body, wish, meta = command.body, gated.request, command.meta
    run = view.get(Run, wish.run_id) if wish.run_id is not None else None
    room = view.get(Room, wish.room_id) if wish.room_id is not None else None
    expect_version(command, view)
    state = EgressRequest(
        wish,
        body.zone,
        gated.decision.zone,
        meta.actor,
        run.correlation_id if run is not None and body.correlation_id is None else meta.correlation_id,
        run.mission_id if run is not None else room.mission_id if room is not None else None,
        run.thread_id if run is not None else None,
        body.idempotent,
    )
    told = {
        "action": wish.action,
        "method": wish.egress_method,
        "target_url": wish.resource,
        "target_domain": wish.egress_host,
        "target_port": wish.egress_port,
        "target_path": wish.egress_path,
        "body_sha256": wish.context["body_sha256"],
        "body_bytes": body.size,
        "header_names": sorted(name.lower() for name in body.headers),
        "idempotent": body.idempotent,
        "principal_id": wish.principal_id,
        "capability_token_id": wish.capability_token_id,
        "capability_scopes": None if wish.capability_scopes is None else dict(wish.capability_scopes),
        "zone": body.zone,
        "action_digest": wish.digest,
        "context": body.context,
    }
    events = [_event(command.entity_id, state, meta, "egress.requested", told)]
    if not gated.refused:
        return [*events, _allowed(command.entity_id, state, gated, meta)]
    events += recorded(ids.derived_id(ids.DECISION, command.entity_id), gated, meta, view)
    approval_id = gated.open_approval_id
    if gated.decision.decision == "require_approval" and approval_id is None:
        approval_id = ids.derived_id(ids.APPROVAL, command.entity_id)
        events += approvals.create(_asking(command, approval_id, gated, view), view)
    return [*events, _blocked(command.entity_id, state, gated, meta, approval_id)]


def send(command: Command[SendEgress], view: View) -> list[NewEvent]:
    """``egress.sent``, with the use of the approval that allows it; or, where the gate (``command.loaded``) does not
    allow it any more, the decision and ``egress.blocked``. Nothing where this sender said so before.

    Raises:
        NotFound: ``egress_request_not_found``.
        Conflict: ``egress_in_flight``, ``egress_already_finished``, ``egress_outcome_unknown``; as
            :func:`grants.used`. Outdated: something stops it since the gate looked at it.
    """
    state, body, meta = _known(command, view), command.body, command.meta
    gated: Gated = command.loaded
    if state.status == "sent":
        if state.sender == body.sender:
            return []
        raise Conflict("egress_in_flight", "This request is on its way.")
    if state.status in FINAL:
        raise Conflict("egress_already_finished", f"This request has {state.status}; it is not sent again.")
    if state.status == "outcome_unknown" and not (body.again and state.idempotent and not state.reconciled):
        raise outcome_unknown()
    if gated.refused:
        decision_id = ids.derived_id(ids.DECISION, command.entity_id, body.sender)
        return [
            *recorded(decision_id, gated, meta, view),
            _blocked(command.entity_id, state, gated, meta, gated.open_approval_id),
        ]
    require_standing(gated, view)
    uses = grants.used_by_act(gated, meta, view)
    allowed = [_allowed(command.entity_id, state, gated, meta)] if state.status == "blocked" else []
    told = {"attempt": state.attempt + 1, "sender": body.sender, "addresses": body.addresses}
    sent = _event(command.entity_id, state, meta, "egress.sent", told)
    return [*allowed, *uses, sent._replace(policy_context=gated.context())]


def refuse(command: Command[RefuseEgress], view: View) -> list[NewEvent]:
    """``egress.blocked``: the gateway does not send it; after ``quota.exceeded`` where a limit is used up. Nothing
    where it was sent or has ended.

    Raises:
        NotFound: ``egress_request_not_found``.
    """
    state, body = _known(command, view), command.body
    if state.status not in ("requested", "allowed", "blocked"):
        return []
    told = {
        "decision": "deny",
        "reason_code": body.reason_code,
        "reason": body.reason,
        "blocked": True,
        "enforcement_mode": "enforce",
        "approval_id": None,
        "action_digest": state.wish.digest,
        "target_domain": state.wish.egress_host,
    }
    blocked = _event(command.entity_id, state, command.meta, "egress.blocked", told)
    if body.limit is None:
        return [blocked]
    about = {"target_domain": state.wish.egress_host, "principal_id": state.requester.principal_id}
    return [_event(command.entity_id, state, command.meta, "quota.exceeded", {**body.limit, **about}), blocked]


def finish(command: Command[FinishEgress], view: View) -> list[NewEvent]:
    """``egress.succeeded``, ``egress.failed`` or ``egress.outcome_unknown``; ``egress.reconciled`` where the answer of
    a request comes that had been given up. Nothing where it is on record.

    Raises:
        NotFound: ``egress_request_not_found``. Conflict: ``egress_not_sent``, ``egress_of_another_sender``.
    """
    state, body, meta = _known(command, view), command.body, command.meta
    if state.status in FINAL or state.reconciled:
        return []
    told = {"attempt": state.attempt, **body.outcome}
    if body.sender is None:
        return _given_up(command, state, told)
    if state.sender != body.sender:
        if body.result == "failed" and body.unsent and state.status in ("allowed", "blocked"):
            return [_event(command.entity_id, state, meta, "egress.failed", told)]
        raise Conflict("egress_of_another_sender", "Another attempt has this request now.")
    if state.status == "outcome_unknown":
        if body.result == "outcome_unknown":
            return []
        late = {**told, "outcome": body.result, "note": "The answer came after it had been given up.", "by": "gateway"}
        return [_event(command.entity_id, state, meta, "egress.reconciled", late)]
    if state.status != "sent":
        raise Conflict("egress_not_sent", "This request has not been sent.")
    return [_event(command.entity_id, state, meta, f"egress.{body.result}", told)]


def _given_up(command: Command[FinishEgress], state: EgressRequest, told: Mapping[str, Any]) -> list[NewEvent]:
    """What is known of a request whose process is gone."""
    if state.status == "sent" and not command.body.unsent:
        return [_event(command.entity_id, state, command.meta, "egress.outcome_unknown", told)]
    if state.status in ("allowed", "sent"):
        return [_event(command.entity_id, state, command.meta, "egress.failed", told)]
    return []


def reconcile(command: Command[ReconcileEgress], view: View) -> list[NewEvent]:
    """``egress.reconciled``: a person says what came of it.

    Raises:
        NotFound: ``egress_request_not_found``. Forbidden: ``reconciler_must_be_user``.
        Conflict: ``egress_outcome_known``.
    """
    state, body = _known(command, view), command.body
    if command.meta.actor.type != "user" or command.meta.engine is not None:
        raise Forbidden("reconciler_must_be_user", "Only people say what came of a request, never agents or services.")
    expect_version(command, view)
    if state.status != "outcome_unknown" or state.reconciled:
        raise Conflict("egress_outcome_known", f"This request is {state.status}: there is nothing to reconcile.")
    told = {"attempt": state.attempt, "outcome": body.outcome, "note": body.note, "by": "user"}
    return [_event(command.entity_id, state, command.meta, "egress.reconciled", told)]


def evolve(state: EgressRequest | None, event: Event) -> EgressRequest | None:
    """Fold one event of a request."""
    data = event.data
    if event.event_type == "egress.requested":
        return _first(event)
    if state is None:
        return None
    match event.event_type:
        case "egress.allowed":
            return replace(state, status="allowed")
        case "egress.blocked":
            return replace(state, status="blocked")
        case "egress.sent":
            return replace(state, status="sent", attempt=data["attempt"], sender=data["sender"])
        case "egress.succeeded":
            return replace(state, status="succeeded")
        case "egress.failed":
            return replace(state, status="failed")
        case "egress.outcome_unknown":
            return replace(state, status="outcome_unknown")
        case "egress.reconciled":
            return replace(state, status=data["outcome"], reconciled=True)
    return state


def outcome_unknown() -> Conflict:
    """409: it was sent, and nobody knows whether it arrived."""
    return Conflict(
        "egress_outcome_unknown",
        "This request was sent and its outcome is not known: sending it again might do it twice. Look at the target, "
        "then POST /v1/egress/requests/{id}/reconcile.",
    )


def wish_of(
    workspace_id: str,
    actor: Actor,
    *,
    action: str,
    method: str,
    url: str,
    host: str,
    port: int,
    path: str | None,
    digest: str,
    body_sha256: str | None,
    context: Mapping[str, Any],
    **members: Any,
) -> Request:
    """The wish to send a request, for the gate.

    Args:
        url, host, port, path: as :class:`~agentos_shared.domain.targets.Target` has them; no path: it is not seen.
        body_sha256: None: the body is still to come, or is not seen.
        context: of the caller.
    """
    return Request(
        workspace_id=workspace_id,
        category="egress",
        action=action,
        actor=actor,
        digest=digest,
        resource=url,
        egress_host=host,
        egress_method=method,
        egress_port=port,
        egress_path=path,
        context={**context, "method": method, "url": url, "body_sha256": body_sha256},
        **members,
    )


def _first(event: Event) -> EgressRequest:
    data, actor = event.data, Actor(event.actor_type, event.actor_id, event.actor_principal_id)
    wish = wish_of(
        event.workspace_id,
        actor,
        action=data["action"],
        method=data["method"],
        url=data["target_url"],
        host=data["target_domain"],
        port=data["target_port"],
        path=data["target_path"],
        digest=data["action_digest"],
        body_sha256=data["body_sha256"],
        context=data["context"],
        principal_id=data["principal_id"],
        capability_token_id=data["capability_token_id"],
        capability_scopes=data["capability_scopes"],
        room_id=event.room_id,
        run_id=event.run_id,
        step_id=event.step_id,
    )
    return EgressRequest(
        wish,
        data["zone"],
        event.zone,
        actor,
        event.correlation_id,
        event.mission_id,
        event.thread_id,
        data["idempotent"],
    )


def _known(command: Command[Any], view: View) -> EgressRequest:
    state = view.get(EgressRequest, command.entity_id)
    if state is None:
        raise NotFound("egress_request_not_found", "There is no such request in this workspace.")
    return state


def _asking(command: Command[RequestEgress], approval_id: str, gated: Gated, view: View) -> Command[CreateApproval]:
    wish = gated.request
    parameters = {name: wish.context[name] for name in ("method", "url", "body_sha256")}
    body = CreateApproval(
        action=wish.action,
        title=f"Egress request to {wish.egress_host}",
        request=parameters,
        context=command.body.context,
        room_id=wish.room_id,
        run_id=wish.run_id,
        step_id=wish.step_id,
        action_digest=wish.digest,
    )
    return Command(body, command.meta, approval_id, None, wish.room_id, view.now)


def _allowed(request_id: str, state: EgressRequest, gated: Gated, meta: Meta) -> NewEvent:
    decision = gated.decision
    told = {
        "decision": "allow",
        "reason_code": decision.reason_code,
        "would_deny": decision.would_deny,
        "approval_id": decision.approval_id,
        "action_digest": state.wish.digest,
        "enforcement_mode": gated.mode,
        "target_domain": state.wish.egress_host,
    }
    return _event(request_id, state, meta, "egress.allowed", told)._replace(policy_context=gated.context())


def _blocked(request_id: str, state: EgressRequest, gated: Gated, meta: Meta, approval_id: str | None) -> NewEvent:
    decision = gated.decision
    told = {
        "decision": decision.decision,
        "reason_code": decision.reason_code,
        "reason": decision.reason,
        "blocked": gated.blocked,
        "would_deny": decision.would_deny,
        "enforcement_mode": gated.mode,
        "approval_id": approval_id,
        "action_digest": state.wish.digest,
        "target_domain": state.wish.egress_host,
    }
    return _event(request_id, state, meta, "egress.blocked", told)


def _event(request_id: str, state: EgressRequest, meta: Meta, event_type: str, data: Mapping[str, Any]) -> NewEvent:
    wish = state.wish
    return NewEvent(
        event_type=event_type,
        stream=Stream("room", wish.room_id) if wish.room_id else Stream("workspace", wish.workspace_id),
        workspace_id=wish.workspace_id,
        entity_type="egress_request",
        entity_id=request_id,
        mission_id=state.mission_id,
        room_id=wish.room_id,
        thread_id=state.thread_id,
        run_id=wish.run_id,
        step_id=wish.step_id,
        actor=meta.actor,
        zone=state.zone,
        correlation_id=state.correlation_id,
        idempotency_key=meta.idempotency_key,
        data={"egress_request_id": request_id, **data},
    )
