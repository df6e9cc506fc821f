"""Engines: registered programs that claim runs, and their tokens."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from agentos.aio.connection import Connection
from agentos.models import Engine, EngineRegistered, EngineToken


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

    async def deactivate(self, engine_id: str, *, reason: str | None = None) -> Engine:
        """Shut an engine out: all its tokens are revoked."""
        answer = await self._connection.post(f"/v1/engines/{engine_id}/deactivate", {"reason": reason})
        return answer.read(Engine, "engine")

    async def list(self) -> Sequence[Engine]:
        """All engines of the workspace."""
        return (await self._connection.get("/v1/engines")).read(list[Engine], "engines")

    async def tokens(self, engine_id: str) -> Sequence[EngineToken]:
        """Tokens of an engine, without their secrets."""
        return (await self._connection.get(f"/v1/engines/{engine_id}/tokens")).read(list[EngineToken], "tokens")
