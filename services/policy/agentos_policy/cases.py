"""Cases that a bundle of policies must meet: ``tests.toml`` beside them, and what becomes of each.

A case goes through the whole gate, with nothing else in the way: no kill switch, no capability, no constraint, the
action registry as it is from the start. So what the built-in rules say of it counts too.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agentos_policy.shelf import SUFFIX, read
from agentos_shared.domain import principals
from agentos_shared.domain.actions import ActionName, action_digest, normalised
from agentos_shared.domain.egress_match import EgressRule, RuleBook
from agentos_shared.domain.egress_rules import RuleBody, as_decided, rule_id_of, rule_of
from agentos_shared.domain.envelope import Actor, ActorType, Zone
from agentos_shared.domain.errors import DomainError
from agentos_shared.domain.policy.decision import Decision, Verdict
from agentos_shared.domain.policy.evaluate import DATA_ACTIONS, Policies, evaluate
from agentos_shared.domain.policy.facts import SEEDED_ACTIONS, AgentFact, Category, DataLabel, Facts, Label, Request

FILE: Final = "tests.toml"
WORKSPACE: Final = "ws_test"
NO_RULES: Final = RuleBook()
_NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)
_Name = Annotated[str, Field(min_length=1, max_length=1000)]


class BrokenCases(Exception):
    """A file of cases that cannot be read, and why."""


class Case(BaseModel):
    """One case. ``rule`` is one that must be decisive: a policy's id, or a built-in rule's reason code."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    name: _Name
    expect: Verdict
    rule: _Name | None = None
    actor_type: ActorType = "user"
    actor_id: _Name = "ada"
    quarantined: bool = False
    action: ActionName
    tool: _Name | None = None
    host: _Name | None = None
    method: _Name | None = None
    port: int | None = None
    path: _Name | None = None
    resource: _Name | None = None
    label: Label = "internal"
    purposes: list[_Name] = Field(default_factory=list)
    zone: Zone = "supervised"
    room: _Name | None = None
    run: _Name | None = None

    def decided(self, policies: Policies, rules: RuleBook = NO_RULES) -> Decision:
        """What the gate makes of it."""
        actor = principals.actor(WORKSPACE, self.actor_type, self.actor_id)
        request = self._request(actor)
        is_agent = self.actor_type == "agent"
        facts = Facts(
            _NOW,
            agent=AgentFact(actor.id, actor.principal_id, self.quarantined) if is_agent else None,
            action=SEEDED_ACTIONS.get(request.action),
            label=DataLabel(self.label, self.room),
            egress_rules=rules.on(self.host),
        )
        return evaluate(request, facts, policies)

    def _request(self, actor: Actor) -> Request:
        action = normalised(self.action)
        return Request(
            workspace_id=WORKSPACE,
            category=self._category(action),
            action=action,
            actor=actor,
            digest=action_digest(WORKSPACE, action, actor, self.room, self.run, {}),
            zone=self.zone,
            principal_id=actor.principal_id if actor.type == "agent" else None,
            room_id=self.room,
            run_id=self.run,
            resource=self.tool or self.host or self.resource,
            tool_name=self.tool,
            egress_host=self.host,
            egress_method=self.method,
            egress_port=self.port,
            egress_path=self.path,
            purpose_tags=tuple(self.purposes),
        )

    def _category(self, action: str) -> Category:
        if self.tool is not None:
            return "tool_call"
        if self.host is not None:
            return "egress"
        return "data_access" if action in DATA_ACTIONS else "action"


class _Cases(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    case: list[Case] = Field(default_factory=list)
    egress_rule: list[RuleBody] = Field(default_factory=list)


class Cases(NamedTuple):
    """What a file says.

    Args:
        rules: egress rules that are in force for all of its cases.
    """

    cases: Sequence[Case] = ()
    rules: RuleBook = NO_RULES


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a case."""

    case: Case
    decision: Decision

    @property
    def met(self) -> bool:
        """Whether it is as expected."""
        decisive = {rule.rule_id for rule in self.decision.determining_rules}
        return self.decision.decision == self.case.expect and (self.case.rule is None or self.case.rule in decisive)


def texts(directory: Path) -> dict[str, str]:
    """The files of policies in a directory, by name. Raises OSError, ValueError: they cannot be read."""
    paths = sorted(path for path in directory.iterdir() if path.suffix == SUFFIX and not path.name.startswith("."))
    return {path.name: read(path) for path in paths}


def cases(directory: Path) -> Cases:
    """The cases beside the policies of a directory; none where there is no such file.

    Raises:
        BrokenCases.
    """
    path = directory / FILE
    if not path.exists():
        return Cases()
    try:
        told: Mapping[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        found = _Cases.model_validate(told)
        return Cases(found.case, RuleBook(map(_rule, found.egress_rule)))
    except ValidationError as error:
        first = error.errors()[0]
        raise BrokenCases(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    except DomainError as error:
        raise BrokenCases(f"{path}: egress_rule: {error.detail}") from error
    except (OSError, ValueError) as error:
        raise BrokenCases(f"{path}: {error}") from error


def _rule(body: RuleBody) -> EgressRule:
    told = rule_of(body)
    return as_decided(rule_id_of(WORKSPACE, told), told)


def run(found: Sequence[Case], policies: Policies, rules: RuleBook = NO_RULES) -> list[Result]:
    """Put each case to the gate."""
    return [Result(case, case.decided(policies, rules)) for case in found]
