"""The event envelope, and the hash chain (version 2) over it.

Hashed is every member of the envelope except ``event_hash``, ``prev_event_hash``, and the two flags derived from the
content (``redaction_level``, ``contains_secrets``). The content itself enters as a salted digest, so that redaction can
drop content and salt while the chain still verifies::

    content     = JCS({data, display, model_context, policy_context})
    data_digest = "sha256:" + hex(sha256(salt || content))
    hashed      = "agentos.event.v2" || 00 || prev_event_hash or "" || 00 || JCS(hashed members, data_digest)
    event_hash  = "sha256:" + hex(sha256(hashed))
"""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

import orjson

from agentos_shared.domain.canonical import canonical

ActorType = Literal["user", "service", "agent"]
Zone = Literal["sandbox", "supervised", "high_stakes"]
#: From the loosest rules to the strictest.
ZONES: Final[tuple[Zone, ...]] = ("sandbox", "supervised", "high_stakes")
StreamType = Literal["room", "workspace"]
RedactionLevel = Literal["none", "partial", "full"]

HASH_DOMAIN: Final = b"agentos.event.v2"
SALT_BYTES: Final = 16

# How canonical content begins, and how it ends when only ``data`` says anything.
_DATA: Final = '{"data":'
_NO_CONTEXT: Final = ',"display":{},"model_context":{},"policy_context":{}}'


class Stream(NamedTuple):
    """One ordered history: a room's, or a workspace's own. A tuple, since it is hashed for every event."""

    type: StreamType
    id: str

    def __str__(self) -> str:
        return f"{self.type}/{self.id}"


class Actor(NamedTuple):
    """Who did it. ``principal_id`` is a UUID text."""

    type: ActorType
    id: str
    principal_id: str


_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


class NewEvent(NamedTuple):
    """An event that was decided and has no place yet: the appender gives it sequence, version, time and hash."""

    event_type: str
    stream: Stream
    workspace_id: str
    entity_type: str
    entity_id: str
    actor: Actor
    correlation_id: str
    data: Mapping[str, Any]
    zone: Zone = "supervised"
    event_version: int = 1
    occurred_at: datetime | None = None
    mission_id: str | None = None
    room_id: str | None = None
    thread_id: str | None = None
    run_id: str | None = None
    step_id: str | None = None
    causation_id: str | None = None
    idempotency_key: str | None = None
    policy_context: Mapping[str, Any] = _NOTHING
    model_context: Mapping[str, Any] = _NOTHING
    display: Mapping[str, Any] = _NOTHING


class Event(NamedTuple):
    """An event as it stands in the store. Its members stand in the order of the database's type ``evt_new_event``.

    ``event_id`` and ``causation_id`` are UUID texts, times are UTC in whole milliseconds, ``content`` is canonical JSON
    of ``{data, display, model_context, policy_context}``. (A tuple, since tens of thousands are made each second.)
    """

    event_id: str
    event_type: str
    event_version: int
    occurred_at: datetime
    recorded_at: datetime
    workspace_id: str
    mission_id: str | None
    room_id: str | None
    thread_id: str | None
    run_id: str | None
    step_id: str | None
    actor_type: ActorType
    actor_id: str
    actor_principal_id: str
    zone: Zone
    stream_type: StreamType
    stream_id: str
    stream_seq: int
    entity_type: str
    entity_id: str
    entity_version: int
    correlation_id: str
    causation_id: str | None
    redaction_level: RedactionLevel
    contains_secrets: bool
    idempotency_key: str | None
    prev_event_hash: str | None
    content: str
    salt: bytes | None
    data_digest: str
    event_hash: str

    @property
    def stream(self) -> Stream:
        return Stream(self.stream_type, self.stream_id)

    def data_json(self) -> str:
        """JSON text of ``data`` alone, cut out of the canonical content where nothing else is in it."""
        if self.content.endswith(_NO_CONTEXT):
            return self.content[len(_DATA) : -len(_NO_CONTEXT)]
        return canonical(self.parsed_content()["data"]).decode()

    def parsed_content(self) -> dict[str, Any]:
        """``{data, display, model_context, policy_context}``, each an object."""
        content: dict[str, Any] = orjson.loads(self.content)
        return content

    @property
    def data(self) -> dict[str, Any]:
        data: dict[str, Any] = orjson.loads(self.data_json())
        return data

    def envelope(self, *, detail: bool = False) -> dict[str, Any]:
        """The object that HTTP, SSE and NATS carry; with ``detail`` also the three contexts."""
        envelope = self._members(self.data)
        if detail:
            content = self.parsed_content()
            envelope["policy_context"] = content["policy_context"]
            envelope["model_context"] = content["model_context"]
            envelope["display"] = content["display"]
        return envelope

    def envelope_json(self) -> bytes:
        """The envelope's JSON bytes, as SSE and NATS carry them."""
        return orjson.dumps(self._members(orjson.Fragment(self.data_json())))

    def _members(self, data: Any) -> dict[str, Any]:
        return {
            "event_id": self.event_id,
            "event_type": self.event_type,
            "event_version": self.event_version,
            "occurred_at": timestamp(self.occurred_at),
            "recorded_at": timestamp(self.recorded_at),
            "workspace_id": self.workspace_id,
            "mission_id": self.mission_id,
            "room_id": self.room_id,
            "thread_id": self.thread_id,
            "run_id": self.run_id,
            "step_id": self.step_id,
            "actor_type": self.actor_type,
            "actor_id": self.actor_id,
            "actor_principal_id": self.actor_principal_id,
            "zone": self.zone,
            "stream_type": self.stream_type,
            "stream_id": self.stream_id,
            "stream_seq": self.stream_seq,
            "entity_type": self.entity_type,
            "entity_id": self.entity_id,
            "entity_version": self.entity_version,
            "correlation_id": self.correlation_id,
            "causation_id": self.causation_id,
            "redaction_level": self.redaction_level,
            "contains_secrets": self.contains_secrets,
            "data": data,
            "idempotency_key": self.idempotency_key,
            "prev_event_hash": self.prev_event_hash,
            "event_hash": self.event_hash,
        }


