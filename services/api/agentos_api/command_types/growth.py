"""Commands of incidents, evidence, experiments, scorecards and lessons."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from agentos_api.append.locator import Location
from agentos_api.command_type import CommandType, Reader, Reference
from agentos_shared.domain import evidence, experiments, ids, incidents, lessons, scorecards
from agentos_shared.domain.decider import Command, View
from agentos_shared.domain.envelope import Event
from agentos_shared.store import run_events


def _incident_id(workspace_id: str, body: incidents.OpenIncident) -> str:
    if body.idempotency_key is None:
        return ids.new_id(ids.INCIDENT)
    return incidents.incident_id(workspace_id, body.idempotency_key)


def _incident_home(body: incidents.OpenIncident) -> Reference | None:
    if body.run_id is not None:
        return "run", body.run_id
    if body.room_id is not None:
        return "room", body.room_id
    return None if body.thread_id is None else ("thread", body.thread_id)


def _incident_refs(body: incidents.OpenIncident) -> tuple[Reference, ...]:
    return () if body.thread_id is None else (("thread", body.thread_id),)


def _incident_reads(body: incidents.OpenIncident, home: Location) -> tuple[str, ...]:
    room = (home.stream.id,) if home.stream.type == "room" else ()
    return room if body.thread_id is None else (*room, body.thread_id)


def _deduped(_command: Command[Any], events: Sequence[Event], _view: View) -> Mapping[str, Any]:
    return {"deduped": not events}


def _learning_id(_command: Command[Any], events: Sequence[Event], _view: View) -> Mapping[str, Any]:
    return {"learning_id": events[0].data["learning_id"]}


def _evidence_reads(_body: Any, run: Location) -> tuple[str, ...]:
    return (evidence.evidence_id(run.entity_id),)


async def _ended_run(reader: Reader, run: Location, _body: Any) -> list[evidence.RunEvent]:
    return await reader.ended_runs.get(run.entity_id) or []


def _evidence(command: Command[Any], events: Sequence[Event], view: View) -> Mapping[str, Any]:
    evidence_id = evidence.evidence_id(command.entity_id)
    known = view.get(evidence.Evidence, evidence_id)
    if known is None:
        return {}
    where = {"event_id": view.last_event_id(evidence_id), "stream_seq": known.stream_seq}
    return {**where, "created": bool(events), "evidence": known.row}


async def _active_runs(reader: Reader, experiment: Location, _body: Any) -> int:
    async with reader.pool.acquire() as connection:
        return await run_events.count_active_runs(connection, experiment.entity_id)


def _closed(_command: Command[Any], events: Sequence[Event], _view: View) -> Mapping[str, Any]:
    data = events[0].data
    return {"status": data["status"], "active_run_count": data["active_run_count"]}


def _room(body: experiments.CreateExperiment) -> Reference | None:
    return None if body.room_id is None else ("room", body.room_id)


def _references(body: Any, *kinds: str) -> tuple[Reference, ...]:
    """What the body refers to by ``<kind>_id``."""
    named = ((kind, getattr(body, f"{kind}_id")) for kind in kinds)
    return tuple((kind, entity_id) for kind, entity_id in named if entity_id is not None)


def _scored(body: scorecards.RecordScorecard) -> tuple[Reference, ...]:
    return _references(body, "experiment", "run", "evidence", "agent", "principal")


def _scorecard_reads(body: scorecards.RecordScorecard, _home: Location) -> tuple[str, ...]:
    return () if body.evidence_id is None else (body.evidence_id,)


def _learnt_from(body: lessons.LogLesson) -> tuple[Reference, ...]:
    return _references(body, "experiment", "run", "scorecard", "incident")


GROWTH: Final = (
    CommandType(
        name="incident.open",
        path="/v1/incidents",
        body=incidents.OpenIncident,
        decide=incidents.open_incident,
        answers="incident_id",
        home=_incident_home,
        entity=_incident_id,
        reads=_incident_reads,
        refs=_incident_refs,
        extra=_deduped,
    ),
    CommandType(
        name="incident.acknowledge",
        path="/v1/incidents/{incident_id}/acknowledge",
        body=incidents.AcknowledgeIncident,
        decide=incidents.acknowledge,
        parent="incident",
        status=200,
    ),
    CommandType(
        name="incident.rca",
        path="/v1/incidents/{incident_id}/rca",
        body=incidents.UpdateRca,
        decide=incidents.update_rca,
        parent="incident",
        status=200,
    ),
    CommandType(
        name="incident.learning",
        path="/v1/incidents/{incident_id}/learning",
        body=incidents.LogLearning,
        decide=incidents.log_learning,
        parent="incident",
        extra=_learning_id,
    ),
    CommandType(
        name="incident.close",
        path="/v1/incidents/{incident_id}/close",
        body=incidents.CloseIncident,
        decide=incidents.close,
        parent="incident",
        status=200,
    ),
    CommandType(
        name="evidence.finalize",
        path="/v1/runs/{run_id}/evidence/finalize",
        body=evidence.FinalizeEvidence,
        decide=evidence.finalize,
        answers="run_id",
        parent="run",
        reads=_evidence_reads,
        load=_ended_run,
        extra=_evidence,
    ),
    CommandType(
        name="experiment.create",
        path="/v1/experiments",
        body=experiments.CreateExperiment,
        decide=experiments.create,
        prefix=ids.EXPERIMENT,
        answers="experiment_id",
        home=_room,
    ),
    CommandType(
        name="experiment.update",
        path="/v1/experiments/{experiment_id}/update",
        body=experiments.UpdateExperiment,
        decide=experiments.update,
        parent="experiment",
        status=200,
    ),
    CommandType(
        name="experiment.close",
        path="/v1/experiments/{experiment_id}/close",
        body=experiments.CloseExperiment,
        decide=experiments.close,
        parent="experiment",
        load=_active_runs,
        extra=_closed,
        status=200,
    ),
    CommandType(
        name="scorecard.record",
        path="/v1/scorecards",
        body=scorecards.RecordScorecard,
        decide=scorecards.record,
        prefix=ids.SCORECARD,
        answers="scorecard_id",
        reads=_scorecard_reads,
        refs=_scored,
    ),
    CommandType(
        name="lesson.log",
        path="/v1/lessons",
        body=lessons.LogLesson,
        decide=lessons.log,
        prefix=ids.LESSON,
        answers="lesson_id",
        refs=_learnt_from,
    ),
)
