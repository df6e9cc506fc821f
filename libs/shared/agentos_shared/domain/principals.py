"""Principals: who an actor is, under one stable UUID."""

from functools import lru_cache
from uuid import UUID, uuid5

from agentos_shared.domain.envelope import Actor, ActorType

_NAMESPACE = UUID("6f1d2f0e-5d0c-5e7a-9c1b-9f6c0a7d3b42")


@lru_cache(maxsize=10_000)
def actor(workspace_id: str, actor_type: ActorType, actor_id: str) -> Actor:
    """An actor with the principal that stands for it in a workspace (UUIDv5, the same in every process, for ever)."""
    return Actor(actor_type, actor_id, str(uuid5(_NAMESPACE, f"{workspace_id}\n{actor_type}\n{actor_id}")))
