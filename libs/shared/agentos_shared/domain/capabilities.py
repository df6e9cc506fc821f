"""Capabilities: what a principal was allowed, by whom, within which bounds, until when."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from agentos_shared.domain.decider import Command, CommandBody, Meta, View, expect_version
from agentos_shared.domain.envelope import Event, NewEvent, Stream, Zone, timestamp
from agentos_shared.domain.errors import Conflict, Forbidden, Invalid, NotFound

EVERYTHING = "*"

ScopeNames = Annotated[list[Annotated[str, Field(min_length=1, max_length=200)]], Field(max_length=200)]


def moment(text: str) -> datetime:
    """A point in time from RFC 3339 text; without an offset it is UTC. Raises ValueError."""
    parsed = datetime.fromisoformat(text.strip())
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).astimezone(UTC)


def _as_timestamp(text: str) -> str:
    try:
        return timestamp(moment(text))
    except OverflowError:
        raise ValueError("a time that no calendar here has") from None


#: RFC 3339 text, brought to UTC with milliseconds.
Instant = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_as_timestamp)]


class DataAccess(BaseModel):
    """Labels of the data that may be read and written."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    read: ScopeNames | None = None
    write: ScopeNames | None = None


class Scopes(BaseModel):
    """What a capability covers. ``*`` stands for all; an empty list for nothing. ``zone_max`` is the highest zone
    that it may be used in, ``max_uses`` how many commands it is good for, whoever sends them.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    rooms: ScopeNames | None = None
    action_types: ScopeNames | None = None
    tools: ScopeNames | None = None
    egress_domains: ScopeNames | None = None
    data_access: DataAccess | None = None
    zone_max: Zone | None = None
    max_uses: int | None = Field(None, ge=1, le=1_000_000_000)

    def given(self) -> dict[str, Any]:
        """What was given."""
        return self.model_dump(exclude_none=True)


class RevokeCapability(CommandBody):
    """Takes a capability back, at once and for good."""

    token_id: str | None = Field(None, max_length=64)
    reason: str | None = Field(None, max_length=4000)


class CollectToken(CommandBody):
    """Collects the bearer token of a capability: whom it was granted to may, and people. Each time is on record."""


@dataclass(frozen=True, slots=True)
class Capability:
    """What decisions and checks read of a capability.

    Args:
        parent_token_id: the capability that it was delegated from: when that one ends, so does this.
        depth: how many times it was delegated; 0: not at all.
        used: its uses so far, where they are counted. block_uses: those of a token that its holder narrowed, by the
            revocation id of the block that limits them.
    """

    workspace_id: str
    principal_id: str
    scopes: Mapping[str, Any]
    valid_until: datetime | None
    revoked: bool = False
    parent_token_id: str | None = None
    depth: int = 0
    used: int = 0
    block_uses: Mapping[str, int] = field(default_factory=dict)

    def allows(self, scope: str, name: str) -> bool:
        """Whether a list of the scopes holds this name, or all."""
        listed: Sequence[str] = self.scopes.get(scope) or ()
        return name in listed or EVERYTHING in listed


def covers(wide: str, name: str) -> bool:
    """Whether one name of a list covers another."""
    return wide in (EVERYTHING, name)


def covers_domain(wide: str, name: str) -> bool:
    """Whether one egress domain covers another: ``*.example.org`` does example.org, what is under it, and patterns for
    these.
    """
    wide, name = wide.lower(), name.lower()
    if wide.startswith("*."):
        bare = name.removeprefix("*.")
        return bare == wide[2:] or bare.endswith(wide[1:])
    return covers(wide, name)


def refuse_engines(meta: Meta) -> None:
    """Raises Forbidden ``engine_action_not_allowed``: an engine that issues tokens could give itself any scope."""
    if meta.engine is not None:
        raise Forbidden("engine_action_not_allowed", "Engines may not administer engines or capabilities.")


def granted(
    meta: Meta,
    capability_id: str,
    principal_id: str,
    scopes: Mapping[str, Any],
    valid_until: str | None,
    *,
    granted_by: str | None = None,
    parent_token_id: str | None = None,
    depth: int = 0,
) -> NewEvent:
    """``agent.capability.granted``: a new capability.

    Args:
        capability_id: a new UUID.
        granted_by: the principal that grants it; None: whoever acts.
        parent_token_id, depth: as of :class:`Capability`.
    """
    return NewEvent(
        event_type="agent.capability.granted",
        stream=Stream("workspace", meta.workspace_id),
        workspace_id=meta.workspace_id,
        entity_type="capability",
        entity_id=capability_id,
        actor=meta.actor,
        correlation_id=meta.correlation_id,
        idempotency_key=meta.idempotency_key,
        data={
            "token_id": capability_id,
            "issued_to_principal_id": principal_id,
            "granted_by_principal_id": granted_by or meta.actor.principal_id,
            "parent_token_id": parent_token_id,
            "scopes": dict(scopes),
            "valid_until": valid_until,
            "depth": depth,
        },
    )


def revoke(command: Command[RevokeCapability], view: View) -> list[NewEvent]:
    """``agent.capability.revoked``, or nothing when it is revoked already.

    Raises:
        Invalid: ``token_id_required``. NotFound: ``token_not_found``. Forbidden: ``engine_action_not_allowed``,
            ``capability_scope_not_own``.
    """
    body, meta = command.body, command.meta
    if not body.token_id:
        raise Invalid("token_id_required", "token_id is required: the capability to take back.")
    capability = view.get(Capability, body.token_id)
    if capability is None or capability.workspace_id != meta.workspace_id:
        raise NotFound("token_not_found", "There is no such capability in this workspace.")
    refuse_engines(meta)
    if meta.capability is not None:
        meta.capability.require_own(body.token_id)
    expect_version(command, view)
    if capability.revoked:
        return []
    return [
        NewEvent(
            event_type="agent.capability.revoked",
            stream=Stream("workspace", meta.workspace_id),
            workspace_id=meta.workspace_id,
            entity_type="capability",
            entity_id=body.token_id,
            actor=meta.actor,
            correlation_id=meta.correlation_id,
            idempotency_key=meta.idempotency_key,
            data={
                "token_id": body.token_id,
                "issued_to_principal_id": capability.principal_id,
                "reason": body.reason,
            },
        )
    ]


def collect(command: Command[CollectToken], view: View) -> list[NewEvent]:
    """``agent.capability.collected``. ``command.loaded.ended`` says whether it, or one above it, was taken back.

    Raises:
        NotFound: ``token_not_found``. Forbidden: ``engine_action_not_allowed``, ``capability_of_another``.
        Conflict: ``capability_token_revoked``, ``capability_token_expired``.
    """
    meta = command.meta
    capability = view.get(Capability, command.entity_id)
    if capability is None or capability.workspace_id != meta.workspace_id:
        raise NotFound("token_not_found", "There is no such capability in this workspace.")
    if meta.actor.type != "user" and meta.actor.principal_id != capability.principal_id:
        raise Forbidden("capability_of_another", "Its token is for whom it was granted to, and for people.")
    refuse_engines(meta)
    expect_version(command, view)
    if capability.revoked or command.loaded.ended:
        raise Conflict("capability_token_revoked", "This capability, or one that it came from, was taken back.")
    if capability.valid_until is not None and capability.valid_until <= view.now:
        raise Conflict("capability_token_expired", "This capability has expired.")
    return [
        NewEvent(
            event_type="agent.capability.collected",
            stream=Stream("workspace", meta.workspace_id),
            workspace_id=meta.workspace_id,
            entity_type="capability",
            entity_id=command.entity_id,
            actor=meta.actor,
            correlation_id=meta.correlation_id,
            idempotency_key=meta.idempotency_key,
            data={"token_id": command.entity_id, "issued_to_principal_id": capability.principal_id},
        )
    ]


def evolve(state: Capability | None, event: Event) -> Capability | None:
    """Fold one event of a capability."""
    if event.event_type == "agent.capability.granted":
        data = event.data
        until = data["valid_until"]
        return Capability(
            event.workspace_id,
            data["issued_to_principal_id"],
            data["scopes"],
            None if until is None else moment(until),
            parent_token_id=data["parent_token_id"],
            depth=data.get("depth", 0),
        )
    if event.event_type == "agent.capability.used" and state is not None:
        counted = {block: state.block_uses.get(block, 0) + 1 for block in event.data["blocks"]}
        return replace(state, used=event.data["used"], block_uses={**state.block_uses, **counted})
    if event.event_type == "agent.capability.revoked" and state is not None:
        return replace(state, revoked=True)
    return state
