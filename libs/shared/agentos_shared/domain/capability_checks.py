"""What a capability token allows its holder: the pure part of every check of such a token."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from agentos_shared.domain.capabilities import Capability
from agentos_shared.domain.decider import Command, Decide, View
from agentos_shared.domain.envelope import Actor, NewEvent, Zone
from agentos_shared.domain.errors import Forbidden, Unauthorized
from agentos_shared.domain.token_bounds import Bounds

#: Asking does nothing yet, so that no token need name it.
ASKING: Final = frozenset({"approval.create", "policy.evaluate"})
#: Whoever could do these would get credentials that reach further than the token; none covers them, ``*`` neither.
ADMINISTRATION: Final = frozenset(
    {"engine.register", "engine.issue_token", "engine.revoke_token", "engine.deactivate", "capability.collect"}
)
#: What a holder does about the token itself.
_OWN: Final = frozenset({"capability.grant", "capability.revoke"})


class VerifiedCapability(NamedTuple):
    """A capability token that was checked.

    Args:
        actor: whom it was granted to, who is whoever brings it.
        bounds: what is left after all of its blocks.
        narrowed: how many blocks its holders appended.
        uses: of each of these that limits them its revocation id, and how many it allows.
        ancestry: the capability and those that it was handed on from, nearest first.
    """

    workspace_id: str
    token_id: str
    actor: Actor
    bounds: Bounds
    narrowed: int = 0
    uses: tuple[tuple[str, int], ...] = ()
    ancestry: tuple[tuple[str, Capability], ...] = ()

    def require_room(self, room_id: str | None) -> None:
        """Raises Forbidden ``capability_scope_room_required`` or ``capability_scope_room_not_allowed``.

        Args:
            room_id: None: the workspace itself.
        """
        if self.bounds.allows_room(room_id):
            return
        if room_id is None:
            raise Forbidden(
                "capability_scope_room_required", "This token covers some rooms only, and this is of none of them."
            )
        raise Forbidden("capability_scope_room_not_allowed", "This token does not cover this room.")

    def require_command(self, name: str, room_id: str | None) -> None:
        """Raises Forbidden ``capability_scope_action_not_allowed``, or as :meth:`require_room`.

        Args:
            name: ``noun.verb``, which the token's action types must cover.
        """
        if name in ASKING or name in _OWN:
            if room_id is not None:
                self.require_room(room_id)
        else:
            self.require_room(room_id)
        if name in ADMINISTRATION or not (name in ASKING or self.bounds.allows_action(name)):
            raise Forbidden("capability_scope_action_not_allowed", f"This token does not cover {name}.")

    def require_own(self, token_id: str | None) -> None:
        """Raises Forbidden ``capability_scope_not_own``: a holder hands on, or gives back, the token it shows."""
        if token_id != self.token_id:
            raise Forbidden("capability_scope_not_own", "With a token only that token is handed on or given back.")

    def require_zone(self, zone: Zone) -> None:
        """Raises Forbidden ``capability_scope_zone_exceeded``."""
        if not self.bounds.allows_zone(zone):
            raise Forbidden(
                "capability_scope_zone_exceeded",
                f"This token may be used up to the zone {self.bounds.zone_max}, and this is {zone}.",
            )


def within_zone(decide: Decide, capability: VerifiedCapability) -> Decide:
    """A decider that refuses what would happen in a room or run of a higher zone than the token reaches."""

    def bounded(command: Command[Any], view: View) -> Sequence[NewEvent]:
        events = decide(command, view)
        for event in events:
            if event.room_id is not None:
                capability.require_zone(event.zone)
        return events

    return bounded


def unless_revoked(decide: Decide, capability: VerifiedCapability) -> Decide:
    """A decider that refuses what a token does which, or one that it came from, was taken back meanwhile."""

    def standing(command: Command[Any], view: View) -> Sequence[NewEvent]:
        for token_id, _ in capability.ancestry:
            known = view.get(Capability, token_id)
            if known is None or known.revoked:
                raise _taken_back()
        return decide(command, view)

    return standing


def checked(
    workspace_id: str,
    actor: Actor,
    bounds: Bounds,
    ancestry: Sequence[tuple[str, Capability | None]],
    engine_token_ended: bool,
    now: datetime,
) -> tuple[tuple[str, Capability], ...]:
    """The capability of a token and those above it, each as it stands.

    Args:
        ancestry: nearest first; the last one was not handed on, or is not known.
        engine_token_ended: whether the last is an engine token's, and that was revoked.

    Raises:
        Unauthorized: ``capability_token_not_found``, ``capability_token_expired``.
        Forbidden: ``capability_token_revoked``, ``capability_principal_mismatch``.
    """
    found: list[tuple[str, Capability]] = []
    for place, (token_id, capability) in enumerate(ancestry):
        if capability is None or capability.workspace_id != workspace_id:
            raise Unauthorized("capability_token_not_found", "There is no such capability in this workspace.")
        if capability.revoked or engine_token_ended:
            raise _taken_back()
        if place == 0 and capability.principal_id != actor.principal_id:
            raise Forbidden("capability_principal_mismatch", "This capability was issued to another principal.")
        if capability.valid_until is not None and capability.valid_until <= now:
            raise Unauthorized("capability_token_expired", "This capability has expired.")
        found.append((token_id, capability))
    if bounds.valid_until is not None and bounds.valid_until <= now:
        raise Unauthorized("capability_token_expired", "This token has expired.")
    return tuple(found)


def _taken_back() -> Forbidden:
    return Forbidden("capability_token_revoked", "This capability, or one that it came from, was taken back.")
