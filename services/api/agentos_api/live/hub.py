"""The hub: what is committed to a stream reaches its SSE clients, each event once, in order, without a gap.

A client is attached to its feed first, then given history from the store, then spliced in at the exact sequence. What
this process commits comes straight from the appender. What other processes commit is announced by hints (see
:mod:`agentos_api.live.hints`) and, should those fail, by a poll of the heads; both only make the hub read the store.

Writing to a thousand clients takes milliseconds. What is committed meanwhile goes out as one write, and a feed pauses
after a flush for as long as that took: the more there is to do the better it is batched, and at most half of the event
loop's time goes to any one feed.
"""

import asyncio
import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import structlog
from nats.aio.client import Client as NatsClient
from starlette.types import Send

from agentos_api.append.appender import Committed
from agentos_api.live import frames
from agentos_api.live.client import Client
from agentos_api.live.feed import Feed, StreamKey
from agentos_api.live.hints import Hints
from agentos_api.live.history import UNAVAILABLE, History, Page, StreamHead
from agentos_shared.domain.errors import TryLater
from agentos_shared.host import metrics, telemetry
from agentos_shared.host.lifecycle import CLOCK, RNG, Backoff, Clock, Rng, Tasks

log = structlog.get_logger()

CLIENTS: Final = metrics.gauge("sse_clients", "Clients of event streams.")
DELIVERIES: Final = metrics.counter("sse_deliveries", "Events written to clients of event streams.")
GONE: Final = metrics.counter("sse_gone", "Clients that were sent away.", ("reason",))
FLUSH_SECONDS: Final = metrics.histogram("sse_flush_seconds", "Writing what is new to all live clients of a feed.")

KEEP_ALIVE_S: Final = 15
#: Frames that all feeds together may keep for clients that lag.
MAX_BYTES: Final = 256 * 1024 * 1024
READS_AT_ONCE: Final = 4
DRAIN_S: Final = 3.0
#: Shorter pauses are not worth a timer.
LEAST_PAUSE_S: Final = 0.0005
POLL_S: Final = 5.0
POLL_BLIND_S: Final = 0.25


