"""Every kind of entity and every event type, in one visible list."""

from typing import Any, Final

from agentos_shared.domain import capabilities, engines, messages, principals, rooms, threads
from agentos_shared.domain.decider import Aggregate

#: By ``entity_type``.
AGGREGATES: Final[dict[str, Aggregate[Any]]] = {
    "room": Aggregate(rooms.Room, rooms.evolve),
    "thread": Aggregate(threads.Thread, threads.evolve),
    "message": Aggregate(messages.Message, messages.evolve, kept=False),
    "principal": Aggregate(principals.Principal, principals.evolve),
    "engine": Aggregate(engines.Engine, engines.evolve),
    "capability": Aggregate(capabilities.Capability, capabilities.evolve),
}

#: By ``event_type``: the ``entity_type`` that it belongs to.
EVENT_TYPES: Final[dict[str, str]] = {
    "room.created": "room",
    "thread.created": "thread",
    "message.created": "message",
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
