"""Incidents: something went wrong. Closed only once its cause and a lesson are on record.

An incident that is opened under an idempotency key gets its id from the key. So the key is the incident: of many opens
at once one finds it absent, the others find it there, whichever process decides them.
"""

from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, ConfigDict, Field, JsonValue, model_validator

from agentos_shared.domain import ids
from agentos_shared.domain.decider import Command, CommandBody, View, expect_version
from agentos_shared.domain.envelope import ActorType, Event, NewEvent, Stream, Zone
from agentos_shared.domain.errors import Conflict, Invalid, NotFound
from agentos_shared.domain.rooms import Room, Title
from agentos_shared.domain.runs import Run
from agentos_shared.domain.threads import Thread

Severity = Literal["low", "medium", "high", "critical"]
Status = Literal["open", "closed"]
Text = Annotated[str, Field(max_length=20_000)]
Tag = Annotated[str, Field(min_length=1, max_length=200)]
MAX_TAGS: Final = 64


class _IncidentBody(CommandBody):
    def speaker(self) -> tuple[ActorType, str]:
        """Who is responsible when nobody is named."""
        return "user", "ceo"


class OpenIncident(_IncidentBody):
    """Opens an incident, once for an ``idempotency_key``. It stands in the room of its run, room or thread, else in the
    workspace's own stream. Without ``title``, ``summary`` is the title."""

    model_config = ConfigDict(json_schema_extra=lambda schema: schema.pop("required", None) and None)

    title: Title
    summary: Text | None = None
    severity: Annotated[Severity, BeforeValidator(lambda given: "low" if given == "warning" else given)] = "medium"
    category: str | None = Field(None, max_length=200)
    details: dict[str, JsonValue] = Field(default_factory=dict)
    entity_type: str | None = Field(None, max_length=64)
    entity_id: str | None = Field(None, max_length=200)
    room_id: str | None = None
    thread_id: str | None = None
    run_id: str | None = None
    idempotency_key: str | None = Field(None, pattern=r"^.{1,200}$")

    @model_validator(mode="before")
    @classmethod
    def _title_of_summary(cls, given: Any) -> Any:
        if isinstance(given, dict) and not given.get("title") and given.get("summary"):
            summary = given["summary"]
            return {**given, "title": summary[:500] if isinstance(summary, str) else summary}
        return given


class AcknowledgeIncident(_IncidentBody):
    """Says that somebody looks after the incident. Saying it again changes nothing."""


class UpdateRca(_IncidentBody):
    """Puts the root cause analysis on record: a ``summary``, an ``analysis`` of any form, or both."""

    summary: Text | None = None
    analysis: dict[str, JsonValue] = Field(default_factory=dict)


class LogLearning(_IncidentBody):
    """Notes what was learnt."""

    note: Text | None = Field(None, description="Required.")
    tags: list[Tag] = Field(default_factory=list, max_length=MAX_TAGS)


class CloseIncident(_IncidentBody):
    """Closes the incident for good. It needs an analysis and a lesson before."""

    reason: Text | None = None


@dataclass(frozen=True, slots=True)
class Incident:
    """What decisions read of an incident."""

    room_id: str | None
    thread_id: str | None
    run_id: str | None
    mission_id: str | None
    zone: Zone
    correlation_id: str
    status: Status = "open"
    acknowledged: bool = False
    has_rca: bool = False
    learnings: int = 0


def incident_id(workspace_id: str, key: str) -> str:
    """The id of the incident that a key stands for in a workspace."""
    return ids.derived_id(ids.INCIDENT, workspace_id, key)


def open_incident(command: Command[OpenIncident], view: View) -> list[NewEvent]:
    """``incident.opened``; nothing when the key has opened it already.

    Raises:
        Invalid: ``run_room_mismatch``, ``run_thread_mismatch``.
        NotFound: ``run_not_found``, ``room_not_found``, ``thread_not_found``.
        Conflict: ``idempotency_conflict_unresolved`` when the key was used in another room.
    """
    body = command.body
    run = _run(body, view)
    room = view.get(Room, command.room_id) if command.room_id else None
    if command.room_id is not None and room is None:
        raise NotFound("room_not_found", "There is no such room in this workspace.")
    if body.thread_id is not None:
        thread = view.get(Thread, body.thread_id)
        if thread is None or thread.room_id != command.room_id:
            raise NotFound("thread_not_found", "There is no such thread in this room.")
    known = view.get(Incident, command.entity_id)
    if known is not None:
        if known.room_id != command.room_id:
            raise Conflict(
                "idempotency_conflict_unresolved",
                "This idempotency_key has opened an incident in another stream; take a new key.",
            )
        return []
    expect_version(command, view)
    incident = Incident(
        room_id=command.room_id,
        thread_id=body.thread_id or (run.thread_id if run else None),
        run_id=body.run_id,
        mission_id=run.mission_id if run else room.mission_id if room else None,
        zone=run.zone if run else room.zone if room else "supervised",
        correlation_id=run.correlation_id if run and not body.correlation_id else command.meta.correlation_id,
    )
    data = {
        "category": body.category,
        "title": body.title,
        "summary": body.summary,
        "severity": body.severity,
        "run_id": body.run_id,
        "entity_type": body.entity_type,
        "entity_id": body.entity_id,
        "details": body.details,
    }
    opened = _event(command, incident, "incident.opened", data)
    return [
        opened._replace(
            causation_id=view.last_event_id(body.run_id) if body.run_id else None,
            idempotency_key=body.idempotency_key or command.meta.idempotency_key,
        )
    ]


