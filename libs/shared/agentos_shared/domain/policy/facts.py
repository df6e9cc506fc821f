"""What a decision is made on: the wish itself, and what is known of everything that it touches.

Both are captured whole before they are evaluated, so that a decision can be made again later, with the same result.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, Literal

from agentos_shared.domain.approvals import Approval
from agentos_shared.domain.capabilities import Capability
from agentos_shared.domain.egress_match import EgressRule
from agentos_shared.domain.envelope import Actor, Zone

Category = Literal["action", "tool_call", "data_access", "egress"]
KillScope = Literal["workspace", "external_write", "room", "agent", "tool", "egress_host"]
Label = Literal["public", "internal", "restricted", "confidential", "sensitive_pii"]
#: What a constraint does to what it matches. It only narrows.
Effect = Literal["deny", "require_approval", "warn"]

#: Kinds of entities (``entity_type``) that decisions depend on.
FACT_KINDS: Final = frozenset(
    {"action", "agent", "approval", "capability", "egress_rule", "kill_switch", "resource_label"}
)
#: Events of other kinds that decisions depend on: a constraint matters once a person has decided on it.
FACT_EVENTS: Final = frozenset({"constraint.activated", "constraint.retired"})

NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Request:
    """A wish: who wants to do what, where, and with what.

    Args:
        action: normalised (:func:`agentos_shared.domain.actions.normalised`).
        principal_id, capability_token_id: as the caller gave them.
        capability_scopes: what the token that came along leaves of the capability's scopes; None: it came without one.
        zone: of the call: the highest of its room's, its run's and the one that was asked for.
        resource: what it is done to: a URL, a path, a table.
        tool_name, egress_host: where the category has such. egress_method: in capitals, ``CONNECT`` for a tunnel;
            egress_port; egress_path: without the query. What is None is not known.
        purpose_tags, justification: of access to data.
        context: free-form, from the caller; recorded, and seen by policies.
        digest: see :func:`agentos_shared.domain.actions.action_digest`.
    """

    workspace_id: str
    category: Category
    action: str
    actor: Actor
    digest: str
    zone: Zone = "supervised"
    principal_id: str | None = None
    capability_token_id: str | None = None
    capability_scopes: Mapping[str, Any] | None = None
    room_id: str | None = None
    thread_id: str | None = None
    run_id: str | None = None
    step_id: str | None = None
    resource: str | None = None
    tool_name: str | None = None
    egress_host: str | None = None
    egress_method: str | None = None
    egress_port: int | None = None
    egress_path: str | None = None
    purpose_tags: tuple[str, ...] = ()
    justification: str | None = None
    context: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ZoneRule:
    """What a zone makes of an action.

    Args:
        once: an approval that it needs must be of exactly this wish.
        users_only: nobody but users may do it.
    """

    effect: Literal["allow", "deny", "require_approval"]
    once: bool = False
    users_only: bool = False


@dataclass(frozen=True, slots=True)
class ActionRule:
    """What the action registry says of an action.

    Args:
        external: whether it leaves the machine.
        by_zone: the rule of each zone, which then says all of zones and of what cannot be undone.
    """

    action_type: str
    reversible: bool
    zone_required: Zone
    requires_pre_approval: bool
    post_review_required: bool = False
    external: bool = False
    by_zone: Mapping[Zone, ZoneRule] | None = None


@dataclass(frozen=True, slots=True)
class AgentFact:
    """An agent as the gate sees it."""

    agent_id: str
    principal_id: str
    quarantined: bool = False
    quarantine_reason: str | None = None


@dataclass(frozen=True, slots=True)
class KillSwitch:
    """A switch that is engaged.

    Args:
        target: the room, agent, tool or host; None for ``workspace`` and ``external_write``.
    """

    scope: KillScope
    target: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class DataLabel:
    """How a resource is labelled; what is not labelled is ``internal``."""

    label: Label = "internal"
    room_id: str | None = None
    purpose_tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Constraint:
    """A constraint that was learned and that a person activated.

    Args:
        category, action: what it matches; None matches all. subject_key: ``agent:<id>``, ``principal:<id>`` or
            ``actor:<type>:<id>``; None: everybody.
    """

    constraint_id: str
    effect: Effect
    category: Category | None = None
    action: str | None = None
    subject_key: str | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known, as far as one request needs it.

    Args:
        approvals: those of the workspace that are approved, by id, the newest first.
        agent: the agent whose principal is ``request.principal_id``.
        capability: the one of ``request.capability_token_id``; capability_revoked: it, or one it was delegated from.
        action: what the registry says of ``request.action``.
        kill_switches: those that are engaged. kill_switch_known: False when it is not known whether one is; then what
            leaves the machine is stopped.
        label: of the data that is to be accessed.
        constraints: active ones of the workspace.
        egress_rules: those of the workspace that may be about ``request.egress_host``.
        rests_on: ids of the workspace's own entities, besides its kill switches, that an allow rests on: the agent, the
            capability and those that it was delegated from.
        delegation: ids of the capability and those that it was delegated from, nearest first.
        on_behalf_of: the principal that the last of these was granted to, where it was handed on.
    """

    now: datetime
    approvals: Mapping[str, Approval] = field(default_factory=lambda: NOTHING)
    agent: AgentFact | None = None
    capability: Capability | None = None
    capability_revoked: bool = False
    action: ActionRule | None = None
    kill_switches: tuple[KillSwitch, ...] = ()
    kill_switch_known: bool = True
    label: DataLabel = field(default_factory=DataLabel)
    constraints: tuple[Constraint, ...] = ()
    egress_rules: tuple[EgressRule, ...] = ()
    rests_on: tuple[str, ...] = ()
    delegation: tuple[str, ...] = ()
    on_behalf_of: str | None = None


def _seed(action_type: str, *, external: bool = False, mutates: bool = False) -> ActionRule:
    if mutates:
        return ActionRule(action_type, False, "high_stakes", True, external=True)
    return ActionRule(action_type, True, "supervised", False, post_review_required=True, external=external)


#: What the registry of every workspace begins with.
SEEDED_ACTIONS: Final[Mapping[str, ActionRule]] = MappingProxyType(
    {
        rule.action_type: rule
        for rule in (
            _seed("artifact.create"),
            _seed("artifact.update"),
            _seed("api.call.idempotent", external=True),
            _seed("external.write", mutates=True),
            _seed("email.send", mutates=True),
            _seed("payment.execute", mutates=True),
            _seed("api.call.mutating", mutates=True),
        )
    }
)
