"""What the writer remembers of streams, so that a warm append needs no read.

Everything here is a guess about the database that the append proves: an entry holds as of the head that is remembered
with it, and the append statement refuses to run on any other head. Whoever learns that a head has moved forgets the
stream, and with it every state that was folded from it.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from agentos_shared.domain.catalog import AGGREGATES
from agentos_shared.domain.decider import RUN_FAMILY
from agentos_shared.domain.envelope import Event, NewEvent, Stream
from agentos_shared.store.reader import Head

MAX_STREAMS: Final = 20_000
MAX_ENTITIES_PER_STREAM: Final = 2_000


class Entry(NamedTuple):
    """A folded entity: its version, its last event, and its state (None: it does not exist).

    The last event of a run is that of its family: its steps, tool calls and artifacts lead to one another.

    Args:
        last_seq: the last event's place in its stream.
        stream: where it lives; known of what was read from the store.
    """

    version: int = 0
    last_event_id: str | None = None
    state: Any = None
    last_seq: int = 0
    stream: Stream | None = None


ABSENT: Final = Entry()
#: An entry is made for every event; the class's own constructor takes three times as long.
_new: Final = tuple.__new__


def advance(entry: Entry, event: Event) -> Entry:
    """Fold one more event into an entity."""
    aggregate = AGGREGATES.get(event.entity_type)
    state = entry.state if aggregate is None else aggregate.evolve(entry.state, event)
    return _new(Entry, (event.entity_version, event.event_id, state, event.stream_seq, None))


def leads_to(new: NewEvent) -> str:
    """The entity whose last event leads to this one: a run, of whatever is inside it; else the event's own."""
    return new.run_id if new.run_id is not None and new.entity_type in RUN_FAMILY else new.entity_id


def follow(entry: Entry, event: Event) -> Entry:
    """Note that something inside a run had an event: what comes next in the family follows from it."""
    return Entry(entry.version, event.event_id, entry.state, event.stream_seq)


def fold(events: Sequence[Event]) -> Entry:
    """Fold the whole life of an entity; a run's may be followed by the last event of its family."""
    if not events:
        return ABSENT
    entry, first = ABSENT, events[0]
    for event in events:
        entry = advance(entry, event) if event.entity_id == first.entity_id else follow(entry, event)
    return entry._replace(stream=first.stream)


class _Remembered:
    __slots__ = ("entities", "head")

    def __init__(self, head: Head) -> None:
        self.head = head
        self.entities: OrderedDict[str, Entry] = OrderedDict()


class StreamCache:
    """Heads and folded entities of the streams that were written last; bounded in both directions."""

    def __init__(self, max_streams: int = MAX_STREAMS, max_entities: int = MAX_ENTITIES_PER_STREAM) -> None:
        self._max_streams = max_streams
        self._max_entities = max_entities
        self._streams: OrderedDict[Stream, _Remembered] = OrderedDict()

    def head(self, stream: Stream) -> Head | None:
        """The remembered head, or None when nothing is known."""
        remembered = self._streams.get(stream)
        return None if remembered is None else remembered.head

    def entry(self, stream: Stream, entity_id: str) -> Entry | None:
        """A remembered entity, or None when nothing is known of it."""
        remembered = self._streams.get(stream)
        return None if remembered is None else remembered.entities.get(entity_id)

    def remember(self, stream: Stream, head: Head) -> None:
        """Note the head of a stream; entities stay, since they hold as of it."""
        remembered = self._streams.get(stream)
        if remembered is None:
            self._streams[stream] = _Remembered(head)
            if len(self._streams) > self._max_streams:
                self._streams.popitem(last=False)
        else:
            remembered.head = head
            self._streams.move_to_end(stream)

    def remember_entity(self, stream: Stream, entity_id: str, entry: Entry) -> None:
        """Note an entity of a stream whose head is remembered; otherwise nothing is kept."""
        remembered = self._streams.get(stream)
        if remembered is None:
            return
        remembered.entities[entity_id] = entry
        remembered.entities.move_to_end(entity_id)
        if len(remembered.entities) > self._max_entities:
            remembered.entities.popitem(last=False)

    def forget(self, streams: Iterable[Stream]) -> None:
        """Drop all that is known of these streams."""
        for stream in streams:
            self._streams.pop(stream, None)
