"""Experiments: a hypothesis, a budget and the runs that test it."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import Field, JsonValue

from agentos_shared.domain.decider import Command, CommandBody, View, expect_version
from agentos_shared.domain.envelope import ActorType, Event, NewEvent, Stream, Zone
from agentos_shared.domain.errors import Conflict, NotFound
from agentos_shared.domain.rooms import Room, Title

RiskTier = Literal["low", "medium", "high"]
Status = Literal["open", "closed", "stopped"]


class _ExperimentBody(CommandBody):
    def speaker(self) -> tuple[ActorType, str]:
        """Who is responsible when nobody is named."""
        return "user", "ceo"


class CreateExperiment(_ExperimentBody):
    """Opens an experiment, in a room or for the whole workspace."""

    title: Title
    hypothesis: str = Field(min_length=1, max_length=20_000)
    # A number and a tier that are missing are wrong ones to a client, so null is checked like any other value.
    budget_cap_units: float = Field(None, ge=0, validate_default=True)
    risk_tier: RiskTier = Field(None, validate_default=True)
    success_criteria: dict[str, JsonValue] = Field(default_factory=dict)
    stop_conditions: dict[str, JsonValue] = Field(default_factory=dict)
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    room_id: str | None = None


class UpdateExperiment(_ExperimentBody):
    """Changes some members of an open experiment; those that are absent or null stay."""

    title: Title | None = None
    hypothesis: str | None = Field(None, min_length=1, max_length=20_000)
    budget_cap_units: float | None = Field(None, ge=0)
    risk_tier: RiskTier | None = None
    success_criteria: dict[str, JsonValue] | None = None
    stop_conditions: dict[str, JsonValue] | None = None
    metadata: dict[str, JsonValue] | None = None


class CloseExperiment(_ExperimentBody):
    """Ends an experiment. With runs that are queued or running it needs ``force``, and is then stopped, not closed."""

    force: bool = False
    reason: str | None = Field(None, max_length=20_000)


@dataclass(frozen=True, slots=True)
class Experiment:
    """What decisions read of an experiment."""

    room_id: str | None
    mission_id: str | None
    zone: Zone
    correlation_id: str
    status: Status = "open"


def create(command: Command[CreateExperiment], view: View) -> list[NewEvent]:
    """``experiment.created`` in the room's stream, else the workspace's.

    Raises:
        NotFound: ``room_not_found``.
    """
    body = command.body
    room = view.get(Room, command.room_id) if command.room_id else None
    if command.room_id is not None and room is None:
        raise NotFound("room_not_found", "There is no such room in this workspace.")
    expect_version(command, view)
    experiment = Experiment(
        room_id=command.room_id,
        mission_id=room.mission_id if room else None,
        zone=room.zone if room else "supervised",
        correlation_id=command.meta.correlation_id,
    )
    return [_event(command, experiment, "experiment.created", _members(body))]


def update(command: Command[UpdateExperiment], view: View) -> list[NewEvent]:
    """``experiment.updated`` with the members that change; nothing when none is given.

    Raises:
        NotFound: ``experiment_not_found``.
        Conflict: ``experiment_not_open``.
    """
    experiment = _open(command, view)
    expect_version(command, view)
    members = _members(command.body)
    if all(value is None for value in members.values()):
        return []
    return [_event(command, experiment, "experiment.updated", members)]


def close(command: Command[CloseExperiment], view: View) -> list[NewEvent]:
    """``experiment.closed``. ``command.loaded`` is the number of its runs that are queued or running.

    They were counted just before: runs live in streams of their own, so one that is created at this very moment is not
    among them.

    Raises:
        NotFound: ``experiment_not_found``.
        Conflict: ``experiment_not_open``, ``experiment_has_active_runs``.
    """
    experiment = _open(command, view)
    active, body = int(command.loaded or 0), command.body
    if active and not body.force:
        raise Conflict(
            "experiment_has_active_runs",
            f"{active} of its runs are queued or running: end them, or close with force.",
            active_run_count=active,
        )
    expect_version(command, view)
    data = {
        "status": "stopped" if active else "closed",
        "reason": body.reason,
        "force": body.force,
        "active_run_count": active,
    }
    return [_event(command, experiment, "experiment.closed", data)]


def _open(command: Command[Any], view: View) -> Experiment:
    experiment = view.get(Experiment, command.entity_id)
    if experiment is None:
        raise NotFound("experiment_not_found", "There is no such experiment in this workspace.")
    if experiment.status != "open":
        raise Conflict("experiment_not_open", f"The experiment is {experiment.status}.")
    return experiment


def _members(body: CreateExperiment | UpdateExperiment) -> dict[str, Any]:
    return {
        "title": body.title,
        "hypothesis": body.hypothesis,
        "success_criteria": body.success_criteria,
        "stop_conditions": body.stop_conditions,
        "budget_cap_units": body.budget_cap_units,
        "risk_tier": body.risk_tier,
        "metadata": body.metadata,
    }


def _event(command: Command[Any], experiment: Experiment, event_type: str, data: dict[str, Any]) -> NewEvent:
    meta, room_id = command.meta, experiment.room_id
    return NewEvent(
        event_type=event_type,
        stream=Stream("room", room_id) if room_id else Stream("workspace", meta.workspace_id),
        workspace_id=meta.workspace_id,
        entity_type="experiment",
        entity_id=command.entity_id,
        mission_id=experiment.mission_id,
        room_id=room_id,
        actor=meta.actor,
        zone=experiment.zone,
        correlation_id=experiment.correlation_id,
        idempotency_key=meta.idempotency_key,
        data={"experiment_id": command.entity_id, **data},
    )


def evolve(state: Experiment | None, event: Event) -> Experiment | None:
    """Fold one event of an experiment."""
    if event.event_type == "experiment.created":
        return Experiment(event.room_id, event.mission_id, event.zone, event.correlation_id)
    if event.event_type == "experiment.closed" and state is not None:
        return replace(state, status="stopped" if event.data.get("status") == "stopped" else "closed")
    return state
