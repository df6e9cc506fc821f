"""What is known of one workspace, folded from its events, and the facts that one request needs of it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from agentos_shared.domain.action_registry import Action, action_id
from agentos_shared.domain.agents import Agent
from agentos_shared.domain.approvals import Approval
from agentos_shared.domain.capabilities import Capability
from agentos_shared.domain.catalog import AGGREGATES, EVENT_TYPES
from agentos_shared.domain.constraints import Constraint
from agentos_shared.domain.egress_match import RuleBook
from agentos_shared.domain.egress_rules import EgressRules
from agentos_shared.domain.envelope import Event, Stream
from agentos_shared.domain.kill_switches import KillSwitches
from agentos_shared.domain.policy.facts import (
    FACT_EVENTS,
    FACT_KINDS,
    SEEDED_ACTIONS,
    ActionRule,
    DataLabel,
    Facts,
    Request,
)
from agentos_shared.domain.resource_labels import ResourceLabel, label_id

#: Events by which what decisions depend on changes, besides approvals.
CHANGES: Final = (
    *(name for name, kind in EVENT_TYPES.items() if kind in FACT_KINDS - {"approval"}),
    *sorted(FACT_EVENTS),
)
#: Events by which an approval begins and ceases to allow something, or allows less.
APPROVAL_ENDS: Final = ("approval.consumed", "approval.lapsed", "grant.revoked")
APPROVAL_CHANGES: Final = ("approval.decided", "grant.used", *APPROVAL_ENDS)
ALL_CHANGES: Final = (*CHANGES, *APPROVAL_CHANGES)

#: How approvals are found: by what they allow.
_Key = tuple[str, str | None]


class Known:
    """One workspace.

    Attributes:
        heads: how far each of its streams has been read.
        swept_at: when changes in all of its streams were last asked for (monotonic seconds).
    """

    def __init__(self, heads: dict[Stream, int], swept_at: float) -> None:
        self.heads = heads
        self.swept_at = swept_at
        self._versions: dict[str, int] = {}
        self._states: dict[type, dict[str, Any]] = {}
        self._approvals: dict[_Key, dict[str, Approval]] = {}
        self._keys: dict[str, _Key] = {}
        self._agents: dict[str, Agent] = {}
        self._rules = RuleBook()

    def version(self, entity_id: str) -> int:
        """``entity_version`` up to which an entity is known; 0 when it is not."""
        return self._versions.get(entity_id, 0)

    def learn(self, life: Sequence[Event]) -> None:
        """Take in the whole life of one entity."""
        first, last = life[0], life[-1]
        state: Any = None
        evolve = AGGREGATES[first.entity_type].evolve
        for event in life:
            state = evolve(state, event)
        if isinstance(state, Approval):
            self._learn_approval(first.entity_id, state)
        elif isinstance(state, Agent):
            self._agents[state.principal_id] = state
        elif isinstance(state, EgressRules):
            self._rules = RuleBook(state.rules.values())
        elif state is not None:
            self._states.setdefault(type(state), {})[first.entity_id] = state
        self._versions[first.entity_id] = last.entity_version

    def _learn_approval(self, approval_id: str, approval: Approval) -> None:
        held = self._keys.pop(approval_id, None)
        if held is not None:
            del self._approvals[held][approval_id]
            if not self._approvals[held]:
                del self._approvals[held]
        if approval.status == "approved":
            key = self._keys[approval_id] = _key(approval)
            self._approvals.setdefault(key, {})[approval_id] = approval

    def facts(self, request: Request, now: datetime) -> Facts:
        """What a request is decided on."""
        capabilities: Mapping[str, Capability] = self._states.get(Capability, {})
        learned: Mapping[str, Constraint] = self._states.get(Constraint, {})
        switches: Mapping[str, KillSwitches] = self._states.get(KillSwitches, {})
        token_id = request.capability_token_id
        agent = None if request.principal_id is None else self._agents.get(request.principal_id)
        line, whole = _line(token_id, capabilities)
        return Facts(
            now=now,
            approvals=self._approvals_for(request),
            agent=None if agent is None else agent.fact,
            capability=capabilities.get(token_id) if token_id is not None else None,
            capability_revoked=not whole or any(capabilities[name].revoked for name in line[1:]),
            action=self._action(request),
            label=self._label(request),
            kill_switches=tuple(switch for state in switches.values() for switch in state.facts),
            constraints=tuple(fact for name, state in learned.items() if (fact := state.fact(name, now)) is not None),
            egress_rules=self._rules.on(request.egress_host) if request.category == "egress" else (),
            rests_on=line if agent is None else (agent.agent_id, *line),
            delegation=line,
            on_behalf_of=capabilities[line[-1]].principal_id if len(line) > 1 else None,
        )

    def _label(self, request: Request) -> DataLabel:
        labels: Mapping[str, ResourceLabel] = self._states.get(ResourceLabel, {})
        found = labels.get(label_id(request.workspace_id, request.resource)) if labels and request.resource else None
        return DataLabel() if found is None else found.fact

    def _action(self, request: Request) -> ActionRule | None:
        actions: Mapping[str, Action] = self._states.get(Action, {})
        registered = actions.get(action_id(request.workspace_id, request.action)) if actions else None
        return SEEDED_ACTIONS.get(request.action) if registered is None else registered.rule

    def _approvals_for(self, request: Request) -> dict[str, Approval]:
        """Those that may cover a request, the newest first."""
        keys: tuple[_Key, ...] = (("once", request.digest), ("action", request.action), ("pattern", None))
        found = {name: approval for key in keys for name, approval in self._approvals.get(key, {}).items()}
        return dict(sorted(found.items(), reverse=True))


def _line(token_id: str | None, capabilities: Mapping[str, Capability]) -> tuple[tuple[str, ...], bool]:
    """A capability and those that it was delegated from, nearest first, and whether all of them are known."""
    line: list[str] = []
    while token_id is not None:
        held = capabilities.get(token_id)
        if held is None:
            return tuple(line), not line
        if token_id in line:
            return tuple(line), False
        line.append(token_id)
        token_id = held.parent_token_id
    return tuple(line), True


def _key(approval: Approval) -> _Key:
    match approval.scope.get("type"):
        case "once":
            return "once", approval.digest
        case "pattern":
            return "pattern", None
        case _:
            return "action", approval.action
