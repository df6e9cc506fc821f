"""Granting capabilities, and handing on what one was granted: never more than that, and not for ever."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pydantic import Field

from agentos_shared.domain.capabilities import (
    Capability,
    Instant,
    Scopes,
    covers,
    covers_domain,
    granted,
    moment,
    refuse_engines,
)
from agentos_shared.domain.capability_checks import VerifiedCapability
from agentos_shared.domain.decider import Command, CommandBody, View, expect_version
from agentos_shared.domain.envelope import ZONES, NewEvent, Stream, Zone, timestamp
from agentos_shared.domain.errors import DomainError, Forbidden, Invalid, NotFound
from agentos_shared.domain.principals import Principal

#: How many times a capability may be handed on.
MAX_DEPTH: Final = 5

_LISTS: Final = ("action_types", "tools", "egress_domains")
_ACCESS: Final = ("read", "write")


class GrantCapability(CommandBody):
    """Grants a capability to a principal. With ``parent_token_id`` its holder hands that one on: what is granted then
    covers what both the wish and the parent cover, and lasts no longer than the parent does.
    """

    issued_to_principal_id: str | None = Field(None, max_length=64)
    granted_by_principal_id: str | None = Field(None, max_length=64)
    parent_token_id: str | None = Field(None, max_length=64)
    scopes: Scopes | None = None
    valid_until: Instant | None = None


@dataclass(frozen=True, slots=True)
class Ancestry:
    """What is read for a grant before it is decided.

    Args:
        now: the time.
        ended: whether the parent, or one that it was handed on from, was taken back.
    """

    now: datetime
    ended: bool = False


def grant(command: Command[GrantCapability], view: View) -> list[NewEvent]:
    """``agent.capability.granted``.

    Raises:
        Invalid: ``issued_to_principal_id_required``, ``granted_by_principal_id_required``,
            ``issued_to_principal_not_found``, ``granted_by_principal_not_found``, ``parent_token_revoked``,
            ``parent_token_expired``, ``delegation_depth_exceeded``, ``scopes_outside_parent``.
        NotFound: ``parent_token_not_found``.
        Forbidden: ``parent_token_grantor_mismatch``, ``engine_action_not_allowed``, ``agent_action_not_allowed``,
            ``capability_scope_not_own``, ``capability_token_narrowed``, ``holder_must_not_be_user``.
    """
    body, meta = command.body, command.meta
    issued_to, granted_by = body.issued_to_principal_id, body.granted_by_principal_id
    if not issued_to:
        raise Invalid("issued_to_principal_id_required", "issued_to_principal_id is required: who gets it.")
    if not granted_by:
        raise Invalid("granted_by_principal_id_required", "granted_by_principal_id is required: who grants it.")
    refuse_engines(meta)
    if meta.capability is not None:
        _hands_on_its_own(meta.capability, body)
    expect_version(command, view)
    for name, principal_id in (("issued_to_principal", issued_to), ("granted_by_principal", granted_by)):
        principal = view.get(Principal, principal_id)
        if principal is None or principal.workspace_id != meta.workspace_id:
            raise Invalid(f"{name}_not_found", f"{name}_id names no principal on record in this workspace.")
    if meta.actor.type == "agent" and granted_by != meta.actor.principal_id:
        raise Forbidden("agent_action_not_allowed", "Agents may hand on what is their own, and nothing else.")
    if meta.actor.type == "agent" and body.parent_token_id is None:
        raise Forbidden("agent_action_not_allowed", "Agents may hand on a capability, not make one: parent_token_id.")
    holder = view.get(Principal, issued_to)
    if meta.actor.type != "user" and holder is not None and holder.actor_type == "user":
        raise Forbidden(
            "holder_must_not_be_user", "Only people grant to people: whoever has the token acts as its holder."
        )
    wanted = body.scopes.given() if body.scopes else {}
    if body.parent_token_id is None:
        scopes = _without_empty(wanted)
        return [granted(meta, command.entity_id, issued_to, scopes, body.valid_until, granted_by=granted_by)]
    parent = _parent(command, view, granted_by)
    scopes = narrowed(wanted, parent.scopes)
    if parent.scopes.get("rooms") and not scopes.get("rooms"):
        raise Invalid("scopes_outside_parent", "scopes.rooms: none of them is one of the parent's rooms.")
    until = _earlier(body.valid_until, parent.valid_until)
    return [
        granted(
            meta,
            command.entity_id,
            issued_to,
            scopes,
            until,
            granted_by=granted_by,
            parent_token_id=body.parent_token_id,
            depth=parent.depth + 1,
        )
    ]


def _hands_on_its_own(held: VerifiedCapability, body: GrantCapability) -> None:
    held.require_own(body.parent_token_id)
    if held.narrowed:  # what its blocks took away is in the token, and not in the capability
        raise Forbidden(
            "capability_token_narrowed",
            "A token that was narrowed is handed on by narrowing it further, not by a grant.",
        )


def narrowed(wanted: Mapping[str, Any], parent: Mapping[str, Any]) -> dict[str, Any]:
    """What both of two scopes cover. No list of it is wider than the parent's, and none is empty.

    Rooms are the one list that means every room where it is missing; any other then covers nothing.
    """
    rooms, own = wanted.get("rooms") or (), parent.get("rooms") or ()
    scopes: dict[str, Any] = {"rooms": _both(rooms, own, covers) if rooms and own else [*(rooms or own)]}
    for name in _LISTS:
        fits = covers_domain if name == "egress_domains" else covers
        scopes[name] = _both(wanted.get(name) or (), parent.get(name) or (), fits)
    ask, have = wanted.get("data_access") or {}, parent.get("data_access") or {}
    scopes["data_access"] = {kind: _both(ask.get(kind) or (), have.get(kind) or (), covers) for kind in _ACCESS}
    scopes["zone_max"] = lowest(wanted.get("zone_max"), parent.get("zone_max"))
    uses = [uses for uses in (wanted.get("max_uses"), parent.get("max_uses")) if uses is not None]
    scopes["max_uses"] = min(uses, default=None)
    return _without_empty(scopes)


def lowest(*zones: Zone | None) -> Zone | None:
    """The zone with the loosest rules among those that are given; None when none is."""
    return min((zone for zone in zones if zone), key=ZONES.index, default=None)


def _both(wanted: Sequence[str], parent: Sequence[str], fits: Callable[[str, str], bool]) -> list[str]:
    """The names of either list that the other one covers, each once."""
    kept = [name for name in wanted if any(fits(wide, name) for wide in parent)]
    kept += [name for name in parent if any(fits(wide, name) for wide in wanted)]
    return list(dict.fromkeys(kept))


def _without_empty(scopes: Mapping[str, Any]) -> dict[str, Any]:
    """Scopes without lists that are empty: a missing one means the same."""
    kept = {name: _without_empty(value) if isinstance(value, Mapping) else value for name, value in scopes.items()}
    return {name: value for name, value in kept.items() if value}


def _earlier(wanted: str | None, parent: datetime | None) -> str | None:
    if parent is None:
        return wanted
    return timestamp(parent if wanted is None else min(moment(wanted), parent))


def _parent(command: Command[GrantCapability], view: View, granted_by: str) -> Capability:
    """The capability that is handed on. Some refusals go on record: somebody tried to get more than they have."""
    body, ancestry = command.body, command.loaded
    parent = view.get(Capability, body.parent_token_id or "")
    if parent is None or parent.workspace_id != command.meta.workspace_id:
        raise _attempted(
            command, NotFound("parent_token_not_found", "There is no such capability in this workspace."), 1
        )
    depth = parent.depth + 1
    if parent.principal_id != granted_by:
        mismatch = Forbidden("parent_token_grantor_mismatch", "Only the principal that holds a capability hands it on.")
        raise _attempted(command, mismatch, depth)
    if parent.revoked or ancestry.ended:
        raise Invalid("parent_token_revoked", "This capability, or one that it was handed on from, was taken back.")
    if parent.valid_until is not None and parent.valid_until <= ancestry.now:
        raise Invalid("parent_token_expired", "This capability has expired.")
    if depth > MAX_DEPTH:
        deep = Invalid("delegation_depth_exceeded", f"A capability may be handed on {MAX_DEPTH} times, not more.")
        raise _attempted(command, deep, depth)
    return parent


def _attempted(command: Command[GrantCapability], refusal: DomainError, depth: int) -> DomainError:
    """The refusal, with ``agent.delegation.attempted`` to go on record."""
    body, meta = command.body, command.meta
    refusal.recorded = [
        NewEvent(
            event_type="agent.delegation.attempted",
            stream=Stream("workspace", meta.workspace_id),
            workspace_id=meta.workspace_id,
            entity_type="delegation",
            entity_id=command.entity_id,
            actor=meta.actor,
            correlation_id=meta.correlation_id,
            idempotency_key=meta.idempotency_key,
            data={
                "token_id": None,
                "issued_to_principal_id": body.issued_to_principal_id,
                "granted_by_principal_id": body.granted_by_principal_id,
                "parent_token_id": body.parent_token_id,
                "scopes": body.scopes.given() if body.scopes else {},
                "valid_until": body.valid_until,
                "denied_reason": refusal.code,
                "depth": depth,
                "max_depth": MAX_DEPTH,
            },
        )
    ]
    return refusal
