"""Finding what JetStream lost, by comparing it with the store.

Three searches, from quick to thorough:

- *From the tail*: after a restart or a surprise, events since shortly before the last message. A crash costs JetStream
  what it had not yet synced, a corrupt block everything after it; both end at what is now the last message.
- *From the start*: when the stream is new, was emptied, or lost messages from its middle.
- *Around*: all heads in turn, a slice a second, compared with the stream's last message each. Nothing later would ever
  reveal the loss of a quiet stream's last event.

They only name events that ought to be there; the publisher skips those that are.
"""

from datetime import timedelta
from typing import Final
from uuid import UUID

from agentos_api.relay.outbox import SQL, Connection, Due, StreamKey

#: Events are published about in the order of their ids; this much of a difference is looked back.
LOOK_BACK: Final = timedelta(seconds=60)
PAGE: Final = 1000
SLICE: Final = 64
START: Final = UUID(int=0)


def since(event_id: UUID) -> UUID:
    """The least UUIDv7 that lies :data:`LOOK_BACK` before another."""
    milliseconds = (event_id.int >> 80) - int(LOOK_BACK.total_seconds() * 1000)
    return UUID(int=max(0, milliseconds) << 80)


class Walk:
    """Goes through all events after an id, page by page."""

    def __init__(self, begin: UUID) -> None:
        self.begin = begin
        self.done = False
        self._after = begin

    async def page(self, connection: Connection) -> list[Due]:
        """The next events, in about the order of time."""
        rows = await connection.fetch(SQL["since"], self._after, PAGE)
        self.done = len(rows) < PAGE
        if rows:
            self._after = UUID(int=rows[-1]["event_id"].int)
        return [Due((row["stream_type"], row["stream_id"]), row["stream_seq"]) for row in rows]


class Round:
    """Goes around all heads for ever, a slice at a time."""

    def __init__(self) -> None:
        self._after: StreamKey = ("", "")
        self._slice: list[Due] = []

    @property
    def under_way(self) -> bool:
        """False between two rounds."""
        return bool(self._slice)

    async def slice(self, connection: Connection) -> list[Due]:
        """The heads that were read the last time (so each had a second to be published), and read the next ones.

        Empty at the start of each round.
        """
        due = self._slice
        rows = await connection.fetch(SQL["heads"], *self._after, SLICE)
        self._slice = [Due((row["stream_type"], row["stream_id"]), row["seq"]) for row in rows]
        self._after = self._slice[-1].key if self._slice else ("", "")
        return due
