"""Messages: what people, agents and services say in a thread."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from agentos_shared.domain.decider import Command, CommandBody, View, expect_version
from agentos_shared.domain.envelope import ActorType, Event, NewEvent, Stream
from agentos_shared.domain.errors import Invalid, NotFound
from agentos_shared.domain.rooms import Language, Room
from agentos_shared.domain.threads import Thread

SCHEMA_VERSIONS = ("2.0", "2.1")


class CreateMessage(CommandBody):
    """Says something in a thread. ``content_md`` is Markdown and kept to the byte."""

    content_md: str = Field(min_length=1)
    lang: Language | None = None
    sender_type: ActorType = "user"
    sender_id: str = Field("anon", min_length=1, max_length=200)
    parent_message_id: str | None = Field(None, min_length=1, max_length=64)
    labels: list[Annotated[str, Field(min_length=1, max_length=200)]] = Field(default_factory=list, max_length=64)
    schema_version: str | None = Field(None, json_schema_extra={"enum": [*SCHEMA_VERSIONS, None]})

    def speaker(self) -> tuple[ActorType, str]:
        """The sender."""
        return self.sender_type, self.sender_id


@dataclass(frozen=True, slots=True)
class Message:
    """What decisions read of a message."""

    thread_id: str


def create(command: Command[CreateMessage], view: View) -> list[NewEvent]:
    """``message.created`` in the room's stream.

    Raises:
        Invalid: ``invalid_schema_version``.
        NotFound: ``thread_not_found``; ``message_not_found`` when the parent is not in the same thread.
    """
    body = command.body
    if body.schema_version is not None:
        require_schema_version(body.schema_version)
    thread = view.get(Thread, command.parent_id) if command.parent_id else None
    room = view.get(Room, thread.room_id) if thread else None
    if thread is None or room is None:
        raise NotFound("thread_not_found", "There is no such thread in this workspace.")
    if body.parent_message_id is not None:
        parent = view.get(Message, body.parent_message_id)
        if parent is None or parent.thread_id != command.parent_id:
            raise NotFound("message_not_found", "parent_message_id names no message of this thread.")
    expect_version(command, view)
    return [
        NewEvent(
            event_type="message.created",
            stream=Stream("room", thread.room_id),
            workspace_id=command.meta.workspace_id,
            entity_type="message",
            entity_id=command.entity_id,
            mission_id=room.mission_id,
            room_id=thread.room_id,
            thread_id=command.parent_id,
            actor=command.meta.actor,
            zone=room.zone,
            correlation_id=command.meta.correlation_id,
            idempotency_key=command.meta.idempotency_key,
            data={
                "message_id": command.entity_id,
                "sender_type": body.sender_type,
                "sender_id": body.sender_id,
                "content_md": body.content_md,
                "lang": body.lang or room.default_lang,
                "parent_message_id": body.parent_message_id,
                "labels": body.labels,
            },
        )
    ]


def require_schema_version(version: str | None) -> None:
    """Raises Invalid: ``invalid_schema_version``; None is none given."""
    if version is not None and version not in SCHEMA_VERSIONS:
        raise Invalid(
            "invalid_schema_version",
            f"schema_version must be one of {', '.join(SCHEMA_VERSIONS)}.",
            reason_code="unsupported_version",
            message="unsupported schema_version",
        )


def evolve(state: Message | None, event: Event) -> Message | None:
    """Fold one event of a message."""
    if event.event_type == "message.created" and event.thread_id is not None:
        return Message(event.thread_id)
    return state
