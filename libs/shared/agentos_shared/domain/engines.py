"""Engines: programs outside that claim runs and work on them, and the tokens by which they are known.

An engine's token is a secret that is given once. The event holds its SHA-256 only: 256 random bits need no slower hash.
Each token comes with a capability of its own, which says what the token allows.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, ClassVar, Final
from uuid import UUID, uuid5

from pydantic import Field

from agentos_shared.domain import capabilities, principals
from agentos_shared.domain.capabilities import EVERYTHING, Instant, Scopes, moment, refuse_engines
from agentos_shared.domain.decider import Command, CommandBody, View, expect_version
from agentos_shared.domain.envelope import Actor, Event, NewEvent, Stream
from agentos_shared.domain.errors import Conflict, Invalid, NotFound
from agentos_shared.domain.ids import ENGINE

CLAIM: Final = "run.claim"
HEARTBEAT: Final = "run.lease.heartbeat"
RELEASE: Final = "run.lease.release"
INGEST: Final = "evidence.ingest"

DEFAULT_ACTIONS: Final = (CLAIM, HEARTBEAT, RELEASE)
#: Live tokens of one engine: bounds its state, and the event that ends them all.
MAX_LIVE_TOKENS: Final = 1_000

_NAMESPACE: Final = UUID("0c4b6f52-7d5e-5a35-8a4e-3d7a1b6e9f10")


class RegisterEngine(CommandBody):
    """Registers an engine and gives it a token. The same ``actor_id`` again is the same engine: it is active again, and
    gets a further token. ``actor_id`` is required and names the engine's actor. A list that ``scopes`` does not name is
    the default one: all rooms, and claim, heartbeat and release.
    """

    names_subject: ClassVar[bool] = True

    actor_id: str | None = Field(None, max_length=200)
    engine_name: str | None = Field(None, min_length=1, max_length=200)
    metadata: dict[str, Any] | None = None
    scopes: Scopes | None = None
    valid_until: Instant | None = None
    token_label: str | None = Field(None, max_length=200)


class IssueToken(CommandBody):
    """Gives an active engine a further token."""

    scopes: Scopes | None = None
    valid_until: Instant | None = None
    token_label: str | None = Field(None, max_length=200)


class RevokeToken(CommandBody):
    """Ends one token of an engine, at once and for good."""

    token_id: str = Field(min_length=1, max_length=64)
    reason: str | None = Field(None, max_length=4000)


class DeactivateEngine(CommandBody):
    """Ends all tokens of an engine. Registering it again makes it active, with a new token."""

    reason: str | None = Field(None, max_length=4000)


@dataclass(frozen=True, slots=True)
class NewToken:
    """What is drawn for a token before it is decided on. The secret goes into the answer and nowhere else."""

    token_id: str
    capability_token_id: str
    secret: str = field(repr=False)

    @property
    def digest(self) -> str:
        return digest_of(self.secret)


@dataclass(frozen=True, slots=True)
class Token:
    """What checks and answers read of a token."""

    token_id: str
    digest: str
    capability_token_id: str
    label: str | None
    issued_at: datetime
    valid_until: datetime | None
    created_by: str
    revoked: bool = False


@dataclass(frozen=True, slots=True)
class Engine:
    """What decisions, checks and answers read of an engine."""

    workspace_id: str
    name: str
    actor: Actor
    metadata: Mapping[str, Any]
    created_at: datetime
    updated_at: datetime
    deactivated_at: datetime | None = None
    deactivated_reason: str | None = None
    tokens: Mapping[str, Token] = field(default_factory=dict)

    @property
    def active(self) -> bool:
        return self.deactivated_at is None

    def live_tokens(self) -> list[Token]:
        """Tokens that were not revoked, in the order in which they were issued."""
        return [token for token in self.tokens.values() if not token.revoked]

    def token_of(self, secret: str) -> Token | None:
        """The token with this secret, live or not."""
        digest = digest_of(secret)
        return next((token for token in self.tokens.values() if token.digest == digest), None)


def digest_of(secret: str) -> str:
    """Hexadecimal SHA-256 of a token's secret: all that is ever stored of it."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def engine_id(workspace_id: str, actor_id: str) -> str:
    """The id of an actor's engine: the same for the same actor, always."""
    return ENGINE + uuid5(_NAMESPACE, f"{workspace_id}\n{actor_id}").hex


def register(command: Command[RegisterEngine], view: View) -> list[NewEvent]:
    """``engine.registered`` for a new engine or a known one, after the capability of its token.

    Raises:
        Invalid: ``actor_id_required``. Forbidden: ``engine_action_not_allowed``. Conflict: ``engine_token_limit``.
    """
    body, meta = command.body, command.meta
    if not body.actor_id:
        raise Invalid("actor_id_required", "actor_id is required: the actor that the engine is.")
    refuse_engines(meta)
    expect_version(command, view)
    engine = view.get(Engine, command.entity_id)
    _require_room_for_one_more(engine)
    subject = principals.actor(meta.workspace_id, "service", body.actor_id)
    token: NewToken = command.loaded
    scopes = _scopes(body.scopes)
    metadata = body.metadata if body.metadata is not None else dict(engine.metadata) if engine else {}
    return [
        *principals.registered(meta, subject, view),
        capabilities.granted(meta, token.capability_token_id, subject.principal_id, scopes, body.valid_until),
        _event(
            command,
            "engine.registered",
            {
                "engine_id": command.entity_id,
                "actor_id": body.actor_id,
                "principal_id": subject.principal_id,
                "engine_name": body.engine_name or (engine.name if engine else body.actor_id),
                "metadata": metadata,
                **_told(token, scopes, body.valid_until, body.token_label),
            },
        ),
    ]