def _run(body: OpenIncident, view: View) -> Run | None:
    if body.run_id is None:
        return None
    run = view.get(Run, body.run_id)
    if run is None:
        raise NotFound("run_not_found", "There is no such run in this workspace.")
    if body.room_id is not None and body.room_id != run.room_id:
        raise Invalid("run_room_mismatch", "The run is of another room than room_id.")
    if body.thread_id is not None and run.thread_id is not None and body.thread_id != run.thread_id:
        raise Invalid("run_thread_mismatch", "The run is of another thread than thread_id.")
    return run


def acknowledge(command: Command[AcknowledgeIncident], view: View) -> list[NewEvent]:
    """``incident.acknowledged``; nothing when it was acknowledged before.

    Raises:
        NotFound: ``incident_not_found``.
        Conflict: ``incident_closed``.
    """
    incident = _known(command, view)
    if incident.acknowledged:
        return []
    _require_open(incident)
    expect_version(command, view)
    return [_event(command, incident, "incident.acknowledged", {})]


def update_rca(command: Command[UpdateRca], view: View) -> list[NewEvent]:
    """``incident.rca.updated``: the analysis with the summary as one object.

    Raises:
        NotFound: ``incident_not_found``.
        Conflict: ``incident_closed``.
        Invalid: ``missing_rca_payload``.
    """
    incident = _known(command, view)
    _require_open(incident)
    body = command.body
    rca: dict[str, Any] = {**body.analysis, **({"summary": body.summary} if body.summary else {})}
    if not rca:
        raise Invalid("missing_rca_payload", "Give a summary, an analysis, or both.")
    expect_version(command, view)
    return [_event(command, incident, "incident.rca.updated", {"rca": rca})]


def log_learning(command: Command[LogLearning], view: View) -> list[NewEvent]:
    """``incident.learning.logged``.

    Raises:
        NotFound: ``incident_not_found``.
        Conflict: ``incident_closed``.
        Invalid: ``missing_note``.
    """
    incident = _known(command, view)
    _require_open(incident)
    body = command.body
    if not body.note or not body.note.strip():
        raise Invalid("missing_note", "note is required and must not be empty.")
    expect_version(command, view)
    place = view.version(command.entity_id) + 1
    data = {
        "learning_id": ids.derived_hex(ids.LEARNING, command.entity_id, str(place)),
        "note": body.note,
        "tags": list(dict.fromkeys(body.tags)),
    }
    return [_event(command, incident, "incident.learning.logged", data)]


def close(command: Command[CloseIncident], view: View) -> list[NewEvent]:
    """``incident.closed``, which is final.

    Raises:
        NotFound: ``incident_not_found``.
        Conflict: ``incident_already_closed``, ``incident_close_blocked_missing_rca``,
            ``incident_close_blocked_missing_learning``.
    """
    incident = _known(command, view)
    if incident.status == "closed":
        raise Conflict("incident_already_closed", "The incident is closed for good.")
    if not incident.has_rca:
        raise Conflict("incident_close_blocked_missing_rca", "Put the cause on record first: POST .../rca.")
    if not incident.learnings:
        raise Conflict("incident_close_blocked_missing_learning", "Note what was learnt first: POST .../learning.")
    expect_version(command, view)
    return [_event(command, incident, "incident.closed", {"reason": command.body.reason})]


def _known(command: Command[Any], view: View) -> Incident:
    incident = view.get(Incident, command.entity_id)
    if incident is None:
        raise NotFound("incident_not_found", "There is no such incident in this workspace.")
    return incident


def _require_open(incident: Incident) -> None:
    if incident.status == "closed":
        raise Conflict("incident_closed", "The incident is closed: nothing more is added to it.")


def _event(command: Command[Any], incident: Incident, event_type: str, data: dict[str, Any]) -> NewEvent:
    meta = command.meta
    return NewEvent(
        event_type=event_type,
        stream=Stream("room", incident.room_id) if incident.room_id else Stream("workspace", meta.workspace_id),
        workspace_id=meta.workspace_id,
        entity_type="incident",
        entity_id=command.entity_id,
        mission_id=incident.mission_id,
        room_id=incident.room_id,
        thread_id=incident.thread_id,
        run_id=incident.run_id,
        actor=meta.actor,
        zone=incident.zone,
        correlation_id=incident.correlation_id,
        idempotency_key=meta.idempotency_key,
        data={"incident_id": command.entity_id, **data},
    )


def evolve(state: Incident | None, event: Event) -> Incident | None:
    """Fold one event of an incident."""
    if event.event_type == "incident.opened":
        return Incident(
            event.room_id, event.thread_id, event.run_id, event.mission_id, event.zone, event.correlation_id
        )
    if state is None:
        return None
    match event.event_type:
        case "incident.acknowledged":
            return replace(state, acknowledged=True)
        case "incident.rca.updated":
            return replace(state, has_rca=True)
        case "incident.learning.logged":
            return replace(state, learnings=state.learnings + 1)
        case "incident.closed":
            return replace(state, status="closed")
        case _:
            return state
