"""Lessons: what to do differently, and what taught it."""

from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import Field, JsonValue

from agentos_shared.domain.decider import Command, CommandBody, View, expect_version
from agentos_shared.domain.envelope import ActorType, Event, NewEvent, Stream
from agentos_shared.domain.errors import Invalid

MAX_ITEMS: Final = 64


class LogLesson(CommandBody):
    """Writes a lesson down, with at least one of the things that taught it."""

    category: str = Field(min_length=1, max_length=200)
    summary: str = Field(min_length=1, max_length=20_000)
    experiment_id: str | None = None
    run_id: str | None = None
    scorecard_id: str | None = None
    incident_id: str | None = None
    action_items: list[Annotated[str, Field(min_length=1, max_length=4000)]] = Field(
        default_factory=list, max_length=MAX_ITEMS
    )
    tags: list[Annotated[str, Field(min_length=1, max_length=200)]] = Field(default_factory=list, max_length=MAX_ITEMS)
    metadata: dict[str, JsonValue] = Field(default_factory=dict)

    def speaker(self) -> tuple[ActorType, str]:
        """Who is responsible when nobody is named."""
        return "user", "ceo"


@dataclass(frozen=True, slots=True)
class Lesson:
    """What decisions read of a lesson: that it is there."""


def log(command: Command[LogLesson], view: View) -> list[NewEvent]:
    """``lesson.logged`` in the workspace's stream.

    Raises:
        Invalid: ``lesson_context_required``.
    """
    body = command.body
    if not (body.experiment_id or body.run_id or body.scorecard_id or body.incident_id):
        raise Invalid(
            "lesson_context_required",
            "Give what taught it: experiment_id, run_id, scorecard_id or incident_id.",
        )
    expect_version(command, view)
    meta = command.meta
    return [
        NewEvent(
            event_type="lesson.logged",
            stream=Stream("workspace", meta.workspace_id),
            workspace_id=meta.workspace_id,
            entity_type="lesson",
            entity_id=command.entity_id,
            run_id=body.run_id,
            actor=meta.actor,
            correlation_id=meta.correlation_id,
            idempotency_key=meta.idempotency_key,
            data={
                "lesson_id": command.entity_id,
                "experiment_id": body.experiment_id,
                "run_id": body.run_id,
                "scorecard_id": body.scorecard_id,
                "incident_id": body.incident_id,
                "category": body.category,
                "summary": body.summary,
                "action_items": body.action_items,
                "tags": body.tags,
                "metadata": body.metadata,
            },
        )
    ]


def evolve(state: Lesson | None, event: Event) -> Lesson | None:
    """Fold one event of a lesson."""
    if event.event_type == "lesson.logged":
        return Lesson()
    return state
