"""Commands of agents and of what binds them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from agentos_api.append.locator import Location
from agentos_api.command_type import CommandType, Reader
from agentos_shared.domain import agents, ids
from agentos_shared.domain.agents import Agent
from agentos_shared.domain.decider import Command, View
from agentos_shared.domain.envelope import Event, timestamp
from agentos_shared.host.lifecycle import CLOCK


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
        parent="agent",
        answers="agent_id",
        extra=_quarantine,
        status=200,
    ),
)
