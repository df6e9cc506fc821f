"""Publishing what is due, in stream order and without a gap, whoever names it and however often.

One rule gives order and healing alike. For each stream it is known how far JetStream has come: what lies at or below
that is there, what comes next is published, and what lies further ahead is preceded by the events in between, read from
the store.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog
from nats.aio.client import Client

from agentos_api.relay.jetstream import Contents, EventsStream
from agentos_api.relay.outbox import Due, Position, StreamKey, Table
from agentos_api.relay.pipeline import Outgoing, Pipeline
from agentos_shared.domain.envelope import Event
from agentos_shared.host import metrics

log = structlog.get_logger()

MISSING: Final = metrics.counter("relay_missing_events", "Holes that the relay met in the event store itself.")

#: Few enough that one burst does not hold up the event loop for longer than a millisecond or two.
BURST: Final = 64
BURST_BYTES: Final = 512 * 1024
#: Events are at most 768 KiB, so this bounds what one read brings into memory.
LOAD: Final = 64
LOOKUPS: Final = 64
MAX_PLACES: Final = 100_000
#: More than the headers of one message take.
HEADERS_BYTES: Final = 8 * 1024


@dataclass(slots=True)
class _Place:
    """How far one stream has come: published, and acknowledged."""

    sent: int
    acked: int


class Publisher:
    """Knows how far each stream has come in JetStream, and takes it further.

    Args:
        wake: set when an acknowledgement or a refusal came.
        done: called with the row of the outbox and the id of each event that JetStream holds.
    """

    def __init__(
        self, nats: Client, stream: EventsStream, table: Table, wake: asyncio.Event, done: Callable[[int, str], None]
    ) -> None:
        self._nats = nats
        self._stream = stream
        self._table = table
        self._wake = wake
        self._done = done
        self._places: dict[StreamKey, _Place] = {}
        self._burst: list[Outgoing] = []
        self._burst_bytes = 0
        self._trimmed = False
        self.pipeline = Pipeline(nats, acked=self._on_acked, woken=wake.set)
        #: Whether everything is being published anew, so that what a stream lacks was lost and not discarded.
        self.filling = False

    def restart(self, contents: Contents) -> None:
        """Forget what is in flight and what was known, and go on after what JetStream holds."""
        self._places.clear()
        self._burst, self._burst_bytes = [], 0
        self._trimmed = contents.trimmed
        self.pipeline.restart(contents.last_seq)

    async def publish(self, due: Sequence[Due]) -> int:
        """Publish what is not there yet; returns how many events that were (also those in between).

        Raises:
            PublishFailed, nats.errors.Error: :meth:`restart` before going on.
        """
        await self._learn_places(due)
        before = self.pipeline.last_seq
        for start in range(0, len(due), LOAD):
            some = due[start : start + LOAD]
            unread = [one for one in some if one.committed is None and one.seq > self._places[one.key].sent]
            events = await self._table.events([(one.key, one.seq) for one in unread]) if unread else {}
            for one in some:
                await self._publish_one(one, events)
        await self._flush()
        return self.pipeline.last_seq - before

    async def drain(self) -> None:
        """Until nothing is in flight."""
        while self.pipeline.in_flight:
            self.pipeline.check()
            await self._woken()

    def on_its_way(self, due: Due) -> bool:
        """Whether the event is published and not acknowledged."""
        place = self._places.get(due.key)
        return place is not None and place.acked < due.seq <= place.sent

    async def leaves_gap(self, due: Due) -> bool:
        """Whether events before this one are not published yet."""
        await self._learn_places([due])
        return due.seq > self._places[due.key].sent + 1

    async def lost(self, heads: Sequence[Due]) -> list[Due]:
        """Those heads that JetStream does not hold, asked of itself. Nothing may be in flight."""
        await self.drain()
        found = await self._look_up([one.key for one in heads])
        if None in found.values():
            await self._learn_trimmed()
        lost: list[Due] = []
        for one in heads:
            seq = found[one.key]
            if seq is None and self._trimmed:
                continue  # discarded by the size limit, in all likelihood
            if seq is None or seq < one.seq:
                self._places[one.key] = _Place(seq or 0, seq or 0)
                lost.append(one)
        return lost

    async def _publish_one(self, due: Due, events: Mapping[Position, Event]) -> None:
        place = self._places[due.key]
        if due.seq <= place.acked and due.position is not None and due.event_id is not None:
            self._done(due.position, due.event_id)
        if due.seq <= place.sent:
            return
        while due.seq > place.sent + 1:
            between = await self._table.stretch(due.key, place.sent, due.seq - 1, LOAD)
            if not between or between[0].stream_seq > place.sent + 1:
                self._miss(due.key, place.sent + 1)
            for event in between:
                await self._add(Outgoing(event, event.envelope_json(), None, None))
            if not between:
                place.sent = due.seq - 1
        if due.committed is not None:
            event, body = due.committed.event, due.committed.json
        elif (found := events.get((due.key, due.seq))) is not None:
            event, body = found, found.envelope_json()
        else:
            self._miss(due.key, due.seq)
            place.sent = due.seq
            return
        await self._add(Outgoing(event, body, due.position, due.traceparent))

    def _miss(self, key: StreamKey, seq: int) -> None:
        """The history itself has a hole. Whoever follows the stream finds it in the store; other streams go on."""
        MISSING.inc()
        log.error(
            "event_missing_in_store",
            stream="/".join(key),
            stream_seq=seq,
            detail="The event store lacks an event: run `agentos audit verify`, and restore a backup.",
        )

    async def _add(self, outgoing: Outgoing) -> None:
        event = outgoing.event
        self._places[event.stream_type, event.stream_id].sent = event.stream_seq
        if len(outgoing.body) + HEADERS_BYTES > self._nats.max_payload:
            # Cannot be while the server has the payload limit that we ask for; readers find the event in the store.
            log.error("event_too_large_for_nats", event_id=event.event_id, bytes=len(outgoing.body))
            if outgoing.position is not None:
                self._done(outgoing.position, event.event_id)
            return
        self._burst.append(outgoing)
        self._burst_bytes += len(outgoing.body)
        if len(self._burst) >= BURST or self._burst_bytes >= BURST_BYTES:
            await self._flush()

    async def _flush(self) -> None:
        burst, self._burst, self._burst_bytes = self._burst, [], 0
        if not burst:
            return
        while self.pipeline.full:
            self.pipeline.check()
            await self._woken()
        await self.pipeline.publish(burst)

    async def _woken(self) -> None:
        """Until something came, or for long enough to look whether the connection is still there."""
        self._wake.clear()
        try:
            async with asyncio.timeout(0.1):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _learn_places(self, due: Sequence[Due]) -> None:
        """Ask JetStream how far it has come with streams that were not met before."""
        if len(self._places) > MAX_PLACES and not self.pipeline.in_flight:
            self._places.clear()
        firsts: dict[StreamKey, int] = {}
        for one in due:
            if one.key in self._places:
                continue
            if one.committed is not None and one.seq == 1:
                self._places[one.key] = _Place(0, 0)
            else:
                firsts.setdefault(one.key, one.seq)
        found = await self._look_up(list(firsts))
        if any(seq is None and firsts[key] > 1 for key, seq in found.items()):
            await self._learn_trimmed()
        for key, seq in found.items():
            if seq is None:
                # What the size limit discarded stays discarded, unless everything is published anew.
                seq = firsts[key] - 1 if self._trimmed and not self.filling else 0
            self._places[key] = _Place(seq, seq)

    async def _look_up(self, keys: Sequence[StreamKey]) -> dict[StreamKey, int | None]:
        found: dict[StreamKey, int | None] = {}
        for start in range(0, len(keys), LOOKUPS):
            some = keys[start : start + LOOKUPS]
            answers = await asyncio.gather(*(self._stream.last_published(*key) for key in some))
            found.update(zip(some, answers, strict=True))
        return found

    async def _learn_trimmed(self) -> None:
        contents = await self._stream.contents()
        if contents is not None:
            self._trimmed = contents.trimmed

    def _on_acked(self, messages: Sequence[Outgoing]) -> None:
        for message in messages:
            event = message.event
            place = self._places.get((event.stream_type, event.stream_id))
            if place is not None:
                place.acked = event.stream_seq
            if message.position is not None:
                self._done(message.position, event.event_id)
