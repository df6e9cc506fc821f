"""The leading relay's work: publish what is due, in stream order, without a gap, and delete what is acknowledged.

One rule gives order and healing alike. For each stream it is known how far JetStream has come: what lies at or below
that is there, what comes next is published, and what lies further ahead is preceded by the events in between, read from
the store. It does not matter then who names an event, or how often: memory, the table, or a search for losses.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError

from agentos_api.jetstream import Contents, EventsStream
from agentos_api.outbox import PAGE, Connection, Due, Memory, Position, StreamKey, Table
from agentos_api.pipeline import BURST, Outgoing, Pipeline, PublishFailed
from agentos_api.reconcile import START, Round, Walk, since
from agentos_shared.domain.envelope import Event
from agentos_shared.host import metrics
from agentos_shared.host.failpoints import failpoint
from agentos_shared.host.lifecycle import Backoff, Clock, Rng

log = structlog.get_logger()

REPUBLISHED: Final = metrics.counter("relay_republished_events", "Events published again because JetStream lost them.")
SURPRISES: Final = metrics.counter("relay_surprises", "Times that JetStream was not as expected and was read anew.")

POLL_S: Final = 0.5
FORGET_EVERY_S: Final = 0.02
FORGET_AT: Final = 2000
MEASURE_EVERY_S: Final = 5.0
INSPECT_EVERY_S: Final = 30.0
SLICE_EVERY_S: Final = 1.0
#: Events are at most 768 KiB, so this bounds what one read brings into memory.
LOAD: Final = 64
LOOKUPS: Final = 64
MAX_PLACES: Final = 100_000
BURST_BYTES: Final = 512 * 1024
#: More than the headers of one message take.
HEADERS_BYTES: Final = 8 * 1024


@dataclass(slots=True)
class _Place:
    """How far one stream has come: published, and acknowledged."""

    sent: int
    acked: int


class Leader:
    """Runs as long as this process leads.

    Args:
        connection: Postgres, the one that holds the lock, so that losing it ends the work.
        memory: commits of this process; shared with the relay, which fills it.
        wake: set when there may be something to do.
    """

    def __init__(
        self,
        connection: Connection,
        nats: Client,
        stream: EventsStream,
        memory: Memory,
        wake: asyncio.Event,
        *,
        clock: Clock,
        rng: Rng,
    ) -> None:
        self._connection = connection
        self._table = Table(connection)
        self._nats = nats
        self._stream = stream
        self._memory = memory
        self._wake = wake
        self._clock = clock
        self._rng = rng
        self._pipeline = Pipeline(nats, acked=self._on_acked, woken=wake.set)
        self._backoff = Backoff(0.02, 1.0, rng=rng)
        self._places: dict[StreamKey, _Place] = {}
        self._burst: list[Outgoing] = []
        self._burst_bytes = 0
        self._acked: list[int] = []
        self._forget_at: float | None = None
        self._walk: Walk | None = None
        self._round = Round()
        self._trimmed = False
        self._filled_from: int | None = None
        self._seen_reconnects: int | None = None
        self._turns = 0
        self.read_table = True
        now = clock.monotonic()
        self._poll_at = self._measure_at = now
        self._inspect_at = now + INSPECT_EVERY_S
        self._slice_at = now + SLICE_EVERY_S

    async def run(self) -> None:
        """Until the connection to Postgres fails: raises OSError, TimeoutError or asyncpg's errors then."""
        try:
            while True:
                try:
                    await self._settle()
                    while True:
                        await self._turn()
                except (PublishFailed, NatsError) as error:
                    SURPRISES.inc()
                    log.warning("relay_starts_over", error=f"{type(error).__name__}: {error}")
                    await self._forget_acked()
                    await self._clock.sleep(self._backoff.next_s())
        finally:
            await self._leave()

    async def _leave(self) -> None:
        """Best effort: what is not deleted now is looked up, and deleted, by the next leader."""
        try:
            async with asyncio.timeout(0.5):
                if not self._connection.is_closed():
                    await self._forget_acked()
                await self._pipeline.close()
        except Exception as error:
            log.debug("relay_left_untidy", error=f"{type(error).__name__}: {error}")

    # -- what JetStream holds

    async def _settle(self) -> None:
        """Read what JetStream holds; start to search if it may have lost something."""
        while not self._nats.is_connected:
            await self._poll_postgres()
            await self._clock.sleep(0.05 + 0.05 * self._rng.random())
        await self._pipeline.open()
        reconnects: int = self._nats.stats["reconnects"]
        contents = await self._stream.open()
        if contents.missing or contents.emptied:
            log.error("jetstream_lost_messages", missing=contents.missing, emptied=contents.emptied)
            contents = await self._stream.clear()
        restarted = reconnects != self._seen_reconnects
        shorter = contents.last_seq < self._pipeline.last_seq - self._pipeline.in_flight
        self._places.clear()
        self._burst, self._burst_bytes = [], 0
        self._memory.clear()
        self.read_table = True
        self._pipeline.restart(contents.last_seq)
        await self._search(contents, may_have_lost=restarted or shorter)
        self._seen_reconnects = reconnects

    async def _search(self, contents: Contents, *, may_have_lost: bool) -> None:
        self._filled_from = contents.filled_from
        self._trimmed = contents.trimmed
        if contents.filled_from is None or contents.messages == 0:
            self._filled_from = contents.first_seq if contents.messages else contents.last_seq + 1
            self._walk = Walk(START)
        elif self._walk is not None and self._walk.from_start:
            self._walk = Walk(START)
        elif may_have_lost:
            event_id = await self._stream.last_event_id()
            self._walk = Walk(START if event_id is None else since(event_id))

    async def _inspect(self) -> None:
        """Whether the stream still is as it was left (nothing is in flight). Raises PublishFailed when not."""
        contents = await self._stream.contents()
        if contents is None:
            raise PublishFailed("the stream of events is gone")
        if contents.last_seq != self._pipeline.last_seq or contents.missing:
            raise PublishFailed(
                f"the stream ends at {contents.last_seq}, expected {self._pipeline.last_seq}; "
                f"{contents.missing} messages missing"
            )
        if contents.emptied:
            raise PublishFailed("the stream of events was emptied")
        self._trimmed = contents.trimmed

    # -- one turn

    async def _turn(self) -> None:
        self._pipeline.check()
        self._turns += 1
        now = self._clock.monotonic()
        if self._acked and (len(self._acked) >= FORGET_AT or (self._forget_at is not None and now >= self._forget_at)):
            await self._forget_acked()
        if now >= self._poll_at:
            self._poll_at = now + POLL_S * (0.75 + 0.5 * self._rng.random())
            self.read_table = True
        if not self._pipeline.full:
            self._wake.clear()
            if await self._publish_some() or self._walk is not None:
                await self._clock.sleep(0)  # the acknowledgements' turn
                return
            if not self._pipeline.in_flight and await self._look_around(now):
                return
        await self._wait()

    async def _publish_some(self) -> bool:
        """Publish a little of what is due. Returns False when nothing is."""
        walk = self._walk
        if walk is not None and (self._turns % 64 == 0 or not (self.read_table or len(self._memory))):
            await self._publish(await walk.page(self._connection), republished=True)
            if walk.done:
                await self._finish_walk(walk)
            return True
        if self.read_table:
            due = await self._due_in_table()
        else:
            due = self._memory.take(BURST)
            await self._learn_places(due)
            if any(one.seq > self._places[one.key].sent + 1 for one in due[:1]):
                due = [*await self._due_in_table(), *due]
        await self._publish(due)
        return bool(due)

    async def _finish_walk(self, walk: Walk) -> None:
        await self._drain()
        if walk.from_start:
            filled_from = self._filled_from or 1
            await self._stream.mark_filled(filled_from)
            log.info("jetstream_filled", from_sequence=filled_from, last_sequence=self._pipeline.last_seq)
        self._walk = None

    async def _due_in_table(self) -> list[Due]:
        limit = PAGE + len(self._memory) + self._pipeline.in_flight
        waiting = await self._table.waiting(limit)
        self.read_table = len(waiting) == limit
        due: list[Due] = []
        for one in waiting:
            place = self._places.get(one.key)
            if one.position in self._memory.positions or (place is not None and place.acked < one.seq <= place.sent):
                continue  # on its way already
            due.append(one)
        return due

    async def _look_around(self, now: float) -> bool:
        """With nothing else to do: measure, inspect the stream, compare some heads."""
        if now >= self._measure_at:
            self._measure_at = now + MEASURE_EVERY_S
            await self._table.measure()
            return True
        if now >= self._inspect_at:
            self._inspect_at = now + INSPECT_EVERY_S
            await self._inspect()
            return True
        if now >= self._slice_at and self._walk is None:
            await self._compare(now)
            return True
        return False

    async def _compare(self, now: float) -> None:
        due = await self._round.slice(self._connection)
        self._slice_at = now + (SLICE_EVERY_S if self._round.under_way else INSPECT_EVERY_S)
        found = await self._look_up([one.key for one in due])
        lost: list[Due] = []
        for one in due:
            seq = found[one.key]
            if seq is None and self._trimmed:
                continue  # discarded by the size limit, in all likelihood
            if seq is None or seq < one.seq:
                self._places[one.key] = _Place(seq or 0, seq or 0)
                lost.append(one)
        if lost:
            log.error("jetstream_lost_events", streams=len(lost))
            await self._publish(lost, republished=True)

    async def _wait(self) -> None:
        now = self._clock.monotonic()
        until = min(self._poll_at, self._measure_at, self._inspect_at, self._slice_at)
        if self._forget_at is not None:
            until = min(until, self._forget_at)
        if self._pipeline.in_flight:
            until = min(until, now + 0.1)  # a lost connection shows within this time
        try:
            async with asyncio.timeout(max(until - now, 0.001)):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _poll_postgres(self) -> None:
        """While NATS is away: measure the backlog now and then, which also tells whether the lock is still ours."""
        now = self._clock.monotonic()
        if now >= self._poll_at:
            self._poll_at = now + POLL_S
            await self._table.measure()

    # -- publishing

    async def _publish(self, due: Sequence[Due], *, republished: bool = False) -> None:
        await self._learn_places(due)
        sent_before = self._pipeline.last_seq
        for start in range(0, len(due), LOAD):
            some = due[start : start + LOAD]
            unread = [one for one in some if one.committed is None and one.seq > self._places[one.key].sent]
            events = await self._table.events([(one.key, one.seq) for one in unread]) if unread else {}
            for one in some:
                await self._publish_one(one, events)
        await self._flush()
        if republished:
            REPUBLISHED.inc(self._pipeline.last_seq - sent_before)

    async def _publish_one(self, due: Due, events: Mapping[Position, Event]) -> None:
        place = self._places[due.key]
        if due.seq <= place.acked:
            self._done(due.position)
            return
        if due.seq <= place.sent:
            return
        while due.seq > place.sent + 1:
            for event in await self._table.stretch(due.key, place.sent, due.seq - 1, LOAD):
                await self._add(Outgoing(event, event.envelope_json(), None, None))
        if due.committed is not None:
            event, body = due.committed.event, due.committed.json
        else:
            event = events[due.key, due.seq]
            body = event.envelope_json()
        await self._add(Outgoing(event, body, due.position, due.traceparent))

    async def _add(self, outgoing: Outgoing) -> None:
        event = outgoing.event
        self._places[event.stream_type, event.stream_id].sent = event.stream_seq
        if len(outgoing.body) + HEADERS_BYTES > self._nats.max_payload:
            # Cannot be while the server has the payload limit that we ask for; readers find the event in the store.
            log.error("event_too_large_for_nats", event_id=str(event.event_id), bytes=len(outgoing.body))
            self._done(outgoing.position)
            return
        self._burst.append(outgoing)
        self._burst_bytes += len(outgoing.body)
        if len(self._burst) >= BURST or self._burst_bytes >= BURST_BYTES:
            await self._flush()

    async def _flush(self) -> None:
        burst, self._burst, self._burst_bytes = self._burst, [], 0
        if not burst:
            return
        while self._pipeline.full:
            self._pipeline.check()
            await self._woken(0.1)
        await self._pipeline.publish(burst)

    async def _drain(self) -> None:
        """Until nothing is in flight."""
        while self._pipeline.in_flight:
            self._pipeline.check()
            await self._woken(0.1)

    async def _woken(self, timeout_s: float) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _learn_places(self, due: Sequence[Due]) -> None:
        """Ask JetStream how far it has come with streams that were not met before."""
        if len(self._places) > MAX_PLACES and not self._pipeline.in_flight:
            self._places.clear()
        firsts: dict[StreamKey, int] = {}
        for one in due:
            if one.key in self._places:
                continue
            if one.committed is not None and one.seq == 1:
                self._places[one.key] = _Place(0, 0)
            else:
                firsts.setdefault(one.key, one.seq)
        filling = self._walk is not None and self._walk.from_start
        for key, found in (await self._look_up(list(firsts))).items():
            if found is None:
                # What the size limit discarded stays discarded, unless the stream is being filled anew.
                found = firsts[key] - 1 if self._trimmed and not filling else 0
            self._places[key] = _Place(found, found)

    async def _look_up(self, keys: Sequence[StreamKey]) -> dict[StreamKey, int | None]:
        found: dict[StreamKey, int | None] = {}
        for start in range(0, len(keys), LOOKUPS):
            some = keys[start : start + LOOKUPS]
            found.update(
                zip(some, await asyncio.gather(*(self._stream.last_published(*key) for key in some)), strict=True)
            )
        return found

    # -- acknowledgements

    def _on_acked(self, messages: Sequence[Outgoing]) -> None:
        for message in messages:
            event = message.event
            place = self._places.get((event.stream_type, event.stream_id))
            if place is not None:
                place.acked = event.stream_seq
            self._done(message.position)
        self._backoff.reset()

    def _done(self, position: int | None) -> None:
        if position is None:
            return
        self._acked.append(position)
        if self._forget_at is None:
            self._forget_at = self._clock.monotonic() + FORGET_EVERY_S

    async def _forget_acked(self) -> None:
        """Delete the rows of acknowledged events. Not flushed to disk: a lost delete only has them looked up again."""
        acked, self._acked, self._forget_at = self._acked, [], None
        if acked:
            failpoint("relay.before_delete")
            await self._table.forget(acked)
