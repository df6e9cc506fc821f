"""Rooms, threads, messages and the search over them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from agentos.aio.connection import Connection
from agentos.aio.listing import AsyncListing
from agentos.models import (
    ActorType,
    Found,
    Message,
    MessageCreated,
    Room,
    RoomCreated,
    Thread,
    ThreadCreated,
    Written,
)


class Rooms:
    """Places where people and agents meet."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def create(
        self,
        title: str,
        *,
        topic: str | None = None,
        room_mode: str | None = None,
        default_lang: str | None = None,
        mission_id: str | None = None,
        tool_policy_ref: str | None = None,
        zone: str | None = None,
        correlation_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> RoomCreated:
        """A new room."""
        body = {
            "title": title,
            "topic": topic,
            "room_mode": room_mode,
            "default_lang": default_lang,
            "mission_id": mission_id,
            "tool_policy_ref": tool_policy_ref,
            "zone": zone,
            "correlation_id": correlation_id,
        }
        answer = await self._connection.post("/v1/rooms", body, idempotency_key=idempotency_key)
        return answer.read(RoomCreated)

    async def get(self, room_id: str) -> Room:
        """One room, as new as the store is."""
        return (await self._connection.get(f"/v1/rooms/{room_id}")).read(Room, "room")

    def list(self, *, limit: int | None = None, min_position: str | Written | None = None) -> AsyncListing[Room]:
        """Rooms of the workspace, last changed first."""
        return AsyncListing(self._connection, "/v1/rooms", "rooms", Room, {"limit": limit}, min_position)


class Threads:
    """Subjects of a room."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def create(
        self,
        room_id: str,
        title: str,
        *,
        status: str | None = None,
        correlation_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> ThreadCreated:
        """A new thread in a room."""
        body = {"title": title, "status": status, "correlation_id": correlation_id}
        answer = await self._connection.post(f"/v1/rooms/{room_id}/threads", body, idempotency_key=idempotency_key)
        return answer.read(ThreadCreated)

    async def get(self, thread_id: str) -> Thread:
        """One thread, as new as the store is."""
        return (await self._connection.get(f"/v1/threads/{thread_id}")).read(Thread, "thread")

    def list(
        self, room_id: str, *, limit: int | None = None, min_position: str | Written | None = None
    ) -> AsyncListing[Thread]:
        """Threads of a room, last changed first."""
        path = f"/v1/rooms/{room_id}/threads"
        return AsyncListing(self._connection, path, "threads", Thread, {"limit": limit}, min_position)


class Messages:
    """What is said in a thread."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def create(
        self,
        thread_id: str,
        content_md: str,
        *,
        lang: str | None = None,
        sender_type: ActorType | None = None,
        sender_id: str | None = None,
        parent_message_id: str | None = None,
        labels: Sequence[str] = (),
        correlation_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> MessageCreated:
        """Say something, in Markdown; as the client's actor where no sender is named."""
        actor = self._connection.actor or (None, None)
        body = {
            "content_md": content_md,
            "lang": lang,
            "sender_type": sender_type or actor[0],
            "sender_id": sender_id or actor[1],
            "parent_message_id": parent_message_id,
            "labels": list(labels),
            "correlation_id": correlation_id,
        }
        path = f"/v1/threads/{thread_id}/messages"
        return (await self._connection.post(path, body, idempotency_key=idempotency_key)).read(MessageCreated)

    async def get(self, message_id: str) -> Message:
        """One message, as new as the store is."""
        return (await self._connection.get(f"/v1/messages/{message_id}")).read(Message, "message")

    def list(
        self,
        thread_id: str,
        *,
        before: datetime | None = None,
        limit: int | None = None,
        min_position: str | Written | None = None,
    ) -> AsyncListing[Message]:
        """Messages of a thread, newest first."""
        query = {"before": before.isoformat() if before else None, "limit": limit}
        path = f"/v1/threads/{thread_id}/messages"
        return AsyncListing(self._connection, path, "messages", Message, query, min_position)

    def search(
        self,
        q: str,
        *,
        match: Literal["text", "words"] = "text",
        room_id: str | None = None,
        thread_id: str | None = None,
        limit: int | None = None,
        min_position: str | Written | None = None,
    ) -> AsyncListing[Found]:
        """Messages with this text in them, newest first.

        Args:
            match: ``words``: whole words in any order, with "phrases in quotes", ``or`` and ``-not``.
        """
        query = {"q": q, "match": match, "room_id": room_id, "thread_id": thread_id, "limit": limit}
        return AsyncListing(self._connection, "/v1/search", "docs", Found, query, min_position)