@lru_cache(maxsize=4096)
def timestamp(moment: datetime) -> str:
    """RFC 3339, UTC, milliseconds, ``Z``: ``2026-11-24T05:30:00.123Z``."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def canonical_content(
    data: Mapping[str, Any],
    policy_context: Mapping[str, Any],
    model_context: Mapping[str, Any],
    display: Mapping[str, Any],
) -> str:
    """Canonical text of an event's content: what is stored, and what the digest is taken over (as UTF-8)."""
    if not (policy_context or model_context or display):
        return _DATA + canonical(data).decode() + _NO_CONTEXT
    return canonical(
        {
            "data": data,
            "display": dict(display),
            "model_context": dict(model_context),
            "policy_context": dict(policy_context),
        }
    ).decode()


def data_digest(salt: bytes, content: str) -> str:
    """``sha256:`` and the hex digest over salt and canonical content."""
    return "sha256:" + hashlib.sha256(salt + content.encode()).hexdigest()


def event_hash(prev_event_hash: str | None, hashed: bytes) -> str:
    """``sha256:`` and the hex digest that links an event to the one before it in its stream."""
    previous = b"" if prev_event_hash is None else prev_event_hash.encode("ascii")
    return "sha256:" + hashlib.sha256(b"\x00".join((HASH_DOMAIN, previous, hashed))).hexdigest()


def hashed_bytes(event: Event) -> bytes:
    """Canonical bytes of the hashed members of an event: keys sorted here, and only text, integers and nulls below."""
    return orjson.dumps(
        {
            "actor_id": event.actor_id,
            "actor_principal_id": event.actor_principal_id,
            "actor_type": event.actor_type,
            "causation_id": event.causation_id,
            "correlation_id": event.correlation_id,
            "data_digest": event.data_digest,
            "entity_id": event.entity_id,
            "entity_type": event.entity_type,
            "entity_version": event.entity_version,
            "event_id": event.event_id,
            "event_type": event.event_type,
            "event_version": event.event_version,
            "idempotency_key": event.idempotency_key,
            "mission_id": event.mission_id,
            "occurred_at": timestamp(event.occurred_at),
            "recorded_at": timestamp(event.recorded_at),
            "room_id": event.room_id,
            "run_id": event.run_id,
            "step_id": event.step_id,
            "stream_id": event.stream_id,
            "stream_seq": event.stream_seq,
            "stream_type": event.stream_type,
            "thread_id": event.thread_id,
            "workspace_id": event.workspace_id,
            "zone": event.zone,
        }
    )


def seal(
    new: NewEvent,
    *,
    event_id: str,
    recorded_at: datetime,
    stream_seq: int,
    entity_version: int,
    causation_id: str | None,
    content: str,
    salt: bytes,
    prev_event_hash: str | None,
    redaction_level: RedactionLevel = "none",
    contains_secrets: bool = False,
) -> Event:
    """Give a decided event its place in the stream, and the hash that binds it there."""
    unhashed = Event(
        event_id,
        new.event_type,
        new.event_version,
        new.occurred_at or recorded_at,
        recorded_at,
        new.workspace_id,
        new.mission_id,
        new.room_id,
        new.thread_id,
        new.run_id,
        new.step_id,
        new.actor.type,
        new.actor.id,
        new.actor.principal_id,
        new.zone,
        new.stream.type,
        new.stream.id,
        stream_seq,
        new.entity_type,
        new.entity_id,
        entity_version,
        new.correlation_id,
        new.causation_id or causation_id,
        redaction_level,
        contains_secrets,
        new.idempotency_key,
        prev_event_hash,
        content,
        salt,
        data_digest(salt, content),
        "",
    )
    return Event(*unhashed[:-1], event_hash(prev_event_hash, hashed_bytes(unhashed)))
