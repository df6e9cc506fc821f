"""Where a live stream is: what to ask for next, and which of the frames that come are news."""

import json
import logging
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from agentos.frames import Frame
from agentos.models import Event

log = logging.getLogger("agentos.events")


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """History is done; what comes now happens now."""

    head_seq: int


Item: TypeAlias = Event | CaughtUp


class Cursor:
    """The position of one stream over any number of connections.

    Attributes:
        last_seq: of the last event that was shown; None before there is one.
        connected: whether any frame ever came.
        gap: an event came that does not follow the last one: reconnect, from the last one.
    """

    def __init__(self, from_seq: int | Literal["latest"]) -> None:
        self.query: Final = {"from_seq": str(from_seq)}
        self.last_seq: int | None = None if from_seq == "latest" else from_seq
        self.connected = False
        self.gap = False

    @property
    def headers(self) -> dict[str, str]:
        """What makes a new connection go on where the last one ended; it wins over the query."""
        self.gap = False
        return {} if self.last_seq is None else {"last-event-id": str(self.last_seq)}

    def take(self, frame: Frame) -> Item | None:
        """The news in a frame, if there is any."""
        self.connected = True
        if frame.name == "message":
            return self._event(frame)
        if frame.name == "caught_up":
            head_seq = _head_seq(frame)
            if self.last_seq is None:  # it tails: from here on nothing may be missing
                self.last_seq = head_seq
            return CaughtUp(head_seq)
        if frame.name == "reset":
            head_seq = _head_seq(frame)
            log.warning("the stream ends at %d, before %s that was seen: it was restored", head_seq, self.last_seq)
            self.last_seq = head_seq
        return None  # `gone` too: the server closes after it, and the next connection goes on

    def _event(self, frame: Frame) -> Event | None:
        if self.gap:
            return None
        event = Event.model_validate_json(frame.data)
        if self.last_seq is not None:
            if event.stream_seq <= self.last_seq:
                return None
            if event.stream_seq != self.last_seq + 1:
                self.gap = True
                return None
        self.last_seq = event.stream_seq
        return event


def _head_seq(frame: Frame) -> int:
    return int(json.loads(frame.data)["head_seq"])
