"""Principals: who an actor is, under one stable UUID."""

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import ClassVar
from uuid import UUID, uuid5

from pydantic import Field

from agentos_shared.domain.decider import Command, CommandBody, Meta, View, expect_version
from agentos_shared.domain.envelope import Actor, ActorType, Event, NewEvent, Stream
from agentos_shared.domain.errors import Forbidden, Invalid

_NAMESPACE = UUID("6f1d2f0e-5d0c-5e7a-9c1b-9f6c0a7d3b42")


@lru_cache(maxsize=10_000)
def actor(workspace_id: str, actor_type: ActorType, actor_id: str) -> Actor:
    """An actor with the principal that stands for it in a workspace (UUIDv5, the same in every process, for ever)."""
    return Actor(actor_type, actor_id, str(uuid5(_NAMESPACE, f"{workspace_id}\n{actor_type}\n{actor_id}")))


class EnsurePrincipal(CommandBody):
    """Puts an actor's principal on record, once. ``actor_type`` and ``actor_id`` are required, and name that actor."""

    names_subject: ClassVar[bool] = True

    actor_id: str | None = Field(None, max_length=200)


@dataclass(frozen=True, slots=True)
class Principal:
    """What decisions and answers read of a principal."""

    workspace_id: str
    actor_type: ActorType
    actor_id: str
    created_at: datetime


def principal_id(workspace_id: str, body: EnsurePrincipal) -> str:
    """The principal that a body asks for, whether or not it is one that :func:`ensure` takes."""
    return actor(workspace_id, body.actor_type or "user", body.actor_id or "").principal_id


def ensure(command: Command[EnsurePrincipal], view: View) -> list[NewEvent]:
    """``principal.registered``, or nothing when it is registered already.

    Raises:
        Invalid: ``invalid_actor_type``, ``invalid_actor_id``. Forbidden: ``principal_type_not_allowed``.
    """
    body, meta = command.body, command.meta
    if body.actor_type is None:
        raise Invalid("invalid_actor_type", "actor_type must be user, service or agent.")
    if not body.actor_id:
        raise Invalid("invalid_actor_id", "actor_id is required: text of 1 to 200 characters.")
    if body.actor_type == "user" and (meta.engine or meta.capability) is not None and meta.actor.type != "user":
        raise Forbidden("principal_type_not_allowed", "Only people put people on record; engines and agents do not.")
    expect_version(command, view)
    subject = actor(meta.workspace_id, body.actor_type, body.actor_id)
    return registered(meta, subject, view)


def registered(meta: Meta, subject: Actor, view: View) -> list[NewEvent]:
    """``principal.registered`` for an actor whose principal is not on record yet; the view must know of it."""
    if view.get(Principal, subject.principal_id) is not None:
        return []
    return [
        NewEvent(
            event_type="principal.registered",
            stream=Stream("workspace", meta.workspace_id),
            workspace_id=meta.workspace_id,
            entity_type="principal",
            entity_id=subject.principal_id,
            actor=meta.actor,
            correlation_id=meta.correlation_id,
            idempotency_key=meta.idempotency_key,
            data={
                "principal_id": subject.principal_id,
                "principal_type": subject.type,
                "legacy_actor_type": subject.type,
                "legacy_actor_id": subject.id,
            },
        )
    ]


def evolve(state: Principal | None, event: Event) -> Principal | None:
    """Fold one event of a principal."""
    if event.event_type == "principal.registered":
        data = event.data
        return Principal(event.workspace_id, data["legacy_actor_type"], data["legacy_actor_id"], event.recorded_at)
    return state
