"""Asks the gate about what a person is about to allow, where the decision needs it."""

import asyncio
import contextlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from agentos_api.append.locator import Location
from agentos_api.command_type import Reader
from agentos_api.failures import counted
from agentos_shared.domain import approval_life, grants, targets
from agentos_shared.domain.actions import action_digest, normalised
from agentos_shared.domain.approval_answers import Deciding, Review, needs_review
from agentos_shared.domain.approval_bodies import ConsumeApproval, CreateApproval, DecideApproval
from agentos_shared.domain.approvals import Act, Approval, Asking
from agentos_shared.domain.decider import Command
from agentos_shared.domain.egress_match import TUNNEL
from agentos_shared.domain.envelope import Actor, Event
from agentos_shared.domain.errors import NotFound, TryLater
from agentos_shared.domain.grants import Moment
from agentos_shared.domain.policy.assessment import widened
from agentos_shared.domain.policy.evaluate import DATA_ACTIONS
from agentos_shared.domain.policy.facts import Request
from agentos_shared.domain.policy.failures import Code, Failure
from agentos_shared.domain.policy.records import Gated
from agentos_shared.host.lifecycle import CLOCK
from agentos_shared.store import statements
from agentos_shared.store.reader import event_of, read_entities

_TOOL_CALL: Final = "tool.call"
#: What the digest of a request to the world outside is made of.
_OF_EGRESS: Final = {"method", "url", "body_sha256"}
SQL: Final = statements.load("agentos_api", "approval_reviews.sql")


async def deciding(reader: Reader, approval: Location, body: DecideApproval) -> Deciding:
    """The time, what the gate says of what would be allowed, where the decision needs that, and what is learned."""
    review = await _review(reader, approval, body) if needs_review(body) else None
    return Deciding(CLOCK.now(), review, await _failure(reader, approval, body))


async def _failure(reader: Reader, approval: Location, body: DecideApproval) -> Failure | None:
    """What is learned from: somebody wanted something that is denied, or done otherwise."""
    if body.decision != "deny" and body.edited_request is None:
        return None
    row = await reader.pool.fetchrow(SQL["requested"], approval.workspace_id, approval.entity_id)
    requested = None if row is None else event_of(row)
    if requested is None or "request" not in requested.data:  # redacted
        return None
    code: Code = "approval_denied" if body.decision == "deny" else "approval_edited"
    return await counted(reader, Failure(code, wish_of(requested, requested.data["request"])))


async def asking(reader: Reader, home: Location, body: CreateApproval) -> Asking:
    """The time, and what a digest is of that came without its request: the gate was asked about it before."""
    if body.action_digest is None or body.request:
        return Asking(CLOCK.now())
    row = await reader.pool.fetchrow(SQL["decided"], home.workspace_id, body.action_digest)
    return Asking(CLOCK.now(), None if row is None else _act_of(event_of(row)))


def _act_of(decided: Event) -> Act:
    data, context = decided.data, decided.parsed_content()["policy_context"]
    egress = context.keys() >= _OF_EGRESS and data.get("category") == "egress"
    parameters = {name: context[name] for name in _OF_EGRESS} if egress else context
    actor = Actor(decided.actor_type, decided.actor_id, decided.actor_principal_id)
    if data.get("inputs"):  # a person may have asked about somebody else
        actor = Actor(*data["inputs"]["actor"])
    return Act(data.get("action", ""), actor, decided.room_id, decided.run_id, dict(parameters))


async def _review(reader: Reader, approval: Location, body: DecideApproval) -> Review | None:
    row = await reader.pool.fetchrow(SQL["requested"], approval.workspace_id, approval.entity_id)
    if row is None or reader.gatekeeper is None:
        return None
    requested = event_of(row)
    asked = reader.gatekeeper.decide(wish_of(requested, requested.data["request"]), requested.zone)
    if body.edited_request is None:
        return _seen(await asked)
    edited = reader.gatekeeper.decide(wish_of(requested, body.edited_request), requested.zone)
    before, after = await asyncio.gather(asked, edited)
    more = widened(before.request, after.request, _at_stake(before), _at_stake(after))
    return _seen(after)._replace(widened=more)


def _seen(gated: Gated) -> Review:
    decision = gated.decision
    denials = tuple(rule.rule_id for rule in decision.determining_rules if rule.effect == "deny")
    return Review(decision.policy_bundle_hash, denials, decision.reason_codes)


