"""Kill switches: what is stopped in a workspace. Anybody may stop; only a person lets go again, and says why.

All of a workspace's switches are one entity, so that whoever decides on something reads one.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

from pydantic import Field

from agentos_shared.domain import ids
from agentos_shared.domain.decider import Command, CommandBody, View, expect_version
from agentos_shared.domain.envelope import ActorType, Event, NewEvent, Stream
from agentos_shared.domain.errors import Conflict, Forbidden, Invalid
from agentos_shared.domain.policy.facts import KillScope, KillSwitch

#: Scopes that stop one thing, which ``target`` names; the others stop a whole class.
TARGETED: Final = frozenset({"room", "agent", "tool", "egress_host"})
#: Switches of a workspace that are engaged at once: bounds the state.
MAX_ENGAGED: Final = 1_000
MAX_TARGET: Final = 300
#: Released ones that are remembered.
MAX_LIFTED: Final = 100

#: (scope, target)
_Key: TypeAlias = tuple[KillScope, str | None]


class SetKillSwitch(CommandBody):
    """Engages or releases a kill switch. It needs an ``action``, and a ``reason`` for a release. A ``target`` names the
    room, the agent, the tool or the host (``*.example.org`` for all under it) of a scope that stops one thing.
    """

    action: Literal["engage", "release"] | None = None
    scope: KillScope = "external_write"
    target: str | None = Field(None, max_length=MAX_TARGET)
    reason: str | None = Field(None, max_length=4000)


@dataclass(frozen=True, slots=True)
class Engaged:
    """A switch that is engaged, by whom and since when."""

    switch: KillSwitch
    actor_type: ActorType
    actor_id: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Lifted:
    """A switch that was engaged, and from when until when."""

    switch: KillSwitch
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class KillSwitches:
    """The switches of one workspace that are engaged, by scope and target.

    Args:
        lifted: those that were released last.
    """

    workspace_id: str
    engaged: Mapping[_Key, Engaged] = field(default_factory=dict)
    lifted: tuple[Lifted, ...] = ()

    @property
    def facts(self) -> tuple[KillSwitch, ...]:
        """The switches as the gate sees them."""
        return tuple(one.switch for one in self.engaged.values())

    def stopping(self, room_id: str | None, names: Collection[str] = ()) -> Engaged | None:
        """The switch that lets no run begin: of the workspace, of its room, or of whoever is to have it.

        Args:
            names: ids of who claims it, and of its principal.
        """
        for engaged in self.engaged.values():
            scope, target = engaged.switch.scope, engaged.switch.target
            if (
                scope == "workspace"
                or (scope == "room" and target == room_id)
                or (scope == "agent" and target in names)
            ):
                return engaged
        return None


def switches_id(workspace_id: str) -> str:
    """The id of a workspace's switches."""
    return ids.derived_id(ids.KILL_SWITCH, workspace_id)


def require_none_stopping(view: View, workspace_id: str, room_id: str | None, names: Collection[str] = ()) -> None:
    """Raise Conflict ``kill_switch_active`` where a switch lets no run begin: what is queued stays queued."""
    switches = view.get(KillSwitches, switches_id(workspace_id))
    if switches is not None and switches.stopping(room_id, names) is not None:
        raise Conflict(
            "kill_switch_active", "A kill switch is engaged; a person releases it: GET /v1/policy/kill-switch."
        )


def change(command: Command[SetKillSwitch], view: View) -> list[NewEvent]:
    """``kill_switch.engaged`` or ``kill_switch.released``; nothing when it is engaged already.

    ``command.loaded`` says whether the environment engages ``external_write``, which no call releases.

    Raises:
        Invalid: ``missing_action``, ``missing_target``, ``invalid_target``, ``missing_reason``.
        Forbidden: ``releaser_must_be_user``. Conflict: ``kill_switch_forced``, ``kill_switch_limit``,
            ``kill_switch_not_engaged``.
    """
    body = command.body
    if body.action is None:
        raise Invalid("missing_action", "action is required: engage or release.")
    key = body.scope, target_of(body.scope, body.target)
    if body.action == "release":
        return _release(command, view, key)
    expect_version(command, view)
    switches = view.get(KillSwitches, command.entity_id)
    engaged: Mapping[_Key, Engaged] = switches.engaged if switches else {}
    if key in engaged:
        return []
    if body.scope in TARGETED and len(engaged) >= MAX_ENGAGED:
        raise Conflict(
            "kill_switch_limit", f"{MAX_ENGAGED} switches are engaged; stop the whole workspace, or release some."
        )
    return [_event(command, "kill_switch.engaged", key)]


def _release(command: Command[SetKillSwitch], view: View, key: _Key) -> list[NewEvent]:
    meta = command.meta
    if meta.engine is not None or meta.actor.type != "user":
        raise Forbidden("releaser_must_be_user", "Only a person releases a kill switch.")
    if not (command.body.reason or "").strip():
        raise Invalid("missing_reason", "reason is required: why it may go on.")
    expect_version(command, view)
    if command.loaded and key[0] == "external_write":
        raise Conflict(
            "kill_switch_forced",
            "POLICY_KILL_SWITCH_EXTERNAL_WRITE engages it: unset that and restart the services.",
        )
    switches = view.get(KillSwitches, command.entity_id)
    if switches is None or key not in switches.engaged:
        raise Conflict(
            "kill_switch_not_engaged", "This switch is not engaged: GET /v1/policy/kill-switch tells which are."
        )
    return [_event(command, "kill_switch.released", key)]


def evolve(state: KillSwitches | None, event: Event) -> KillSwitches | None:
    """Fold one event of a workspace's switches."""
    known = state or KillSwitches(event.workspace_id)
    data = event.data
    match event.event_type:
        case "kill_switch.engaged":
            key = data["scope"], data["target"]
            switch = KillSwitch(*key, data["reason"])
            one = Engaged(switch, event.actor_type, event.actor_id, event.recorded_at)
            return replace(known, engaged={**known.engaged, key: one})
        case "kill_switch.released":
            gone = data["scope"], data["target"]
            left = {key: one for key, one in known.engaged.items() if key != gone}
            ended = known.engaged.get(gone)
            lifted = () if ended is None else (Lifted(ended.switch, ended.since, event.recorded_at),)
            return replace(known, engaged=left, lifted=(*known.lifted, *lifted)[-MAX_LIFTED:])
    return state


def target_of(scope: KillScope, text: str | None) -> str | None:
    """What a switch of a scope stops, as it is kept. Raises Invalid: ``missing_target``, ``invalid_target``."""
    target = (text or "").strip()
    if scope not in TARGETED:
        if target:
            raise Invalid("invalid_target", f"The scope {scope} stops everything of its kind; leave target out.")
        return None
    if not target:
        raise Invalid("missing_target", f"target is required: which {scope.replace('_', ' ')} to stop.")
    if len(target) > MAX_TARGET:
        raise Invalid("invalid_target", f"target has at most {MAX_TARGET} characters.")
    return target.lower().rstrip(".") if scope == "egress_host" else target


def _event(command: Command[SetKillSwitch], event_type: str, key: _Key) -> NewEvent:
    meta = command.meta
    scope, target = key
    data: dict[str, Any] = {"scope": scope, "target": target, "reason": command.body.reason}
    return NewEvent(
        event_type=event_type,
        stream=Stream("workspace", meta.workspace_id),
        workspace_id=meta.workspace_id,
        entity_type="kill_switch",
        entity_id=command.entity_id,
        actor=meta.actor,
        correlation_id=meta.correlation_id,
        idempotency_key=meta.idempotency_key,
        data=data,
    )
