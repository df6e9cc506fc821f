"""Commands of principals, capabilities and engines."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Final

from agentos_api.append.locator import Location
from agentos_api.command_type import CommandType, Reader
from agentos_shared.domain import capabilities, engine_evidence, engines, ids, principals
from agentos_shared.domain.capabilities import RevokeCapability
from agentos_shared.domain.decider import Command, View
from agentos_shared.domain.engines import Engine, NewToken, RegisterEngine
from agentos_shared.domain.envelope import Event, timestamp
from agentos_shared.domain.principals import EnsurePrincipal, Principal

SECRET_BYTES: Final = 32


async def _draw_token(_reader: Reader, _location: Location, _body: Any) -> NewToken:
    secret = base64.urlsafe_b64encode(ids.random_bytes(SECRET_BYTES)).rstrip(b"=").decode("ascii")
    return NewToken(ids.ENGINE_TOKEN + ids.random_bytes(16).hex(), ids.new_uuid(), ids.ENGINE_TOKEN + secret)


def _ensured(command: Command[EnsurePrincipal], _events: Sequence[Event], view: View) -> Mapping[str, Any]:
    principal = view.get(Principal, command.entity_id)
    if principal is None:
        return {}
    return {
        "principal": {
            "principal_id": command.entity_id,
            "principal_type": principal.actor_type,
            "legacy_actor_type": principal.actor_type,
            "legacy_actor_id": principal.actor_id,
            "created_at": timestamp(principal.created_at),
        }
    }


def _engine(engine_id: str, engine: Engine) -> dict[str, Any]:
    ended = engine.deactivated_at
    return {
        "engine_id": engine_id,
        "workspace_id": engine.workspace_id,
        "engine_name": engine.name,
        "actor_id": engine.actor.id,
        "principal_id": engine.actor.principal_id,
        "metadata": engine.metadata,
        "status": "active" if engine.active else "inactive",
        "created_at": timestamp(engine.created_at),
        "updated_at": timestamp(engine.updated_at),
        "deactivated_at": None if ended is None else timestamp(ended),
        "deactivated_reason": engine.deactivated_reason,
    }


def _issued(command: Command[Any], _events: Sequence[Event], view: View) -> Mapping[str, Any]:
    """The engine and its new token, with the secret: the only place that ever tells it."""
    engine = view.get(Engine, command.entity_id)
    new: NewToken = command.loaded
    token = engine.tokens.get(new.token_id) if engine else None
    if engine is None or token is None:
        return {}
    return {
        "engine": _engine(command.entity_id, engine),
        "token": {
            "token_id": token.token_id,
            "workspace_id": engine.workspace_id,
            "engine_id": command.entity_id,
            "principal_id": engine.actor.principal_id,
            "capability_token_id": token.capability_token_id,
            "token_label": token.label,
            "issued_at": timestamp(token.issued_at),
            "last_seen_at": None,
            "valid_until": None if token.valid_until is None else timestamp(token.valid_until),
            "revoked_at": None,
            "revoked_reason": None,
            "created_by_principal_id": token.created_by,
            "engine_token": new.secret,
        },
    }


def _without_secret(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """The answer as an idempotency key keeps it: whoever sends the key again learns the token's id, not the token."""
    token = answer.get("token")
    return answer if token is None else {**answer, "token": {**token, "engine_token": None}}


def _deactivated(command: Command[Any], _events: Sequence[Event], view: View) -> Mapping[str, Any]:
    engine = view.get(Engine, command.entity_id)
    return {} if engine is None else {"engine": _engine(command.entity_id, engine)}


def _already_revoked(_command: Command[Any], events: Sequence[Event], _view: View) -> Mapping[str, Any]:
    return {"already_revoked": not events}


def _registers(body: RegisterEngine, location: Location) -> tuple[str, ...]:
    return (principals.actor(location.workspace_id, "service", body.actor_id or "").principal_id,)


def _engine_of(workspace_id: str, body: RegisterEngine) -> str:
    return engines.engine_id(workspace_id, body.actor_id or "")


def _capability_of(_workspace_id: str, body: RevokeCapability) -> str:
    return body.token_id or ""


ENGINES: Final = (
    CommandType(
        name="principal.ensure",
        path="/v1/principals/legacy/ensure",
        body=EnsurePrincipal,
        decide=principals.ensure,
        entity=principals.principal_id,
        extra=_ensured,
        status=200,
    ),
    CommandType(
        name="engine.register",
        path="/v1/engines/register",
        body=RegisterEngine,
        decide=engines.register,
        entity=_engine_of,
        answers="engine_id",
        reads=_registers,
        load=_draw_token,
        extra=_issued,
        kept=_without_secret,
    ),
    CommandType(
        name="engine.issue_token",
        path="/v1/engines/{engine_id}/tokens/issue",
        body=engines.IssueToken,
        decide=engines.issue,
        parent="engine",
        answers="engine_id",
        load=_draw_token,
        extra=_issued,
        kept=_without_secret,
    ),
    CommandType(
        name="engine.revoke_token",
        path="/v1/engines/{engine_id}/tokens/{token_id}/revoke",
        body=engines.RevokeToken,
        decide=engines.revoke_token,
        parent="engine",
        unknown="engine_token_not_found",
        member="token_id",
        extra=_already_revoked,
        status=200,
    ),
    CommandType(
        name="engine.deactivate",
        path="/v1/engines/{engine_id}/deactivate",
        body=engines.DeactivateEngine,
        decide=engines.deactivate,
        parent="engine",
        extra=_deactivated,
        status=200,
    ),
    CommandType(
        name="capability.revoke",
        path="/v1/capabilities/revoke",
        body=RevokeCapability,
        decide=capabilities.revoke,
        entity=_capability_of,
        extra=_already_revoked,
        status=200,
    ),
    CommandType(
        name="engine_evidence.ingest",
        path="/v1/engines/evidence/ingest",
        body=engine_evidence.IngestEvidence,
        decide=engine_evidence.ingest,
        entity=engine_evidence.evidence_id,
        internal=True,
    ),
)
