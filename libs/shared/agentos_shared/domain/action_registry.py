"""The action registry: what is known of each type of action, and in which zone it may be done.

Some actions are known from the start; users edit these and register their own. Whoever names no ``zone_required`` gets
the table of zones, by what the action touches and whether it can be undone. That something outside can be undone is not
believed: it is earned by a drill in which the undo and the reading back both worked, and lost when the undo changes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, Literal

from pydantic import Field

from agentos_shared.domain import ids
from agentos_shared.domain.actions import normalised
from agentos_shared.domain.agents import refuse_agents
from agentos_shared.domain.capabilities import refuse_engines
from agentos_shared.domain.decider import Command, CommandBody, Meta, View, expect_version
from agentos_shared.domain.envelope import Event, NewEvent, Stream, Zone
from agentos_shared.domain.errors import Conflict, Invalid, NotFound
from agentos_shared.domain.policy.facts import SEEDED_ACTIONS, ActionRule, ZoneRule

#: What an action touches. ``admin`` is what binds agents: policies, grants, secrets, kill switches.
SideEffect = Literal["read_internal", "write_internal", "external_read", "external_write", "admin"]

_ALLOW: Final = ZoneRule("allow")
_DENY: Final = ZoneRule("deny")
_GRANT: Final = ZoneRule("require_approval")
_ONCE: Final = ZoneRule("require_approval", once=True)
_USERS: Final = ZoneRule("allow", users_only=True)


def _zones(sandbox: ZoneRule, supervised: ZoneRule, high_stakes: ZoneRule) -> Mapping[Zone, ZoneRule]:
    return MappingProxyType({"sandbox": sandbox, "supervised": supervised, "high_stakes": high_stakes})


#: By what an action touches and whether it can be undone. Reading outside asks for an approval where no grant, which is
#: an entry of the list of allowed hosts, covers it.
ZONE_TABLE: Final[Mapping[tuple[SideEffect, bool], Mapping[Zone, ZoneRule]]] = MappingProxyType(
    {
        ("read_internal", True): _zones(_ALLOW, _ALLOW, _ALLOW),
        ("read_internal", False): _zones(_ALLOW, _ALLOW, _ALLOW),
        ("write_internal", True): _zones(_ALLOW, _ALLOW, _GRANT),
        ("write_internal", False): _zones(_DENY, _ONCE, _ONCE),
        ("external_read", True): _zones(_GRANT, _GRANT, _GRANT),
        ("external_read", False): _zones(_GRANT, _GRANT, _GRANT),
        ("external_write", True): _zones(_DENY, _GRANT, _GRANT),
        ("external_write", False): _zones(_DENY, _ONCE, _ONCE),
        ("admin", True): _zones(_DENY, _USERS, _USERS),
        ("admin", False): _zones(_DENY, _USERS, _USERS),
    }
)


class RegisterAction(CommandBody):
    """Registers a type of action, or edits one: members that are not given stay as they are. It needs ``action_type``.

    A new one counts as an irreversible write to the outside until it is said to be less. Without ``zone_required`` the
    table of zones decides.
    """

    action_type: str | None = Field(None, max_length=200, pattern=r"^\s*[A-Za-z0-9][A-Za-z0-9._:-]*\s*$|^\s*$")
    side_effect: SideEffect | None = None
    reversible: bool | None = None
    zone_required: Zone | None = None
    requires_pre_approval: bool | None = None
    post_review_required: bool | None = None
    undo_action: str | None = Field(None, min_length=1, max_length=200)
    undo_window_s: int | None = Field(None, ge=0, le=86_400)
    idempotency_key: str | None = Field(None, min_length=1, max_length=200)
    metadata: dict[str, Any] | None = None


class RecordDrill(CommandBody):
    """Puts on record that an action was undone for practice, and what came of it. ``action_type`` is required."""

    action_type: str | None = Field(None, max_length=200)
    undo_succeeded: bool
    read_back_matched: bool
    notes: str | None = Field(None, max_length=20_000)


@dataclass(frozen=True, slots=True)
class Action:
    """A type of action, as the registry has it.

    Args:
        reversible: whether it is said to be; :attr:`undoable` tells whether that counts.
        zone_required: None: the table of zones decides.
        undo_action, undo_window_s: what undoes it, and for how long that works. idempotency_key: where it carries one.
        undo_verified: whether the last drill went well.
        created_at, updated_at: None for those that are known from the start.
    """

    action_type: str
    workspace_id: str | None = None
    side_effect: SideEffect = "external_write"
    reversible: bool = False
    zone_required: Zone | None = None
    requires_pre_approval: bool = False
    post_review_required: bool = False
    undo_action: str | None = None
    undo_window_s: int | None = None
    idempotency_key: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    undo_verified: bool = False
    created_at: datetime | None = None
    updated_at: datetime | None = None

    @property
    def external(self) -> bool:
        """Whether it leaves the machine."""
        return self.side_effect.startswith("external_")

    @property
    def undoable(self) -> bool:
        """Whether it counts as reversible."""
        return self.reversible and (self.undo_verified or not self.external)

    @property
    def rule(self) -> ActionRule:
        """The action as the gate sees it."""
        return ActionRule(
            self.action_type,
            self.undoable,
            self.zone_required or "supervised",
            self.requires_pre_approval,
            self.post_review_required,
            self.side_effect == "external_write",
            ZONE_TABLE[self.side_effect, self.undoable] if self.zone_required is None else None,
        )


#: What an event tells of an action.
_MEMBERS: Final = (
    "action_type",
    "side_effect",
    "reversible",
    "zone_required",
    "requires_pre_approval",
    "post_review_required",
    "undo_action",
    "undo_window_s",
    "idempotency_key",
    "metadata",
    "undo_verified",
)


def _seeded(rule: ActionRule) -> Action:
    internal = rule.action_type.startswith("artifact.")
    return Action(
        rule.action_type,
        side_effect="write_internal" if internal else "external_write",
        reversible=rule.reversible,
        zone_required=rule.zone_required,
        requires_pre_approval=rule.requires_pre_approval,
        post_review_required=rule.post_review_required,
        metadata={
            "cost_impact": "low" if rule.reversible else "high",
            "recovery_difficulty": "low" if rule.reversible else "high",
        },
        undo_verified=rule.reversible,
    )


#: What every workspace begins with, by type.
SEEDED: Final[Mapping[str, Action]] = MappingProxyType(
    {rule.action_type: _seeded(rule) for rule in SEEDED_ACTIONS.values()}
)


def action_id(workspace_id: str, action_type: str | None) -> str:
    """The id of a type of action: the same for the same type, always."""
    return ids.derived_id(ids.ACTION, workspace_id, normalised(action_type or ""))


def register(command: Command[RegisterAction], view: View) -> list[NewEvent]:
    """``action.registered`` with the action as it is from now on, or nothing when it is so already.

    Raises:
        Invalid: ``missing_action_type``. Forbidden: ``engine_action_not_allowed``, ``agent_action_not_allowed``.
    """
    body, meta = command.body, command.meta
    name = normalised(body.action_type or "")
    if not name:
        raise Invalid("missing_action_type", "action_type is required: the action's name, such as invoice.send.")
    refuse_engines(meta)
    refuse_agents(meta)
    expect_version(command, view)
    known = view.get(Action, command.entity_id)
    before = known or SEEDED.get(name) or Action(name)
    given = body.model_dump(exclude_none=True, exclude={"action_type", *CommandBody.model_fields})
    after = replace(before, **given)
    if (after.undo_action, after.idempotency_key) != (before.undo_action, before.idempotency_key):
        after = replace(after, undo_verified=False)
    if known is not None and after == known:
        return []
    return [_event(meta, command.entity_id, "action.registered", _told(after))]


def drill(command: Command[RecordDrill], view: View) -> list[NewEvent]:
    """``action.undo_drill.recorded``.

    Raises:
        Invalid: ``missing_action_type``. NotFound: ``action_not_found``. Conflict: ``action_without_undo``.
        Forbidden: ``engine_action_not_allowed``, ``agent_action_not_allowed``.
    """
    body, meta = command.body, command.meta
    if not normalised(body.action_type or ""):
        raise Invalid("missing_action_type", "action_type is required: the action that was undone.")
    action = view.get(Action, command.entity_id)
    if action is None:
        raise NotFound("action_not_found", "Nobody registered this action here: POST /v1/action-registry.")
    refuse_engines(meta)
    refuse_agents(meta)
    expect_version(command, view)
    if action.undo_action is None or action.idempotency_key is None:
        raise Conflict(
            "action_without_undo", "Register its undo_action and idempotency_key first: they are what is tried."
        )
    data = {
        "action_type": action.action_type,
        "undo_action": action.undo_action,
        "undo_succeeded": body.undo_succeeded,
        "read_back_matched": body.read_back_matched,
        "undo_verified": body.undo_succeeded and body.read_back_matched,
        "notes": body.notes,
    }
    return [_event(meta, command.entity_id, "action.undo_drill.recorded", data)]


def evolve(state: Action | None, event: Event) -> Action | None:
    """Fold one event of an action."""
    data = event.data
    match event.event_type:
        case "action.registered":
            since = state.created_at if state else event.recorded_at
            told = {name: data[name] for name in _MEMBERS if name in data}
            return Action(workspace_id=event.workspace_id, created_at=since, updated_at=event.recorded_at, **told)
        case "action.undo_drill.recorded" if state is not None:
            return replace(state, undo_verified=data["undo_verified"], updated_at=event.recorded_at)
    return state


def _told(action: Action) -> dict[str, Any]:
    return {name: getattr(action, name) for name in _MEMBERS} | {"metadata": dict(action.metadata)}


def _event(meta: Meta, entity_id: str, event_type: str, data: Mapping[str, Any]) -> NewEvent:
    return NewEvent(
        event_type=event_type,
        stream=Stream("workspace", meta.workspace_id),
        workspace_id=meta.workspace_id,
        entity_type="action",
        entity_id=entity_id,
        actor=meta.actor,
        correlation_id=meta.correlation_id,
        idempotency_key=meta.idempotency_key,
        data=data,
    )
