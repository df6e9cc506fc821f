"""Every kind of entity and every event type, in one visible list."""

from typing import Any, Final

from agentos_shared.domain import (
    artifacts,
    capabilities,
    engines,
    messages,
    principals,
    rooms,
    runs,
    steps,
    threads,
    tool_calls,
)
from agentos_shared.domain.decider import Aggregate

#: By ``entity_type``.
AGGREGATES: Final[dict[str, Aggregate[Any]]] = {
    "room": Aggregate(rooms.Room, rooms.evolve),
    "thread": Aggregate(threads.Thread, threads.evolve),
    "message": Aggregate(messages.Message, messages.evolve, kept=False),
    "run": Aggregate(runs.Run, runs.evolve),
    "step": Aggregate(steps.Step, steps.evolve),
    "tool_call": Aggregate(tool_calls.ToolCall, tool_calls.evolve),
    "artifact": Aggregate(artifacts.Artifact, artifacts.evolve, kept=False),
    "principal": Aggregate(principals.Principal, principals.evolve),
    "engine": Aggregate(engines.Engine, engines.evolve),
    "capability": Aggregate(capabilities.Capability, capabilities.evolve),
}

#: By ``event_type``: the ``entity_type`` that it belongs to.
EVENT_TYPES: Final[dict[str, str]] = {
    "room.created": "room",
    "thread.created": "thread",
    "message.created": "message",
    "run.created": "run",
    "run.claimed": "run",
    "run.started": "run",
    "run.lease_released": "run",
    "run.lease_expired": "run",
    "run.completed": "run",
    "run.failed": "run",
    "run.cancelled": "run",
    "step.created": "step",
    "step.completed": "step",
    "step.failed": "step",
    "tool.invoked": "tool_call",
    "tool.succeeded": "tool_call",
    "tool.failed": "tool_call",
    "artifact.created": "artifact",
    "principal.registered": "principal",
    "engine.registered": "engine",
    "engine.token.issued": "engine",
    "engine.token.revoked": "engine",
    "engine.deactivated": "engine",
    "agent.capability.granted": "capability",
    "agent.capability.revoked": "capability",
    "event.redacted": "event",
    "secret.leaked.detected": "event",
}
