"""Events: queries over the store, and live streams that never miss one and never show one twice."""

import logging
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from datetime import datetime
from typing import Literal

import httpx

from agentos import errors
from agentos.answers import refusal
from agentos.cursor import Cursor, Item
from agentos.frames import Parser
from agentos.models import Event
from agentos.sync.connection import CONNECT_S, Connection
from agentos.sync.listing import Listing

log = logging.getLogger("agentos.events")

#: The server sends a comment every 15 s: a connection that is silent for three of them is dead.
SILENCE_S = 45.0


class Events:
    """What happened."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def list(
        self,
        *,
        stream: tuple[str, str] | None = None,
        from_seq: int | None = None,
        before_seq: int | None = None,
        room_id: str | None = None,
        thread_id: str | None = None,
        run_id: str | None = None,
        step_id: str | None = None,
        correlation_id: str | None = None,
        event_type: str | None = None,
        event_types: Sequence[str] = (),
        subject_agent_id: str | None = None,
        subject_principal_id: str | None = None,
        after_recorded_at: datetime | None = None,
        before_recorded_at: datetime | None = None,
        order: Literal["asc", "desc"] = "asc",
        limit: int | None = None,
    ) -> Listing[Event]:
        """Events that pass all filters, in order.

        Args:
            stream: (type, id), such as ``("room", room_id)``.
            from_seq, before_seq: only what comes after, before it; only with ``stream`` or ``room_id``.
            event_type, event_types: of any of these types, at most 20.
            subject_agent_id: about this agent. subject_principal_id: by or about this principal.
            after_recorded_at, before_recorded_at: both exclusive.
            order: ``asc``: oldest first; ``desc``: newest first.
        """
        query = {
            "stream_type": stream[0] if stream else None,
            "stream_id": stream[1] if stream else None,
            "from_seq": from_seq,
            "before_seq": before_seq,
            "room_id": room_id,
            "thread_id": thread_id,
            "run_id": run_id,
            "step_id": step_id,
            "correlation_id": correlation_id,
            "event_type": event_type,
            "event_types": ",".join(event_types) or None,
            "subject_agent_id": subject_agent_id,
            "subject_principal_id": subject_principal_id,
            "after_recorded_at": after_recorded_at.isoformat() if after_recorded_at else None,
            "before_recorded_at": before_recorded_at.isoformat() if before_recorded_at else None,
            "order": order,
            "limit": limit,
        }
        return Listing(self._connection, "/v1/events", "events", Event, query)

    def get(self, event_id: str) -> Event:
        """One event."""
        return (self._connection.get(f"/v1/events/{event_id}")).read(Event, "event")

    def stream_room(
        self,
        room_id: str,
        *,
        from_seq: int | Literal["latest"] = 0,
        follow: bool = True,
        on_caught_up: Callable[[int], None] | None = None,
    ) -> Generator[Event, None, None]:
        """Events of a room: its history after ``from_seq``, then what happens, each once and in order.

        It reconnects by itself, for as long as it takes; only the first connection has the client's patience.

        Args:
            from_seq: where to start, exclusive; ``latest`` shows only what comes.
            follow: go on after the history.
            on_caught_up: called with the head's ``stream_seq`` each time that history is done: once per connection.

        Raises:
            NotFound: there is no such room. Unreachable: the API could not be reached at all.
        """
        return self._stream(f"/v1/streams/rooms/{room_id}", from_seq, follow, on_caught_up)

    def stream_workspace(
        self,
        *,
        from_seq: int | Literal["latest"] = 0,
        follow: bool = True,
        on_caught_up: Callable[[int], None] | None = None,
    ) -> Generator[Event, None, None]:
        """The same for what belongs to no room."""
        return self._stream("/v1/streams/workspace", from_seq, follow, on_caught_up)

    def _stream(
        self,
        path: str,
        from_seq: int | Literal["latest"],
        follow: bool,
        on_caught_up: Callable[[int], None] | None,
    ) -> Generator[Event, None, None]:
        with closing(self._items(path, Cursor(from_seq))) as items:
            for item in items:
                if isinstance(item, Event):
                    yield item
                    continue
                if on_caught_up is not None:
                    on_caught_up(item.head_seq)
                if not follow:
                    return

    def _items(self, path: str, cursor: Cursor) -> Generator[Item, None, None]:
        pauses = self._connection.retry.pauses()
        while True:
            failure: errors.AgentOSError | None = None
            asked_s: float | None = None
            try:
                with self._connection.http.stream(
                    "GET",
                    path,
                    params=cursor.query,
                    headers={"accept": "text/event-stream", **cursor.headers},
                    timeout=httpx.Timeout(SILENCE_S, connect=CONNECT_S),
                ) as response:
                    if response.is_success:
                        parser = Parser()
                        for chunk in response.iter_bytes():
                            for frame in parser.feed(chunk):
                                item = cursor.take(frame)
                                if item is not None:
                                    pauses = self._connection.retry.pauses()
                                    yield item
                            if cursor.gap:
                                break  # what is missing comes with the next connection
                    else:
                        response.read()
                        failure = refused = refusal(response)
                        if not refused.transient:
                            raise refused
                        asked_s = refused.retry_after_s
            except httpx.TransportError as error:
                failure = errors.Unreachable(self._connection.settings.url, error)
                failure.__cause__ = error
            pause_s = pauses.next_s(asked_s)
            if pause_s is None:
                if failure is not None and not cursor.connected:
                    raise failure
                log.warning("stream %s: no connection (%s); still trying", path, failure)
                pauses = self._connection.retry.pauses()
                pause_s = self._connection.retry.longest_s
            time.sleep(pause_s)