def issue(command: Command[IssueToken], view: View) -> list[NewEvent]:
    """``engine.token.issued``, after the capability of the token.

    Raises:
        NotFound: ``engine_not_found``. Conflict: ``engine_inactive``, ``engine_token_limit``.
        Forbidden: ``engine_action_not_allowed``.
    """
    body, meta = command.body, command.meta
    engine = _engine(command, view)
    refuse_engines(meta)
    expect_version(command, view)
    if not engine.active:
        raise Conflict("engine_inactive", "This engine is deactivated; register it again.")
    _require_room_for_one_more(engine)
    token: NewToken = command.loaded
    scopes = _scopes(body.scopes)
    principal_id = engine.actor.principal_id
    return [
        capabilities.granted(meta, token.capability_token_id, principal_id, scopes, body.valid_until),
        _event(
            command,
            "engine.token.issued",
            {
                "engine_id": command.entity_id,
                "principal_id": principal_id,
                **_told(token, scopes, body.valid_until, body.token_label),
            },
        ),
    ]


def revoke_token(command: Command[RevokeToken], view: View) -> list[NewEvent]:
    """``engine.token.revoked``, or nothing when it is revoked already.

    Raises:
        NotFound: ``engine_token_not_found``. Forbidden: ``engine_action_not_allowed``.
    """
    engine = view.get(Engine, command.entity_id)
    token = engine.tokens.get(command.body.token_id) if engine else None
    if token is None:
        raise NotFound("engine_token_not_found", "This engine has no such token.")
    refuse_engines(command.meta)
    expect_version(command, view)
    if token.revoked:
        return []
    return [
        _event(
            command,
            "engine.token.revoked",
            {
                "engine_id": command.entity_id,
                "capability_token_id": token.capability_token_id,
                "token_id": token.token_id,
                "reason": command.body.reason or "manual_revoke",
            },
        )
    ]


def deactivate(command: Command[DeactivateEngine], view: View) -> list[NewEvent]:
    """``engine.deactivated``, which ends all its tokens, or nothing when it is inactive already.

    Raises:
        NotFound: ``engine_not_found``. Forbidden: ``engine_action_not_allowed``.
    """
    engine = _engine(command, view)
    refuse_engines(command.meta)
    expect_version(command, view)
    if not engine.active:
        return []
    live = engine.live_tokens()
    return [
        _event(
            command,
            "engine.deactivated",
            {
                "engine_id": command.entity_id,
                "token_ids": [token.token_id for token in live],
                "capability_token_ids": [token.capability_token_id for token in live],
                "reason": command.body.reason or "manual_deactivate",
            },
        )
    ]


def evolve(state: Engine | None, event: Event) -> Engine | None:
    """Fold one event of an engine."""
    match event.event_type:
        case "engine.registered":
            data = event.data
            return Engine(
                event.workspace_id,
                data["engine_name"],
                Actor("service", data["actor_id"], data["principal_id"]),
                data["metadata"],
                state.created_at if state else event.recorded_at,
                event.recorded_at,
                tokens=_with(state, _token(event)),
            )
        case "engine.token.issued" if state is not None:
            return replace(state, updated_at=event.recorded_at, tokens=_with(state, _token(event)))
        case "engine.token.revoked" if state is not None:
            token = state.tokens.get(event.data["token_id"])
            tokens = state.tokens if token is None else _with(state, replace(token, revoked=True))
            return replace(state, updated_at=event.recorded_at, tokens=tokens)
        case "engine.deactivated" if state is not None:
            return replace(
                state,
                updated_at=event.recorded_at,
                deactivated_at=event.recorded_at,
                deactivated_reason=event.data["reason"],
                tokens={token.token_id: replace(token, revoked=True) for token in state.tokens.values()},
            )
    return state


def _engine(command: Command[Any], view: View) -> Engine:
    engine = view.get(Engine, command.entity_id)
    if engine is None:
        raise NotFound("engine_not_found", "There is no such engine in this workspace.")
    return engine


def _require_room_for_one_more(engine: Engine | None) -> None:
    if engine is not None and len(engine.live_tokens()) >= MAX_LIVE_TOKENS:
        raise Conflict(
            "engine_token_limit",
            f"This engine has {MAX_LIVE_TOKENS} live tokens; revoke some, or deactivate it and register it again.",
        )


def _scopes(scopes: Scopes | None) -> dict[str, Any]:
    defaults: dict[str, Any] = {"rooms": [EVERYTHING], "action_types": list(DEFAULT_ACTIONS)}
    return defaults | (scopes.given() if scopes else {})


def _told(token: NewToken, scopes: Mapping[str, Any], valid_until: str | None, label: str | None) -> dict[str, Any]:
    return {
        "capability_token_id": token.capability_token_id,
        "token_id": token.token_id,
        "token_digest": token.digest,
        "token_label": label,
        "scopes": dict(scopes),
        "valid_until": valid_until,
    }


def _event(command: Command[Any], event_type: str, data: Mapping[str, Any]) -> NewEvent:
    meta = command.meta
    return NewEvent(
        event_type=event_type,
        stream=Stream("workspace", meta.workspace_id),
        workspace_id=meta.workspace_id,
        entity_type="engine",
        entity_id=command.entity_id,
        actor=meta.actor,
        correlation_id=meta.correlation_id,
        idempotency_key=meta.idempotency_key,
        data=data,
    )


def _token(event: Event) -> Token:
    data = event.data
    until = data["valid_until"]
    return Token(
        data["token_id"],
        data["token_digest"],
        data["capability_token_id"],
        data["token_label"],
        event.recorded_at,
        None if until is None else moment(until),
        event.actor_principal_id,
    )


def _with(state: Engine | None, token: Token) -> dict[str, Token]:
    return {**(state.tokens if state else {}), token.token_id: token}
