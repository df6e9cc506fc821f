"""Commands of egress rules."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from agentos_api.append.locator import Location
from agentos_api.command_type import CommandType, Reader, Reference
from agentos_shared.domain import egress_proposals, egress_rules, ids
from agentos_shared.domain.approvals import Approval
from agentos_shared.domain.decider import Command, View
from agentos_shared.domain.egress_proposals import ProposeEgressRule
from agentos_shared.domain.egress_rules import RemoveEgressRule, SetEgressRule, rules_id
from agentos_shared.domain.envelope import Event
from agentos_shared.host.lifecycle import CLOCK


async def _now(_reader: Reader, _location: Location, _body: Any) -> datetime:
    return CLOCK.now()


def _rules(workspace_id: str, _body: Any) -> str:
    return rules_id(workspace_id)


def _room(body: SetEgressRule | ProposeEgressRule) -> tuple[Reference, ...]:
    return () if body.room_id is None else (("room", body.room_id),)


def _wanted(body: ProposeEgressRule) -> tuple[Reference, ...]:
    return _room(body) if body.run_id is None else (*_room(body), ("run", body.run_id))


def _set(command: Command[SetEgressRule], _events: Sequence[Event], _view: View) -> Mapping[str, Any]:
    rule = egress_rules.rule_of(command.body)
    return {"rule_id": egress_rules.rule_id_of(command.meta.workspace_id, rule)}


def _removed(command: Command[RemoveEgressRule], _events: Sequence[Event], _view: View) -> Mapping[str, Any]:
    return {"rule_id": command.body.rule_id}


def _proposed(command: Command[ProposeEgressRule], _events: Sequence[Event], view: View) -> Mapping[str, Any]:
    approval = view.get(Approval, command.entity_id)
    return {} if approval is None else {"action_digest": approval.digest}


EGRESS_RULES: Final = (
    CommandType(
        name="egress_rule.set",
        path="/v1/egress/rules",
        body=SetEgressRule,
        decide=egress_rules.set_rule,
        by_person=True,
        entity=_rules,
        refs=_room,
        load=_now,
        extra=_set,
    ),
    CommandType(
        name="egress_rule.remove",
        path="/v1/egress/rules/remove",
        body=RemoveEgressRule,
        decide=egress_rules.remove,
        by_person=True,
        entity=_rules,
        extra=_removed,
        status=200,
    ),
    CommandType(
        name="egress_rule.propose",
        path="/v1/egress/proposals",
        body=ProposeEgressRule,
        decide=egress_proposals.propose,
        prefix=ids.APPROVAL,
        answers="approval_id",
        refs=_wanted,
        load=_now,
        extra=_proposed,
    ),
)
