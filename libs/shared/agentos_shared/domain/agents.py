"""Agents: registered programs that act under a principal of their own, and may be put into quarantine.

An agent in quarantine may read and nothing else. Only a person or a service lets it out again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from pydantic import Field

from agentos_shared.domain import principals
from agentos_shared.domain.capabilities import moment, refuse_engines
from agentos_shared.domain.decider import Command, CommandBody, Decide, Meta, View, expect_version
from agentos_shared.domain.envelope import Event, NewEvent, Stream, timestamp
from agentos_shared.domain.errors import Forbidden, Invalid, NotFound
from agentos_shared.domain.policy.facts import AgentFact

MANUAL_REASON: Final = "manual_quarantine"


class RegisterAgent(CommandBody):
    """Registers an agent: it gets an id, and a principal of the type agent for that id."""

    display_name: str | None = Field(None, max_length=200)


class QuarantineAgent(CommandBody):
    """Puts an agent into quarantine: from the answer on it may read and nothing else."""

    quarantine_reason: str | None = Field(None, min_length=1, max_length=4000)


class UnquarantineAgent(CommandBody):
    """Lets an agent out of quarantine."""


class AutoQuarantine(CommandBody):
    """Puts an agent into quarantine that went on asking for what it may not."""

    reason_code: str = Field(min_length=1, max_length=200)


@dataclass(frozen=True, slots=True)
class Agent:
    """What decisions and answers read of an agent."""

    agent_id: str
    workspace_id: str
    principal_id: str
    display_name: str
    created_at: datetime
    quarantined_at: datetime | None = None
    quarantine_reason: str | None = None

    @property
    def fact(self) -> AgentFact:
        """The agent as the gate sees it."""
        return AgentFact(self.agent_id, self.principal_id, self.quarantined_at is not None, self.quarantine_reason)


def refuse_agents(meta: Meta) -> None:
    """Raises Forbidden ``agent_action_not_allowed``: an agent that may change what binds it is not bound."""
    if meta.actor.type == "agent":
        raise Forbidden("agent_action_not_allowed", "Agents may not do this; a person or a service must.")


def unless_quarantined(decide: Decide) -> Decide:
    """A decider that refuses what an agent in quarantine asks for: 403 ``agent_quarantined``."""

    def guarded(command: Command[Any], view: View) -> Sequence[NewEvent]:
        agent = view.get(Agent, command.meta.actor.id)
        if agent is not None and agent.quarantined_at is not None:
            raise Forbidden("agent_quarantined", "This agent is in quarantine: it may read and nothing else.")
        return decide(command, view)

    return guarded


def register(command: Command[RegisterAgent], view: View) -> list[NewEvent]:
    """``agent.registered``, after ``principal.registered`` of its principal.

    Raises:
        Invalid: ``invalid_display_name``. Forbidden: ``engine_action_not_allowed``, ``agent_action_not_allowed``.
    """
    body, meta = command.body, command.meta
    name = (body.display_name or "").strip()
    if not name:
        raise Invalid("invalid_display_name", "display_name is required: text of 1 to 200 characters.")
    refuse_engines(meta)
    refuse_agents(meta)
    expect_version(command, view)
    subject = principals.actor(meta.workspace_id, "agent", command.entity_id)
    data = {"agent_id": command.entity_id, "principal_id": subject.principal_id, "display_name": name}
    return [
        *principals.registered(meta, subject, view),
        _event(meta, command.entity_id, "agent.registered", data),
    ]


def quarantine(command: Command[QuarantineAgent], view: View) -> list[NewEvent]:
    """``agent.quarantined``, or nothing when it is in quarantine already. The time is ``command.loaded``.

    Raises:
        NotFound: ``agent_not_found``. Forbidden: ``engine_action_not_allowed``.
    """
    agent = _agent(command, view)
    refuse_engines(command.meta)
    expect_version(command, view)
    if agent.quarantined_at is not None:
        return []
    reason = command.body.quarantine_reason or MANUAL_REASON
    return [quarantined(command.meta, agent, reason, command.loaded, mode="manual")]


def auto_quarantine(command: Command[AutoQuarantine], view: View) -> list[NewEvent]:
    """As :func:`quarantine`, for refusals that an agent repeated."""
    agent = _agent(command, view)
    if agent.quarantined_at is not None:
        return []
    reason = f"auto_repeated_{command.body.reason_code}"
    return [quarantined(command.meta, agent, reason, command.loaded, mode="auto")]


def quarantined(meta: Meta, agent: Agent, reason: str, at: datetime, *, mode: str) -> NewEvent:
    """``agent.quarantined``.

    Args:
        mode: ``manual``, or ``auto`` where repeated refusals brought it about.
    """
    data = {
        "agent_id": agent.agent_id,
        "principal_id": agent.principal_id,
        "quarantined_at": timestamp(at),
        "quarantine_reason": reason,
        "mode": mode,
    }
    return _event(meta, agent.agent_id, "agent.quarantined", data)


def unquarantine(command: Command[UnquarantineAgent], view: View) -> list[NewEvent]:
    """``agent.unquarantined``, or nothing when it is not in quarantine.

    Raises:
        NotFound: ``agent_not_found``. Forbidden: ``engine_action_not_allowed``, ``agent_action_not_allowed``.
    """
    agent = _agent(command, view)
    refuse_engines(command.meta)
    refuse_agents(command.meta)
    expect_version(command, view)
    if agent.quarantined_at is None:
        return []
    data = {
        "agent_id": agent.agent_id,
        "principal_id": agent.principal_id,
        "previous_quarantined_at": timestamp(agent.quarantined_at),
        "previous_quarantine_reason": agent.quarantine_reason,
    }
    return [_event(command.meta, agent.agent_id, "agent.unquarantined", data)]


def evolve(state: Agent | None, event: Event) -> Agent | None:
    """Fold one event of an agent."""
    data = event.data
    match event.event_type:
        case "agent.registered":
            principal_id, name = data["principal_id"], data["display_name"]
            return Agent(event.entity_id, event.workspace_id, principal_id, name, event.recorded_at)
        case "agent.quarantined" if state is not None:
            since = moment(data["quarantined_at"])
            return replace(state, quarantined_at=since, quarantine_reason=data["quarantine_reason"])
        case "agent.unquarantined" if state is not None:
            return replace(state, quarantined_at=None, quarantine_reason=None)
    return state


def _agent(command: Command[Any], view: View) -> Agent:
    agent = view.get(Agent, command.entity_id)
    if agent is None:
        raise NotFound("agent_not_found", "There is no such agent in this workspace.")
    return agent


def _event(meta: Meta, agent_id: str, event_type: str, data: Mapping[str, Any]) -> NewEvent:
    return NewEvent(
        event_type=event_type,
        stream=Stream("workspace", meta.workspace_id),
        workspace_id=meta.workspace_id,
        entity_type="agent",
        entity_id=agent_id,
        actor=meta.actor,
        correlation_id=meta.correlation_id,
        idempotency_key=meta.idempotency_key,
        data=data,
    )
