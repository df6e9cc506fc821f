"""What an engine's token proves and allows: the pure part of every check of engine credentials."""

from datetime import datetime
from typing import NamedTuple

from agentos_shared.domain.capabilities import EVERYTHING, Capability
from agentos_shared.domain.engines import DEFAULT_ACTIONS, Engine, Token
from agentos_shared.domain.envelope import Actor
from agentos_shared.domain.errors import Forbidden, Unauthorized


class VerifiedEngine(NamedTuple):
    """An engine whose token was checked, with what the token allows."""

    workspace_id: str
    engine_id: str
    actor: Actor
    token_id: str
    capability: Capability

    @property
    def rooms(self) -> frozenset[str] | None:
        """The rooms that it may work in; None: all."""
        listed = self.capability.scopes.get("rooms") or ()
        return None if EVERYTHING in listed else frozenset(listed)

    def require_room(self, room_id: str | None) -> None:
        """Raises Forbidden ``engine_room_scope_required`` or ``engine_room_not_allowed``.

        Args:
            room_id: the room that it acts in; None: any of its rooms will do.
        """
        rooms = self.rooms
        if rooms is None:
            return
        if not rooms:
            raise Forbidden("engine_room_scope_required", "This token covers no room; get one whose scopes name some.")
        if room_id is not None and room_id not in rooms:
            raise Forbidden("engine_room_not_allowed", "This token does not cover this room.")

    def require(self, action: str, room_id: str | None = None) -> None:
        """Raises Forbidden ``engine_action_not_allowed``, or as :meth:`require_room` for what is done in rooms."""
        if not self.capability.allows("action_types", action):
            raise Forbidden("engine_action_not_allowed", f"This token does not cover the action {action}.")
        if action in DEFAULT_ACTIONS:
            self.require_room(room_id)


def missing_token() -> Unauthorized:
    """401 for a request that needs an engine's credentials and has none, or half of them."""
    return Unauthorized(
        "missing_engine_token", "Send x-engine-id and x-engine-token, or engine_id and engine_token in the body."
    )


def checked(
    workspace_id: str,
    engine_id: str,
    engine: Engine | None,
    token: Token | None,
    capability: Capability | None,
    now: datetime,
) -> VerifiedEngine:
    """The engine that a token proves.

    Args:
        engine: state of ``engine_id``. token: which of its tokens was brought; None: none of them.
        capability: the token's.

    Raises:
        Unauthorized: ``engine_token_invalid``, ``engine_token_expired`` (revoked too), ``capability_token_expired``.
        Forbidden: ``engine_inactive``, ``capability_token_revoked``, ``capability_principal_mismatch``.
    """
    if engine is None or token is None or engine.workspace_id != workspace_id:
        raise Unauthorized("engine_token_invalid", "These engine credentials are not valid in this workspace.")
    if not engine.active:
        raise Forbidden("engine_inactive", "This engine is deactivated; register it again.")
    if token.revoked or _past(token.valid_until, now):
        raise Unauthorized("engine_token_expired", "This engine token is revoked or no longer valid; get a new one.")
    if capability is None or capability.revoked:
        raise Forbidden("capability_token_revoked", "What this engine token allowed was taken back; get a new one.")
    if _past(capability.valid_until, now):
        raise Unauthorized("capability_token_expired", "What this engine token allowed has ended; get a new one.")
    if capability.principal_id != engine.actor.principal_id:
        raise Forbidden("capability_principal_mismatch", "This token's capability was issued to another principal.")
    return VerifiedEngine(workspace_id, engine_id, engine.actor, token.token_id, capability)


def _past(until: datetime | None, now: datetime) -> bool:
    return until is not None and until <= now
