"""Engines: registered programs that claim runs, and their tokens."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from agentos.aio.connection import Connection
from agentos.aio.listing import AsyncListing
from agentos.models import Engine, EngineDeactivated, EngineRegistered, EngineToken, Written


class Engines:
    """The registry of engines."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def register(
        self,
        actor_id: str,
        *,
        engine_name: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        scopes: Mapping[str, Any] | None = None,
        valid_until: datetime | None = None,
        token_label: str | None = None,
    ) -> EngineRegistered:
        """Register an engine, or get a further token for one that is registered under the same ``actor_id``."""
        body = {
            "actor_id": actor_id,
            "engine_name": engine_name,
            "metadata": metadata,
            "scopes": scopes,
            "valid_until": valid_until.isoformat() if valid_until else None,
            "token_label": token_label,
        }
        return (await self._connection.post("/v1/engines/register", body)).read(EngineRegistered)

    async def issue_token(
        self,
        engine_id: str,
        *,
        scopes: Mapping[str, Any] | None = None,
        valid_until: datetime | None = None,
        token_label: str | None = None,
    ) -> EngineRegistered:
        """A further token."""
        body = {
            "scopes": scopes,
            "valid_until": valid_until.isoformat() if valid_until else None,
            "token_label": token_label,
        }
        path = f"/v1/engines/{engine_id}/tokens/issue"
        return (await self._connection.post(path, body)).read(EngineRegistered)

    async def revoke_token(self, engine_id: str, token_id: str, *, reason: str | None = None) -> bool:
        """Revoke a token. False when it was revoked before."""
        path = f"/v1/engines/{engine_id}/tokens/{token_id}/revoke"
        answer = await self._connection.post(path, {"reason": reason})
        return not answer.members().get("already_revoked", False)

    async def deactivate(self, engine_id: str, *, reason: str | None = None) -> EngineDeactivated:
        """Shut an engine out: all its tokens are revoked."""
        answer = await self._connection.post(f"/v1/engines/{engine_id}/deactivate", {"reason": reason})
        return answer.read(EngineDeactivated)

    def list(self, *, limit: int | None = None, min_position: str | Written | None = None) -> AsyncListing[Engine]:
        """Engines of the workspace, last changed first."""
        return AsyncListing(self._connection, "/v1/engines", "engines", Engine, {"limit": limit}, min_position)

    def tokens(
        self, engine_id: str, *, limit: int | None = None, min_position: str | Written | None = None
    ) -> AsyncListing[EngineToken]:
        """Tokens of an engine, without their secrets."""
        path = f"/v1/engines/{engine_id}/tokens"
        return AsyncListing(self._connection, path, "tokens", EngineToken, {"limit": limit}, min_position)
