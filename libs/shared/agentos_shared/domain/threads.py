"""Threads: one subject of a room."""

from dataclasses import dataclass

from pydantic import Field

from agentos_shared.domain.decider import Command, CommandBody, View, expect_version
from agentos_shared.domain.envelope import Event, NewEvent, Stream
from agentos_shared.domain.errors import NotFound
from agentos_shared.domain.rooms import Room, Title


class CreateThread(CommandBody):
    """Opens a thread in a room."""

    title: Title
    status: str = Field("open", min_length=1, max_length=64)


@dataclass(frozen=True, slots=True)
class Thread:
    """What decisions read of a thread."""

    workspace_id: str
    room_id: str


def create(command: Command[CreateThread], view: View) -> list[NewEvent]:
    """``thread.created`` in the room's stream.

    Raises:
        NotFound: ``room_not_found``.
    """
    room = view.get(Room, command.parent_id) if command.parent_id else None
    if room is None or command.room_id is None:
        raise NotFound("room_not_found", "There is no such room in this workspace.")
    expect_version(command, view)
    body = command.body
    return [
        NewEvent(
            event_type="thread.created",
            stream=Stream("room", command.room_id),
            workspace_id=command.meta.workspace_id,
            entity_type="thread",
            entity_id=command.entity_id,
            mission_id=room.mission_id,
            room_id=command.room_id,
            thread_id=command.entity_id,
            actor=command.meta.actor,
            zone=room.zone,
            correlation_id=command.meta.correlation_id,
            idempotency_key=command.meta.idempotency_key,
            data={"thread_id": command.entity_id, "title": body.title, "status": body.status},
        )
    ]


def evolve(state: Thread | None, event: Event) -> Thread | None:
    """Fold one event of a thread."""
    if event.event_type == "thread.created" and event.room_id is not None:
        return Thread(event.workspace_id, event.room_id)
    return state
