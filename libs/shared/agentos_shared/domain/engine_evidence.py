"""Evidence that engines hand in: events of their own systems, kept as they came.

Whatever a foreign event calls itself, here it is one ``engine.evidence.ingested`` on the workspace's stream: it can be
read as evidence, never be taken for something that happened here.
"""

import hashlib
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID, uuid5

from agentos_shared.domain.canonical import canonical
from agentos_shared.domain.capabilities import moment
from agentos_shared.domain.decider import Command, CommandBody, View
from agentos_shared.domain.envelope import Event, NewEvent, Stream
from agentos_shared.domain.errors import Conflict, Invalid

MAX_NAME: Final = 200
_NAMESPACE: Final = UUID("b0c5b8a1-3f0f-5d5b-9a53-0d7b9a2c6e41")


class IngestEvidence(CommandBody):
    """One event of an engine's own system. ``event_id`` and ``event_type`` are required; an id is taken once."""

    engine_id: str
    event: Any


@dataclass(frozen=True, slots=True)
class Evidence:
    """What decisions read of evidence: the digest of what came under its id."""

    digest: str


def evidence_id(workspace_id: str, body: IngestEvidence) -> str:
    """The id of an engine's event here: the same for the same event, always."""
    given = body.event.get("event_id") if type(body.event) is dict else None
    return "engevd_" + uuid5(_NAMESPACE, f"{workspace_id}\n{body.engine_id}\n{given}").hex


def ingest(command: Command[IngestEvidence], view: View) -> list[NewEvent]:
    """``engine.evidence.ingested``, or nothing when this event came before.

    Raises:
        Invalid: ``invalid_event``, ``missing_event_id``, ``invalid_event_id``, ``missing_event_type``,
            ``invalid_event_type``, ``invalid_occurred_at``.
        Conflict: ``event_id_reused`` when another event came under this id.
    """
    body, meta = command.body, command.meta
    event = body.event
    if type(event) is not dict:
        raise Invalid("invalid_event", "An event must be a JSON object.")
    event_id, event_type = _name(event, "event_id"), _name(event, "event_type")
    occurred_at = event.get("occurred_at")
    happened = None
    if occurred_at is not None:
        try:
            happened = moment(occurred_at)
        except (TypeError, ValueError, OverflowError, AttributeError):
            raise Invalid("invalid_occurred_at", "occurred_at is written like 2026-11-24T05:30:00.123Z.") from None
    digest = _digest(event)
    known = view.get(Evidence, command.entity_id)
    if known is not None:
        if known.digest != digest:
            raise Conflict("event_id_reused", "Another event came under this event_id before.")
        return []
    return [
        NewEvent(
            event_type="engine.evidence.ingested",
            stream=Stream("workspace", meta.workspace_id),
            workspace_id=meta.workspace_id,
            entity_type="engine_evidence",
            entity_id=command.entity_id,
            actor=meta.actor,
            correlation_id=meta.correlation_id,
            idempotency_key=meta.idempotency_key,
            occurred_at=happened and happened.replace(microsecond=happened.microsecond // 1000 * 1000),
            data={
                "engine_id": body.engine_id,
                "source_event_id": event_id,
                "source_event_type": event_type,
                "source_digest": digest,
                "event": event,
            },
        )
    ]


def evolve(state: Evidence | None, event: Event) -> Evidence | None:
    """Fold one event of evidence."""
    if event.event_type == "engine.evidence.ingested":
        return Evidence(str(event.data.get("source_digest")))
    return state


def _name(event: dict[str, Any], member: str) -> str:
    value = event.get(member)
    if value is None or value == "":
        raise Invalid(f"missing_{member}", f"{member} is required.")
    if type(value) is not str or len(value) > MAX_NAME:
        raise Invalid(f"invalid_{member}", f"{member} must be text of at most {MAX_NAME} characters.")
    return value


def _digest(event: dict[str, Any]) -> str:
    return "sha256:" + hashlib.sha256(canonical(event)).hexdigest()
