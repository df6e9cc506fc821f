"""Hints that other API processes committed something: ONE JetStream consumer for whoever needs to know.

The hub has one for all SSE clients of this process, the registry of engines has another. Messages come without their
bodies: subject and headers say which stream went how far, and who wants more reads the store. The consumer is ephemeral
and starts at the end of the stream, so it costs the server nothing to lose. Whatever is missed while it is away its
owner must find by itself, for as long as :attr:`Hints.seeing` is False.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.client import JetStreamContext
from prometheus_client import Gauge

from agentos_shared.contracts import subjects
from agentos_shared.host import metrics
from agentos_shared.host.lifecycle import CLOCK, RNG, Backoff, Clock, Rng, Tasks

log = structlog.get_logger()

SEEING: Final = metrics.gauge("sse_hints_seeing", "1 while hints of other processes' commits arrive.")

WATCH_S: Final = 1.0
ASK_EVERY_S: Final = 5.0
REQUEST_TIMEOUT_S: Final = 2.0
INACTIVE_S: Final = 15.0
HEARTBEAT_S: Final = 5.0


class Hints:
    """The consumer and its watchdog.

    Args:
        occupied: set while somebody listens (SSE clients); before there is no consumer.
        on_hint: called with (stream, sequence, traceparent) for each event that is announced.
        filter_subject: which events.
        seeing: gauge that tells whether hints arrive.
    """

    def __init__(
        self,
        nats: Client,
        occupied: asyncio.Event,
        on_hint: Callable[[tuple[str, str], int, str | None], None],
        *,
        clock: Clock = CLOCK,
        rng: Rng = RNG,
        filter_subject: str = subjects.EVENTS_SUBJECTS,
        seeing: Gauge = SEEING,
    ) -> None:
        self._nats = nats
        self._filter = filter_subject
        self._gauge = seeing
        self._occupied = occupied
        self._on_hint = on_hint
        self._clock = clock
        self._rng = rng
        self._js = nats.jetstream(timeout=REQUEST_TIMEOUT_S)
        self._subscription: JetStreamContext.PushSubscription | None = None
        self._reconnects = 0
        self._tasks: Tasks | None = None

    @property
    def seeing(self) -> bool:
        """Whether hints arrive."""
        return (
            self._subscription is not None
            and self._nats.is_connected
            and self._nats.stats["reconnects"] == self._reconnects
        )

    async def start(self) -> None:
        """Begin to watch. Idempotent."""
        if self._tasks is None:
            self._tasks = Tasks(clock=self._clock, rng=self._rng)
            self._tasks.spawn("sse hints", self._run, on_crash="restart")

    async def stop(self) -> None:
        """End the consumer. Idempotent."""
        tasks, self._tasks = self._tasks, None
        if tasks is not None:
            await tasks.stop()
            await self._unsubscribe()

    async def _run(self) -> None:
        backoff = Backoff(0.1, 2.0, rng=self._rng)
        while True:
            await self._occupied.wait()
            if not self._nats.is_connected:
                await self._clock.sleep(0.1 + 0.1 * self._rng.random())
                continue
            try:
                await self._subscribe()
                backoff.reset()
                await self._watch()
            except NatsError as error:
                log.debug("sse_hints_lost", error=f"{type(error).__name__}: {error}")
            await self._unsubscribe()
            await self._clock.sleep(backoff.next_s())

    async def _subscribe(self) -> None:
        self._reconnects = self._nats.stats["reconnects"]
        self._subscription = await self._js.subscribe(
            self._filter,
            stream=subjects.EVENTS_STREAM,
            cb=self._on_message,
            manual_ack=True,
            config=ConsumerConfig(
                description="live feed of one API process",
                deliver_policy=DeliverPolicy.NEW,
                ack_policy=AckPolicy.NONE,
                headers_only=True,
                mem_storage=True,
                num_replicas=1,
                flow_control=True,
                idle_heartbeat=HEARTBEAT_S,
                inactive_threshold=INACTIVE_S,
            ),
        )
        self._gauge.set(1)

    async def _watch(self) -> None:
        """Until nobody listens, the connection was replaced, or the server does not know the consumer any more.

        Asking is the watchdog: a consumer that vanished with its server's memory is silent, like one with no news.
        """
        ask_at = self._clock.monotonic() + ASK_EVERY_S
        while self.seeing:
            await self._clock.sleep(WATCH_S)
            if not self._occupied.is_set():
                return
            if self._clock.monotonic() >= ask_at and self._subscription is not None:
                await self._subscription.consumer_info()
                ask_at = self._clock.monotonic() + ASK_EVERY_S * (0.75 + 0.5 * self._rng.random())

    async def _unsubscribe(self) -> None:
        self._gauge.set(0)
        subscription, self._subscription = self._subscription, None
        if subscription is None:
            return
        try:
            await subscription.unsubscribe()
        except NatsError as error:
            log.debug("sse_hints_unsubscribe_failed", error=str(error))

    async def _on_message(self, message: Msg) -> None:
        headers = message.headers or {}
        seq = headers.get(subjects.HEADER_STREAM_SEQ, "")
        if seq.isdecimal():
            self._on_hint(subjects.stream_of(message.subject), int(seq), headers.get(subjects.HEADER_TRACEPARENT))
