"""Commands of rooms, threads and messages."""

from typing import Final

from agentos_api.append.locator import Location
from agentos_api.command_type import CommandType
from agentos_shared.domain import ids, messages, rooms, threads


def _message_reads(body: messages.CreateMessage, thread: Location) -> tuple[str, ...]:
    parent = () if body.parent_message_id is None else (body.parent_message_id,)
    return (thread.stream.id, *parent)


CONVERSATION: Final = (
    CommandType(
        name="room.create",
        path="/v1/rooms",
        body=rooms.CreateRoom,
        decide=rooms.create,
        prefix=ids.ROOM,
        answers="room_id",
        opens_stream=True,
    ),
    CommandType(
        name="thread.create",
        path="/v1/rooms/{room_id}/threads",
        body=threads.CreateThread,
        decide=threads.create,
        prefix=ids.THREAD,
        answers="thread_id",
        parent="room",
    ),
    CommandType(
        name="message.create",
        path="/v1/threads/{thread_id}/messages",
        body=messages.CreateMessage,
        decide=messages.create,
        prefix=ids.MESSAGE,
        answers="message_id",
        parent="thread",
        reads=_message_reads,
    ),
)
