"""The check of one stream's hash chain, event by event. Pure; ``audit`` feeds it from the store.

Each event is hashed again from what the store holds, and linked to the one before it; the last one is held against the
stream's head. The first event that does not fit is named. What this proves and what not: docs/security.md.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from agentos_shared.domain.envelope import Event, Stream, data_digest, event_hash, hashed_bytes
from agentos_shared.store.reader import Head

REDACTION_EVENT: Final = "event.redacted"
REDACTED_MARK: Final = "[redacted]"

Kind = Literal[
    "prev_hash_mismatch",  # the link to the event before was changed, or that event is another one
    "event_hash_mismatch",  # a hashed member of the envelope was changed
    "event_hash_missing",
    "data_digest_mismatch",  # the content, its salt or its digest was changed
    "sequence_gap",  # events before this one are gone
    "sequence_repeated",  # the position was taken already
    "flags_mismatch",  # redaction_level or contains_secrets contradict the content
    "redaction_not_recorded",  # marked as redacted, in part or in full, and no event says that it was
    "head_mismatch",  # the head disagrees with the last event
    "head_missing",
    "events_missing",  # the head counts events that are not there
    "checkpoint_mismatch",  # an event that was verified before is gone, or is another one now
]


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The first thing in a stream that does not fit. ``event_id`` is None where the event itself is missing."""

    stream_seq: int
    event_id: str | None
    event_type: str | None
    kind: Kind
    detail: str
    expected_prev_event_hash: str | None = None
    actual_prev_event_hash: str | None = None
    expected_event_hash: str | None = None
    actual_event_hash: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found out about one stream.

    Attributes:
        checked: events that were looked at, with the bad one.
        redacted: of these, events whose content was redacted; their digest still chains.
        last_event_hash: stored hash of the last event looked at; None when there was none.
        head_seq: length of the stream as its head tells it; None without a head.
    """

    stream_type: str
    stream_id: str
    checked: int
    valid: bool
    first_mismatch: Mismatch | None
    last_event_hash: str | None
    redacted: int = 0
    head_seq: int | None = None

    def json(self) -> dict[str, Any]:
        """The members as a JSON object."""
        return asdict(self)


class ChainCheck:
    """Follows one stream, event by event. Pure.

    Args:
        after: position of the last event that is taken as good (0: none).
        previous: stored hash of that event.
        workspace_id: whose stream it is, as the head says.
    """

    def __init__(
        self, stream: Stream, *, after: int = 0, previous: str | None = None, workspace_id: str | None = None
    ) -> None:
        self.stream = stream
        self.redactions = 0
        self._workspace_id = workspace_id
        self.checked = 0
        self.redacted = 0
        self.mismatch: Mismatch | None = None
        self.seq = after
        self.hash = previous
        # Events that are marked as redacted while the one that says so has not come yet, by id and in order.
        self._unrecorded: dict[str, Mismatch] = {}

    def feed(self, event: Event) -> bool:
        """Check the next event in order of position. False once something does not fit; then feed no more."""
        self.checked += 1
        self.mismatch = self._check(event)
        self.seq = event.stream_seq
        self.hash = event.event_hash
        return self.mismatch is None

    def _check(self, event: Event) -> Mismatch | None:
        expected_seq = self.seq + 1
        if event.stream_seq != expected_seq:
            if event.stream_seq < expected_seq:
                return _mismatch(event, "sequence_repeated", f"position {event.stream_seq} stands twice")
            gone = str(expected_seq)
            if event.stream_seq > expected_seq + 1:
                gone += f" to {event.stream_seq - 1}"
            return _mismatch(
                event, "sequence_gap", f"missing before this event: position {gone}", previous=(self.hash,)
            )
        if event.prev_event_hash != self.hash:
            return _mismatch(
                event, "prev_hash_mismatch", "does not continue the event before it", previous=(self.hash,)
            )
        if not event.event_hash:
            return _mismatch(event, "event_hash_missing", "has no hash")
        problem = self._check_content(event)
        if problem is not None:
            return problem
        expected = event_hash(event.prev_event_hash, hashed_bytes(event))
        if event.event_hash != expected:
            return _mismatch(event, "event_hash_mismatch", "its members do not give its hash", own=expected)
        if self._workspace_id is not None and event.workspace_id != self._workspace_id:
            return _mismatch(event, "head_mismatch", f"is of {event.workspace_id}, its head of {self._workspace_id}")
        if event.event_type == REDACTION_EVENT:
            self.redactions += 1
            self._unrecorded.pop(str(event.data.get("target_event_id")), None)
        return None

    def _check_content(self, event: Event) -> Mismatch | None:
        level = event.redaction_level
        if event.salt is None:
            self.redacted += 1
            if level != "full":
                return _mismatch(event, "flags_mismatch", "has no salt, but is not marked as redacted")
        elif data_digest(event.salt, event.content) != event.data_digest:
            return _mismatch(event, "data_digest_mismatch", "its content and salt do not give its digest")
        elif level == "none":
            if event.contains_secrets:
                return _mismatch(event, "flags_mismatch", "says that it held a secret, but nothing in it was replaced")
            return None
        elif level != "partial" or not event.contains_secrets or REDACTED_MARK not in event.content:
            return _mismatch(event, "flags_mismatch", f"redaction_level {level} contradicts its content")
        self._unrecorded[event.event_id] = _mismatch(
            event, "redaction_not_recorded", "is marked as redacted, and no event says that it was"
        )
        return None

    @property
    def unrecorded(self) -> Sequence[str]:
        """Ids of events marked as redacted for which no redaction was seen so far."""
        return list(self._unrecorded)

    def settle(self, recorded: Sequence[str]) -> None:
        """After the last event: redactions of ``recorded`` were found elsewhere; any other is the mismatch.

        It comes before a mismatch further down the stream, since the first bad event is wanted.
        """
        for event_id in recorded:
            self._unrecorded.pop(event_id, None)
        for mismatch in self._unrecorded.values():
            self.mismatch = mismatch
            return

    def unflagged(self, seq: int, event_id: str, event_type: str, own: str) -> None:
        """An event was redacted, as a later one says, and does not say so itself."""
        if self.mismatch is not None and self.mismatch.stream_seq <= seq:
            return
        detail = "a later event says that it was redacted, but it does not say so itself"
        self.mismatch = Mismatch(
            seq, event_id, event_type, "flags_mismatch", detail, expected_event_hash=own, actual_event_hash=own
        )

    def close(self, head: Head | None) -> None:
        """Hold the last event against the stream's head."""
        if self.mismatch is not None:
            return
        if head is None:
            if self.seq > 0:
                self.mismatch = self._at_head("head_missing", self.seq, None, "has events but no head")
        elif self.seq == 0 and head.seq > 0:
            self.mismatch = self._at_head(
                "events_missing", head.seq, head, f"the head counts {head.seq} events, none is there"
            )
        elif head.seq != self.seq:
            # Named is the first position that only one of the two knows.
            bad = min(head.seq, self.seq) + 1
            self.mismatch = self._at_head(
                "head_mismatch", bad, head, f"the head says {head.seq}, the last event is {self.seq}"
            )
        elif head.hash != self.hash:
            self.mismatch = self._at_head("head_mismatch", self.seq, head, "the head's hash is not the last event's")

    def _at_head(self, kind: Kind, seq: int, head: Head | None, detail: str) -> Mismatch:
        return Mismatch(
            stream_seq=seq,
            event_id=None,
            event_type=None,
            kind=kind,
            detail=detail,
            expected_event_hash=self.hash,
            actual_event_hash=None if head is None else head.hash,
        )

    def verdict(self, head: Head | None) -> Verdict:
        """The result so far."""
        return Verdict(
            stream_type=self.stream.type,
            stream_id=self.stream.id,
            checked=self.checked,
            valid=self.mismatch is None,
            first_mismatch=self.mismatch,
            last_event_hash=self.hash,
            redacted=self.redacted,
            head_seq=None if head is None else head.seq,
        )


def _mismatch(
    event: Event, kind: Kind, detail: str, *, previous: tuple[str | None] | None = None, own: str | None = None
) -> Mismatch:
    return Mismatch(
        stream_seq=event.stream_seq,
        event_id=event.event_id,
        event_type=event.event_type,
        kind=kind,
        detail=detail,
        expected_prev_event_hash=event.prev_event_hash if previous is None else previous[0],
        actual_prev_event_hash=event.prev_event_hash,
        expected_event_hash=event.event_hash if own is None else own,
        actual_event_hash=event.event_hash,
    )
