"""Asks the gate about what a person is about to allow, where the decision needs it."""

import contextlib
from collections.abc import Mapping
from typing import Any, Final

from agentos_api.append.locator import Location
from agentos_api.command_type import Reader
from agentos_shared.domain import targets
from agentos_shared.domain.actions import action_digest
from agentos_shared.domain.approval_answers import Deciding, Review, needs_review
from agentos_shared.domain.approval_bodies import CreateApproval, DecideApproval
from agentos_shared.domain.approvals import Act, Asking
from agentos_shared.domain.envelope import Actor, Event
from agentos_shared.domain.policy.evaluate import DATA_ACTIONS
from agentos_shared.domain.policy.facts import Request
from agentos_shared.host.lifecycle import CLOCK
from agentos_shared.store import statements
from agentos_shared.store.reader import event_of

_TOOL_CALL: Final = "tool.call"
#: What the digest of a request to the world outside is made of.
_OF_EGRESS: Final = {"method", "url", "body_sha256"}
SQL: Final = statements.load("agentos_api", "approval_reviews.sql")


async def deciding(reader: Reader, approval: Location, body: DecideApproval) -> Deciding:
    """The time, and what the gate says of what would be allowed, where the decision needs that."""
    review = await _review(reader, approval, body) if needs_review(body) else None
    return Deciding(CLOCK.now(), review)


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
    parameters = requested.data["request"] if body.edited_request is None else body.edited_request
    gated = await reader.gatekeeper.decide(wish_of(requested, parameters), requested.zone)
    decision = gated.decision
    denials = tuple(rule.rule_id for rule in decision.determining_rules if rule.effect == "deny")
    return Review(decision.policy_bundle_hash, denials)


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
            place = {"egress_host": target.host, "egress_port": target.port, "egress_path": target.path}
            return {"category": "egress", "resource": url, "egress_method": str(parameters["method"]), **place}
    return {"category": "data_access" if action in DATA_ACTIONS else "action"}
