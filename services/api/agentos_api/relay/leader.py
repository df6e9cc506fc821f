"""The leading relay's work, in turns: publish what is due, delete what is acknowledged, look for what was lost."""

import asyncio
from itertools import groupby
from typing import Final

import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError

from agentos_api.relay.jetstream import Contents, EventsStream
from agentos_api.relay.outbox import PAGE, Connection, Due, Memory, Table
from agentos_api.relay.pipeline import PublishFailed
from agentos_api.relay.publisher import BURST, Publisher
from agentos_api.relay.reconcile import START, Round, Walk, since
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
#: While there is other work, the search for losses gets one turn in so many.
SEARCH_TURNS: Final = 64
#: Starts without any acknowledgement in between, after which the server's memory of ids is suspected.
FRUITLESS: Final = 5


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
        self._publisher = Publisher(nats, stream, self._table, wake, self._on_done)
        self._pipeline = self._publisher.pipeline
        self._backoff = Backoff(0.02, 1.0, rng=rng)
        self._acked: list[int] = []
        self._forget_at: float | None = None
        self._walk: Walk | None = None
        self._round = Round()
        self._filled_from = 1
        self._seen_reconnects: int | None = None
        self._fruitless = 0
        self._turns = 0
        #: Set by whoever knows, or fears, that the outbox holds what memory does not.
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
                    self._fruitless += isinstance(error, PublishFailed) and self._nats.is_connected
                    log.warning("relay_starts_over", error=f"{type(error).__name__}: {error}")
                    await self._forget()
                    await self._clock.sleep(self._backoff.next_s())
        finally:
            await self._leave()

    async def _leave(self) -> None:
        """Best effort: what is not deleted now is looked up, and deleted, by the next leader."""
        try:
            async with asyncio.timeout(0.5):
                if not self._connection.is_closed():
                    await self._forget()
                await self._pipeline.close()
        except Exception as error:
            log.debug("relay_left_untidy", error=f"{type(error).__name__}: {error}")

    # -- what JetStream holds

    async def _settle(self) -> None:
        """Read what JetStream holds; start to search if it may have lost something."""
        while not self._nats.is_connected:
            await self._measure(self._clock.monotonic())  # tells also whether the lock is still ours
            await self._clock.sleep(0.05 + 0.05 * self._rng.random())
        await self._pipeline.open()
        reconnects: int = self._nats.stats["reconnects"]
        contents = await self._stream.open()
        if contents.missing or contents.emptied:
            log.error("jetstream_lost_messages", missing=contents.missing, emptied=contents.emptied)
            contents = await self._stream.clear()
        elif self._fruitless >= FRUITLESS:
            # Somebody else's messages (an old one repeated is now the last of its stream) make us publish again what
            # the server knows by its id, and does not store: it would refuse all that follows for two minutes.
            log.error("jetstream_refuses_without_end")
            contents = await self._stream.forget_ids()
            self._fruitless = 0
        restarted = reconnects != self._seen_reconnects
        shorter = contents.last_seq < self._pipeline.last_seq - self._pipeline.in_flight
        self._memory.clear()
        self._memory.rows.clear()
        self.read_table = True
        self._publisher.restart(contents)
        await self._begin_search(contents, may_have_lost=restarted or shorter)
        self._seen_reconnects = reconnects

    async def _begin_search(self, contents: Contents, *, may_have_lost: bool) -> None:
        walk = self._walk
        if contents.filled_from is None:
            self._filled_from = contents.first_seq if contents.messages else contents.last_seq + 1
            walk = Walk(START)
        elif contents.messages == 0:
            self._filled_from = contents.filled_from
            walk = Walk(START)
        elif may_have_lost:
            event_id = await self._stream.last_event_id()
            begin = START if event_id is None else since(event_id)
            walk = Walk(begin if walk is None else min(begin, walk.begin))
        elif walk is not None:
            walk = Walk(walk.begin)  # what it named before may not have arrived
        self._walk = walk
        self._publisher.filling = walk is not None and walk.begin == START

    async def _end_search(self, walk: Walk) -> None:
        await self._publisher.drain()
        if walk.begin == START:
            await self._stream.mark_filled(self._filled_from)
            log.info("jetstream_filled", from_sequence=self._filled_from, last_sequence=self._pipeline.last_seq)
        self._walk = None
        self._publisher.filling = False

    async def _inspect(self) -> None:
        """Whether the stream still is as it was left. Raises PublishFailed when not."""
        await self._publisher.drain()
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

    async def _compare(self) -> None:
        """Look for lost events at the ends of some streams."""
        lost = await self._publisher.lost(await self._round.slice(self._connection))
        if lost:
            log.error("jetstream_lost_events", streams=len(lost))
            REPUBLISHED.inc(await self._publisher.publish(lost))

    # -- one turn

    async def _turn(self) -> None:
        self._pipeline.check()
        self._turns += 1
        now = self._clock.monotonic()
        if self._acked and (len(self._acked) >= FORGET_AT or (self._forget_at is not None and now >= self._forget_at)):
            await self._forget()
        await self._measure(now)
        if self._pipeline.full:
            await self._wait()
            return
        if now >= self._poll_at:
            self._poll_at = now + POLL_S * (0.75 + 0.5 * self._rng.random())
            self.read_table = True
        self._wake.clear()
        worked = await self._publish_some()
        if not worked or self._turns % SEARCH_TURNS == 0:
            worked = await self._look_around(now) or worked
        if worked:
            await self._clock.sleep(0)  # the acknowledgements' turn, and everybody else's
        else:
            await self._wait()

    async def _publish_some(self) -> bool:
        """Publish a little of what is due. Returns False when nothing is."""
        if self.read_table:
            due = await self._due_in_table()
        else:
            due = self._memory.take(BURST)
            if due and await self._publisher.leaves_gap(due[0]):
                # Another process's commits lie in between: the table has them with their rows and traces.
                due = [*await self._due_in_table(), *due]
        await self._publisher.publish(due)
        return bool(due)

    async def _due_in_table(self) -> list[Due]:
        limit = PAGE + len(self._memory) + self._pipeline.in_flight
        waiting = await self._table.waiting(limit)
        self.read_table = len(waiting) >= limit
        for position, events in groupby(waiting, key=lambda one: one.position):
            if position is not None:
                self._memory.rows.note(position, (one.event_id for one in events if one.event_id is not None))
        return [
            one for one in waiting if one.position not in self._memory.positions and not self._publisher.on_its_way(one)
        ]

    async def _look_around(self, now: float) -> bool:
        """Search for what was lost. Returns whether something was done."""
        walk = self._walk
        if walk is not None:
            REPUBLISHED.inc(await self._publisher.publish(await walk.page(self._connection)))
            if walk.done:
                await self._end_search(walk)
            return True
        if now >= self._inspect_at:
            self._inspect_at = now + INSPECT_EVERY_S
            await self._inspect()
            return True
        # What still waits for its turn is not lost: so only when nothing does.
        if now >= self._slice_at and not self.read_table and not len(self._memory):
            await self._compare()
            self._slice_at = now + (SLICE_EVERY_S if self._round.under_way else INSPECT_EVERY_S)
            return True
        return False

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

    async def _measure(self, now: float) -> None:
        if now >= self._measure_at:
            self._measure_at = now + MEASURE_EVERY_S
            await self._table.measure()

    # -- acknowledgements

    def _on_done(self, position: int, event_id: str) -> None:
        self._backoff.reset()
        self._fruitless = 0
        if not self._memory.rows.acknowledged(position, event_id):
            return
        self._acked.append(position)
        if self._forget_at is None:
            self._forget_at = self._clock.monotonic() + FORGET_EVERY_S

    async def _forget(self) -> None:
        """Delete the rows of acknowledged events. Not flushed to disk: a lost delete only has them looked up again."""
        acked, self._acked, self._forget_at = self._acked, [], None
        if acked:
            failpoint("relay.before_delete")
            await self._table.forget(acked)
