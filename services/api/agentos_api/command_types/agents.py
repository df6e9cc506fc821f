"""Commands of agents and of what binds them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

from agentos_api.append.locator import Location
from agentos_api.append.stream_cache import fold
from agentos_api.command_type import CommandType, Reader, Reference
from agentos_shared.domain import (
    action_registry,
    agents,
    capabilities,
    capability_uses,
    constraints,
    delegations,
    engines,
    ids,
    kill_switches,
)
from agentos_shared.domain.action_registry import Action, RecordDrill, RegisterAction
from agentos_shared.domain.agents import Agent
from agentos_shared.domain.capabilities import Capability, CollectToken
from agentos_shared.domain.capability_uses import UseCapability
from agentos_shared.domain.decider import Command, View
from agentos_shared.domain.delegations import Ancestry, GrantCapability
from agentos_shared.domain.engines import Engine
from agentos_shared.domain.envelope import Actor, Event, timestamp
from agentos_shared.domain.kill_switches import KillSwitches, SetKillSwitch
from agentos_shared.domain.principals import Principal
from agentos_shared.domain.token_bounds import Bounds
from agentos_shared.host.lifecycle import CLOCK
from agentos_shared.store.reader import Connection, read_entities
from agentos_shared.tokens.biscuits import Granted
from agentos_shared.tokens.key_file import KeyRing

TIMEOUT_S: Final = 5.0
S = TypeVar("S")


async def _now(_reader: Reader, _location: Location, _body: Any) -> datetime:
    return CLOCK.now()


def _registered(command: Command[Any], _events: Sequence[Event], view: View) -> Mapping[str, Any]:
    agent = view.get(Agent, command.entity_id)
    return {} if agent is None else {"principal_id": agent.principal_id}


def _quarantine(command: Command[Any], _events: Sequence[Event], view: View) -> Mapping[str, Any]:
    agent = view.get(Agent, command.entity_id)
    if agent is None:
        return {}
    since = agent.quarantined_at
    return {
        "principal_id": agent.principal_id,
        "quarantined_at": None if since is None else timestamp(since),
        "quarantine_reason": agent.quarantine_reason,
    }


@dataclass(frozen=True, slots=True)
class _Preparation(Ancestry):
    """What a grant is decided on, and what its token is signed with."""

    key: KeyRing | None = None


async def _ancestry(reader: Reader, _location: Location, body: GrantCapability) -> Ancestry:
    """How the parent stands by itself is decided on in the append; what is above it is read here.

    One that is taken back a moment later ends the new capability as well, so the gap lets nothing through.
    """
    now = CLOCK.now()
    if body.parent_token_id is None:
        return _Preparation(now, key=reader.token_key)
    async with reader.pool.acquire(timeout=TIMEOUT_S) as connection:
        return _Preparation(now, await _ended(connection, body.parent_token_id), reader.token_key)


def _token(command: Command[GrantCapability], _events: Sequence[Event], view: View) -> Mapping[str, Any]:
    """The capability as a bearer token: the only place that ever tells it.

    Whoever has it acts as its holder, so it is told to people, and to whom it is granted.
    """
    actor = command.meta.actor
    capability = view.get(Capability, command.entity_id)
    key = command.loaded.key
    holder = None if capability is None else view.get(Principal, capability.principal_id)
    if capability is None or (actor.type != "user" and actor.principal_id != capability.principal_id):
        return _NO_TOKEN
    return _minted(key, command.entity_id, capability, holder)


_NO_TOKEN: Final = {"token": None, "public_key": None}


def _minted(key: KeyRing | None, token_id: str, capability: Capability, holder: Principal | None) -> Mapping[str, Any]:
    if holder is None or key is None:
        return _NO_TOKEN
    granted = Granted(
        capability.workspace_id,
        token_id,
        Actor(holder.actor_type, holder.actor_id, capability.principal_id),
        Bounds.of(capability.scopes, capability.valid_until),
        capability.depth,
    )
    return {"token": key.mint(granted, dict(capability.scopes)), "public_key": key.public}


@dataclass(frozen=True, slots=True)
class _Collecting:
    """What the token of a capability is made of, besides the capability."""

    ended: bool
    holder: Principal | None
    key: KeyRing | None


async def _collecting(reader: Reader, location: Location, _body: CollectToken) -> _Collecting:
    async with reader.pool.acquire(timeout=TIMEOUT_S) as connection:
        capability = await _state(connection, Capability, location.entity_id)
        principal_id = None if capability is None else capability.principal_id
        holder = await _state(connection, Principal, principal_id)
        return _Collecting(await _ended(connection, location.entity_id), holder, reader.token_key)


def _collected(command: Command[CollectToken], _events: Sequence[Event], view: View) -> Mapping[str, Any]:
    """The token, told to whom the decider lets have it."""
    capability = view.get(Capability, command.entity_id)
    loaded: _Collecting = command.loaded
    return _NO_TOKEN if capability is None else _minted(loaded.key, command.entity_id, capability, loaded.holder)


def _without_token(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """The answer as an idempotency key keeps it: whoever sends the key again learns the id, not the token."""
    return {**answer, "token": None} if answer.get("token") else answer


async def _ended(connection: Connection, token_id: str) -> bool:
    wanted: str | None = token_id
    for _ in range(delegations.MAX_DEPTH + 1):
        capability = await _state(connection, Capability, wanted)
        if capability is None:
            return False
        if capability.revoked:
            return True
        root, wanted = wanted, capability.parent_token_id
        if wanted is None:
            return await _engine_token_ended(connection, capability, root)
    return False


async def _engine_token_ended(connection: Connection, root: Capability, token_id: str | None) -> bool:
    """The capability of an engine's token ends with the token, which the engine's events tell."""
    principal = await _state(connection, Principal, root.principal_id)
    if principal is None:
        return False
    engine = await _state(connection, Engine, engines.engine_id(root.workspace_id, principal.actor_id))
    tokens = () if engine is None else engine.tokens.values()
    return any(token.revoked for token in tokens if token.capability_token_id == token_id)


async def _state(connection: Connection, kind: type[S], entity_id: str | None) -> S | None:
    if entity_id is None:
        return None
    state = fold((await read_entities(connection, [entity_id])).get(entity_id, ())).state
    return state if isinstance(state, kind) else None


def _concerned(body: GrantCapability, _location: Location) -> tuple[str, ...]:
    named = (body.issued_to_principal_id, body.granted_by_principal_id, body.parent_token_id)
    return tuple(entity_id for entity_id in named if entity_id)


def _used(_workspace_id: str, body: UseCapability) -> str:
    return body.token_id


def _used_above(body: UseCapability, _location: Location) -> tuple[str, ...]:
    return tuple(body.above)


def _new_token_id(_prefix: str) -> str:
    return ids.new_uuid()


def _action_of(workspace_id: str, body: RegisterAction | RecordDrill) -> str:
    return action_registry.action_id(workspace_id, body.action_type)


def _action(command: Command[Any], _events: Sequence[Event], view: View) -> Mapping[str, Any]:
    action = view.get(Action, command.entity_id)
    return {} if action is None else {"action_type": action.action_type, "undo_verified": action.undo_verified}


def _switches_of(workspace_id: str, _body: SetKillSwitch) -> str:
    return kill_switches.switches_id(workspace_id)


def _stopped(body: SetKillSwitch) -> tuple[Reference, ...]:
    """What a switch is engaged for must be there, or it stops nothing. Agents may act without being registered."""
    registered = body.scope == "room" or (body.scope == "agent" and (body.target or "").startswith(ids.AGENT))
    return ((body.scope, body.target),) if registered and body.action == "engage" and body.target else ()


async def _forced(reader: Reader, _location: Location, _body: Any) -> bool:
    return reader.external_write_stopped


def _switches(command: Command[Any], _events: Sequence[Event], view: View) -> Mapping[str, Any]:
    state = view.get(KillSwitches, command.entity_id)
    facts = () if state is None else state.facts
    told = [{"scope": switch.scope, "target": switch.target, "reason": switch.reason} for switch in facts]
    return {"engaged": bool(told) or command.loaded, "switches": told}


def _lets_go(body: SetKillSwitch, actor: Actor) -> bool:
    """Anybody may stop, as who it is; only people let go."""
    return body.action == "release" or actor.type == "user"


AGENTS: Final = (
    CommandType(
        name="agent.register",
        path="/v1/agents",
        body=agents.RegisterAgent,
        decide=agents.register,
        prefix=ids.AGENT,
        draw=ids.new_hex,
        answers="agent_id",
        extra=_registered,
    ),
    CommandType(
        name="agent.quarantine",
        path="/v1/agents/{agent_id}/quarantine",
        body=agents.QuarantineAgent,
        decide=agents.quarantine,
        parent="agent",
        answers="agent_id",
        load=_now,
        extra=_quarantine,
        status=200,
    ),
    CommandType(
        name="agent.unquarantine",
        path="/v1/agents/{agent_id}/unquarantine",
        body=agents.UnquarantineAgent,
        decide=agents.unquarantine,
        by_person=True,
        parent="agent",
        answers="agent_id",
        extra=_quarantine,
        status=200,
    ),
    CommandType(
        name="capability.grant",
        path="/v1/capabilities/grant",
        body=GrantCapability,
        decide=delegations.grant,
        prefix="",
        draw=_new_token_id,
        answers="token_id",
        reads=_concerned,
        load=_ancestry,
        extra=_token,
        kept=_without_token,
    ),
    CommandType(
        name="capability.collect",
        path="/v1/capabilities/{capability_id}/token",
        body=CollectToken,
        decide=capabilities.collect,
        parent="capability",
        unknown="token_not_found",
        load=_collecting,
        extra=_collected,
        kept=_without_token,
        status=200,
    ),
    CommandType(
        name="capability.use",
        path="",
        body=UseCapability,
        decide=capability_uses.use,
        entity=_used,
        reads=_used_above,
        internal=True,
        status=200,
    ),
    CommandType(
        name="action.register",
        path="/v1/action-registry",
        body=RegisterAction,
        decide=action_registry.register,
        entity=_action_of,
        extra=_action,
    ),
    CommandType(
        name="action.record_drill",
        path="/v1/action-registry/drills",
        body=RecordDrill,
        decide=action_registry.drill,
        entity=_action_of,
        extra=_action,
    ),
    CommandType(
        name="kill_switch.change",
        path="/v1/policy/kill-switch",
        body=SetKillSwitch,
        decide=kill_switches.change,
        by_person=_lets_go,
        entity=_switches_of,
        refs=_stopped,
        load=_forced,
        extra=_switches,
        status=200,
    ),
    CommandType(
        name="agent.auto_quarantine",
        path="",
        body=agents.AutoQuarantine,
        decide=agents.auto_quarantine,
        parent="agent",
        load=_now,
        status=200,
        internal=True,
    ),
    CommandType(
        name="constraint.activate",
        path="/v1/constraints/{constraint_id}/activate",
        body=constraints.ActivateConstraint,
        decide=constraints.activate,
        by_person=True,
        parent="constraint",
        status=200,
    ),
    CommandType(
        name="constraint.retire",
        path="/v1/constraints/{constraint_id}/retire",
        body=constraints.RetireConstraint,
        decide=constraints.retire,
        by_person=True,
        parent="constraint",
        status=200,
    ),
)