def _at_stake(gated: Gated) -> Collection[str]:
    return () if gated.assessment is None else tuple(gated.assessment["risk_factors"])


async def using(reader: Reader, command: Command[ConsumeApproval]) -> Moment:
    """The time, and what the gate says now of the act that an approval is about to be used for.

    Raises:
        NotFound: ``approval_not_found``. TryLater: ``policy_unavailable``.
        Invalid, Conflict: as :func:`grants.require_live`, :func:`grants.require_told`.
    """
    async with reader.pool.acquire() as connection:
        events = (await read_entities(connection, [command.entity_id])).get(command.entity_id, [])
    approval: Approval | None = None
    for event in events:
        approval = approval_life.evolve(approval, event)
    if approval is None:
        raise NotFound("approval_not_found", "There is no such approval in this workspace.")
    now = CLOCK.now()
    grants.require_live(approval, now)
    if reader.gatekeeper is None:
        raise TryLater("policy_unavailable", "The policy service cannot be asked now; try again.")
    if approval.scope["type"] == "once":
        wish = _once(approval, events, command.meta.actor)
    else:
        wish = _granted(approval, command)
    gated = await reader.gatekeeper.decide(wish, approval.zone)
    return Moment(now, reader.external_write_stopped, gated)


def _once(approval: Approval, events: Sequence[Event], caller: Actor) -> Request:
    """The very act that was approved."""
    decided = next(event for event in reversed(events) if event.event_type == "approval.decided")
    edited = decided.data.get("edited_request")
    request: dict[str, Any] = events[0].data.get("request", {}) if edited is None else edited
    wish = wish_of(events[0], request)
    if wish.digest == approval.digest:
        return wish
    # Somebody else asked on behalf of whoever does it, and the digest is of that one.
    actor = caller if caller.type == "agent" else wish.actor
    principal_id = actor.principal_id if actor.type == "agent" else None
    return replace(wish, digest=approval.digest or wish.digest, actor=actor, principal_id=principal_id)


def _granted(approval: Approval, command: Command[ConsumeApproval]) -> Request:
    """The act that whoever uses a grant tells."""
    body = command.body
    actor = grants.require_told(approval, body, command.meta)
    members = _category(normalised(body.action or ""), body.parameters)
    named = body.parameters.get("resource")
    resource = body.resource or (named if isinstance(named, str) else None)
    return Request(
        workspace_id=approval.workspace_id,
        action=normalised(body.action or ""),
        actor=actor,
        digest=body.action_digest,
        zone=approval.zone,
        principal_id=actor.principal_id if actor.type == "agent" else None,
        room_id=body.room_id,
        thread_id=body.thread_id,
        run_id=body.run_id,
        context=body.parameters,
        **{"resource": resource, **members},
    )


def wish_of(requested: Event, parameters: dict[str, Any]) -> Request:
    """What ``approval.requested`` asks for, done with ``parameters``, as the gate looks at it. Who wants it, where, and
    in which zone stays as it was: an edit changes nothing of that.
    """
    actor = Actor(requested.actor_type, requested.actor_id, requested.actor_principal_id)
    action = requested.data["action"]
    place = requested.room_id, requested.run_id
    return Request(
        workspace_id=requested.workspace_id,
        action=action,
        actor=actor,
        digest=action_digest(requested.workspace_id, action, actor, *place, parameters),
        zone=requested.zone,
        principal_id=actor.principal_id if actor.type == "agent" else None,
        room_id=requested.room_id,
        thread_id=requested.thread_id,
        run_id=requested.run_id,
        step_id=requested.step_id,
        context=parameters,
        **_category(action, parameters),
    )


def _category(action: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """As what the gate looks at a wish: told by the parameters, which are those that its digest is made of."""
    tool, url = parameters.get("tool_name"), parameters.get("url")
    if action == _TOOL_CALL and isinstance(tool, str):
        return {"category": "tool_call", "tool_name": tool, "resource": tool}
    if parameters.keys() == _OF_EGRESS and isinstance(url, str):
        with contextlib.suppress(targets.BadTarget):
            target = targets.parse(url)
            method = str(parameters["method"])
            path = None if method == TUNNEL else target.path
            place = {"egress_host": target.host, "egress_port": target.port, "egress_path": path}
            return {"category": "egress", "resource": url, "egress_method": method, **place}
    return {"category": "data_access" if action in DATA_ACTIONS else "action"}