class Hub:
    """The live feeds of this process.

    Args:
        history: the store.
        nats: where other processes' commits are announced; None: they are only found by polling.
    """

    def __init__(
        self,
        history: History,
        nats: NatsClient | None = None,
        *,
        clock: Clock = CLOCK,
        rng: Rng = RNG,
    ) -> None:
        self._history = history
        self._clock = clock
        self._rng = rng
        self._feeds: dict[StreamKey, Feed] = {}
        self._turn = itertools.cycle(range(KEEP_ALIVE_S))
        self._slots: tuple[set[Client], ...] = tuple(set() for _ in range(KEEP_ALIVE_S))
        self._slot_of: dict[Client, int] = {}
        self._gate = asyncio.Semaphore(READS_AT_ONCE)
        self._bytes = 0
        self._draining = False
        self._occupied = asyncio.Event()
        self._hints = None if nats is None else Hints(nats, self._occupied, self.on_hint, clock=clock, rng=rng)
        self._tasks: Tasks | None = None

    async def start(self) -> None:
        """Begin to serve. Idempotent."""
        if self._tasks is None:
            self._draining = False
            self._tasks = Tasks(clock=self._clock, rng=self._rng)
            self._tasks.spawn("sse keep-alive", self._keep_alive, on_crash="restart")
            self._tasks.spawn("sse poll", self._poll, on_crash="restart")
            if self._hints is not None:
                await self._hints.start()

    async def stop(self) -> None:
        """Tell all clients to come back later, close them, and take no more. Idempotent, bounded by three seconds."""
        self._draining = True
        tasks, self._tasks = self._tasks, None
        if tasks is not None:
            await tasks.stop()
        if self._hints is not None:
            await self._hints.stop()
        for client in list(self._slot_of):
            self.count_gone("draining")
            client.say_goodbye("draining")
        end = self._clock.monotonic() + DRAIN_S
        while self._slot_of and self._clock.monotonic() < end:
            await self._clock.sleep(0.01)
        for client in list(self._slot_of):
            client.close()

    @property
    def clients(self) -> int:
        """Clients that are attached."""
        return len(self._slot_of)

    @property
    def occupied(self) -> asyncio.Event:
        """Set while there are clients."""
        return self._occupied

    async def head(self, key: StreamKey) -> StreamHead | None:
        """Where a stream ends, asked of the store.

        Raises:
            TryLater: ``store_unavailable``, or ``shutting_down``.
        """
        if self._draining:
            raise TryLater("shutting_down", "This process is stopping; try again.")
        try:
            async with self._gate:
                return await self._history.head(key)
        except UNAVAILABLE as error:
            log.warning("sse_head_failed", error=f"{type(error).__name__}: {error}")
            raise TryLater("store_unavailable", "The event store cannot be reached; try again in a moment.") from None

    def attach(self, key: StreamKey, send: Send, abort: Callable[[], None], cursor: int, greeting: bytes) -> Client:
        """Serve a client whose response has been started: the greeting, then everything after ``cursor``."""
        feed = self._feeds.get(key)
        if feed is None:
            feed = self._feeds[key] = Feed(key)
        client = Client(self, feed, send, abort, cursor)
        feed.clients.add(client)
        slot = next(self._turn)
        self._slots[slot].add(client)
        self._slot_of[client] = slot
        CLIENTS.inc()
        self._occupied.set()
        client.start(greeting)
        return client

    # -- news

    def on_commit(self, batch: Sequence[Committed]) -> None:
        """Take what this process has just committed."""
        feeds = self._feeds
        if not feeds:
            return
        for committed in batch:
            event = committed.event
            feed = feeds.get((event.stream_type, event.stream_id))
            if feed is not None:
                traceparent = committed.traceparent if telemetry.enabled() else None
                self._offer(feed, event.stream_seq, frames.event(event.stream_seq, committed.json), traceparent)

    def on_hint(self, key: StreamKey, seq: int, traceparent: str | None = None) -> None:
        """Somebody committed up to this place. May be repeated, late, or out of order."""
        feed = self._feeds.get(key)
        if feed is not None and seq > (feed.head or 0):
            feed.wanted = max(feed.wanted, seq)
            if traceparent is not None and telemetry.enabled():
                feed.traces[seq] = traceparent
            self._fill_if_behind(feed)

    def _offer(self, feed: Feed, seq: int, frame: bytes, traceparent: str | None = None) -> None:
        before = feed.size
        if feed.offer(seq, frame):
            self._bytes += feed.size - before
            if traceparent is not None:
                feed.traces[seq] = traceparent
            self._flush_soon(feed)
        self._fill_if_behind(feed)

    def _fill_if_behind(self, feed: Feed) -> None:
        if feed.behind and feed.filler is None:
            feed.filler = asyncio.get_running_loop().create_task(self._fill(feed))

    async def _fill(self, feed: Feed) -> None:
        """Read what lies between the head and what is known to exist."""
        try:
            while feed.behind and feed.head is not None:
                page = await self._read(feed, feed.head)
                if not page.frames:
                    return  # announced, and yet not there: the next announcement or poll tries again
                before = feed.size
                for seq, frame in enumerate(page.frames, page.after + 1):
                    feed.offer(seq, frame)
                self._bytes += feed.size - before
                self._flush_soon(feed)
                await self._clock.sleep(0)  # a long stretch is read in turns with everything else
        finally:
            feed.filler = None

    def settle(self, feed: Feed, seq: int) -> None:
        """The store had nothing after this place when it was asked."""
        feed.settle(seq)
        self._fill_if_behind(feed)

    async def fill(self, feed: Feed, upto: int) -> None:
        """Bring a feed up to a place that exists; returns early when the store does not have it."""
        feed.wanted = max(feed.wanted, upto)
        self._fill_if_behind(feed)
        filler = feed.filler
        if filler is not None:
            await asyncio.shield(filler)
        if feed.behind:
            await self._clock.sleep(0.1 + 0.1 * self._rng.random())

    async def page(self, feed: Feed, after: int) -> Page:
        """What follows a place in the store. After a restart a thousand clients ask for the same: it is read once.

        Shared per feed, and not longer than that: a read that began before a feed may have missed what the feed was
        never told.
        """
        reading = feed.reading.get(after)
        if reading is None:
            reading = asyncio.get_running_loop().create_task(self._read(feed, after))
            feed.reading[after] = reading
            reading.add_done_callback(lambda _: feed.reading.pop(after, None))
        return await asyncio.shield(reading)

    async def _read(self, feed: Feed, after: int) -> Page:
        backoff = Backoff(0.1, 2.0, rng=self._rng)
        while True:
            try:
                async with self._gate:
                    return await self._history.page(feed.key, after)
            except UNAVAILABLE as error:
                log.warning("sse_page_failed", stream=feed.key, error=f"{type(error).__name__}: {error}")
            await self._clock.sleep(backoff.next_s())

    # -- writing

    def _flush_soon(self, feed: Feed) -> None:
        if feed.flush is None and feed.live:
            loop = asyncio.get_running_loop()
            if feed.pause_until - loop.time() > LEAST_PAUSE_S:
                feed.flush = loop.call_at(feed.pause_until, self._flush, feed)
            else:
                feed.flush = loop.call_soon(self._flush, feed)
        elif not feed.live:
            self._skip(feed)

    def _flush(self, feed: Feed) -> None:
        """Write to all live clients what they do not have yet."""
        if feed.flush is not None:
            feed.flush.cancel()
            feed.flush = None
        started = time.perf_counter()
        first = feed.flushed + 1
        spans = [
            telemetry.open_span("sse.write", trace, {"sse.clients": len(feed.live)}) for trace in feed.take_traces()
        ]
        delivered = 0
        for chunk in feed.unflushed():
            delivered += (chunk.last - first + 1) * len(feed.live)
            first = chunk.last + 1
            message = {"type": "http.response.body", "body": chunk.body, "more_body": True}
            for client in [client for client in tuple(feed.live) if not client.push(message, chunk.last)]:
                feed.live.discard(client)
        for span in spans:
            span.close()
        self._trim(feed)
        self.count_deliveries(delivered)
        took = time.perf_counter() - started
        FLUSH_SECONDS.observe(took)
        feed.pause_until = asyncio.get_running_loop().time() + took

    def _skip(self, feed: Feed) -> None:
        """Nobody is live: nothing to write, but the ring must not grow."""
        if feed.head is not None:
            feed.flushed = feed.head
            feed.take_traces()
            self._trim(feed)

    def _trim(self, feed: Feed) -> None:
        before = feed.size
        nobody_lags = len(feed.live) == len(feed.clients)
        feed.trim(tail_only=nobody_lags or self._bytes > MAX_BYTES)
        self._bytes += feed.size - before

    def go_live(self, client: Client) -> None:
        """The client has everything up to the head."""
        feed = client.feed
        if feed.flushed != client.cursor:
            self._flush(feed)
        feed.live.add(client)

    def forget(self, client: Client) -> None:
        """The client is closed."""
        slot = self._slot_of.pop(client, None)
        if slot is None:
            return
        self._slots[slot].discard(client)
        CLIENTS.dec()
        feed = client.feed
        feed.clients.discard(client)
        feed.live.discard(client)
        if not feed.clients:
            self._bytes -= feed.size
            feed.end()
            if self._feeds.get(feed.key) is feed:
                del self._feeds[feed.key]
        if not self._slot_of:
            self._occupied.clear()

    def count_gone(self, reason: str) -> None:
        GONE.labels(reason).inc()

    def count_deliveries(self, events: int) -> None:
        DELIVERIES.inc(events)

    # -- in the background

    async def _keep_alive(self) -> None:
        """A comment to each idle client every fifteen seconds, a fifteenth of them a second."""
        message = {"type": "http.response.body", "body": frames.KEEP_ALIVE, "more_body": True}
        for slot in itertools.cycle(self._slots):
            await self._clock.sleep(1.0)
            for client in list(slot):
                feed = client.feed
                if client in feed.live and not client.push(message, feed.flushed):
                    feed.live.discard(client)

    async def _poll(self) -> None:
        """Compare all feeds with the heads in the store: the net under hints that got lost."""
        while True:
            await self._occupied.wait()
            wait = POLL_S if self._hints is not None and self._hints.seeing else POLL_BLIND_S
            await self._clock.sleep(wait * (0.75 + 0.5 * self._rng.random()))
            keys = list(self._feeds)
            try:
                heads = await self._history.heads(keys) if keys else {}
            except UNAVAILABLE as error:
                log.warning("sse_poll_failed", error=f"{type(error).__name__}: {error}")
                continue
            self.on_heads(heads.items())

    def on_heads(self, heads: Iterable[tuple[StreamKey, int]]) -> None:
        """Heads as the store has them."""
        for key, seq in heads:
            self.on_hint(key, seq)
