"""Rooms: the place where people and agents meet, and the stream that everything in it belongs to."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from agentos_shared.domain.decider import Command, CommandBody, View, expect_version
from agentos_shared.domain.envelope import Event, NewEvent, Stream, Zone

Title = Annotated[str, Field(min_length=1, max_length=500)]
Language = Annotated[str, Field(min_length=1, max_length=35)]


class CreateRoom(CommandBody):
    """Opens a room with an empty history."""

    title: Title
    topic: str | None = Field(None, max_length=4000)
    room_mode: str = Field("normal", min_length=1, max_length=64)
    default_lang: Language = "en"
    tool_policy_ref: str | None = Field(None, max_length=200)
    mission_id: str | None = Field(None, min_length=1, max_length=200)
    zone: Zone = "supervised"


@dataclass(frozen=True, slots=True)
class Room:
    """What decisions read of a room."""

    workspace_id: str
    mission_id: str | None
    default_lang: str
    zone: Zone


def create(command: Command[CreateRoom], view: View) -> list[NewEvent]:
    """``room.created``, event one of the room's own stream."""
    expect_version(command, view)
    body = command.body
    return [
        NewEvent(
            event_type="room.created",
            stream=Stream("room", command.entity_id),
            workspace_id=command.meta.workspace_id,
            entity_type="room",
            entity_id=command.entity_id,
            mission_id=body.mission_id,
            room_id=command.entity_id,
            actor=command.meta.actor,
            zone=body.zone,
            correlation_id=command.meta.correlation_id,
            idempotency_key=command.meta.idempotency_key,
            data={
                "room_id": command.entity_id,
                "title": body.title,
                "topic": body.topic,
                "room_mode": body.room_mode,
                "default_lang": body.default_lang,
                "tool_policy_ref": body.tool_policy_ref,
            },
        )
    ]


def evolve(state: Room | None, event: Event) -> Room | None:
    """Fold one event of a room."""
    if event.event_type == "room.created":
        return Room(event.workspace_id, event.mission_id, event.data["default_lang"], event.zone)
    return state
