"""Publishing to JetStream in order, many messages in flight, one acknowledgement for many.

Every message says which sequence the stream must stand at, and but for the first also which message it must end with
(``Nats-Expected-Last-Sequence``, ``Nats-Expected-Last-Msg-Id``). That makes the server the fence: of two publishers one
is refused, whatever it believes about its leadership. The sequence alone would not do. A deposed publisher's messages
that are still on their way expect one sequence after the other, and once its successor has published a few, a later one
of them would fit. Chained to its predecessor, each is stored right after it or not at all. That also makes an
acknowledgement cumulative, so that only the last message of a burst asks for one.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import orjson
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from agentos_api import nats_connection
from agentos_shared.contracts import subjects
from agentos_shared.domain.envelope import Event, timestamp
from agentos_shared.host import metrics, telemetry
from agentos_shared.host.failpoints import failpoint

log = structlog.get_logger()

PUBLISHED: Final = metrics.counter("relay_published_events", "Events that JetStream acknowledged.")
PUBLISH_SECONDS: Final = metrics.histogram("relay_publish_seconds", "From publish to JetStream's acknowledgement.")

MAX_IN_FLIGHT: Final = 2048
MAX_IN_FLIGHT_BYTES: Final = 4 * 1024 * 1024
ACK_TIMEOUT_S: Final = 3.0


class PublishFailed(Exception):
    """What JetStream holds is not what was expected: read it, then go on from there."""


@dataclass(slots=True)
class Outgoing:
    """One event on its way. ``position`` is its row of the outbox, if known."""

    event: Event
    body: bytes
    position: int | None
    traceparent: str | None
    span: telemetry.Span | None = None


@dataclass(frozen=True, slots=True)
class _Burst:
    number: int
    messages: Sequence[Outgoing]
    size: int
    last_seq: int
    sent_at: float = field(default_factory=time.perf_counter)


class Pipeline:
    """Publishes events as the only writer of ``AGENTOS_EVENTS``.

    Args:
        acked: called with the events that JetStream holds, in the order in which they were published.
        woken: called when something changed for whoever waits (an acknowledgement, a refusal).
    """

    def __init__(self, nats: Client, *, acked: Callable[[Sequence[Outgoing]], None], woken: Callable[[], None]) -> None:
        self._nats = nats
        self._acked = acked
        self._woken = woken
        self._inbox = ""
        self._subscription: Subscription | None = None
        self._bursts: deque[_Burst] = deque()
        self._number = 0
        self._oldest_number = 0
        self._last_seq = 0
        self._last_event_id: str | None = None
        self._in_flight = 0
        self._in_flight_bytes = 0
        self._failure: PublishFailed | None = None
        self._reconnects = 0

    async def open(self) -> None:
        """Subscribe to the acknowledgements, once."""
        if self._subscription is None:
            self._inbox = self._nats.new_inbox()
            self._subscription = await self._nats.subscribe(f"{self._inbox}.*", cb=self._on_ack)

    async def close(self) -> None:
        """Forget what is in flight and unsubscribe."""
        self.restart(0)
        subscription, self._subscription = self._subscription, None
        if subscription is not None and self._nats.is_connected:
            await subscription.unsubscribe()

    def restart(self, last_seq: int) -> None:
        """Forget what is in flight, and go on after this JetStream sequence."""
        for burst in self._bursts:
            _end_spans(burst.messages, PublishFailed("given up"))
        self._bursts.clear()
        self._oldest_number = self._number  # acknowledgements of earlier bursts no longer count
        self._in_flight = self._in_flight_bytes = 0
        self._last_seq = last_seq
        # Unknown to a server that restarted when the last message is older than its duplicate window: so the first
        # message goes by the sequence alone, which has just been read.
        self._last_event_id = None
        self._failure = None
        self._reconnects = self._nats.stats["reconnects"]

    @property
    def in_flight(self) -> int:
        """Events that are not acknowledged yet."""
        return self._in_flight

    @property
    def full(self) -> bool:
        """Whether the window is used up."""
        return self._in_flight >= MAX_IN_FLIGHT or self._in_flight_bytes >= MAX_IN_FLIGHT_BYTES

    @property
    def last_seq(self) -> int:
        """JetStream sequence of the last event that was published."""
        return self._last_seq

    def check(self) -> None:
        """Raise PublishFailed when the stream was not as expected, an answer is overdue, or the connection was lost."""
        if self._failure is not None:
            raise self._failure
        if not self._nats.is_connected or self._nats.stats["reconnects"] != self._reconnects:
            raise PublishFailed("the connection to NATS was lost")
        if self._bursts and time.perf_counter() - self._bursts[0].sent_at > ACK_TIMEOUT_S:
            raise PublishFailed(f"no acknowledgement within {ACK_TIMEOUT_S:.0f} s")

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """Send one burst. Does not wait for the acknowledgement.

        Raises:
            nats.errors.Error: it was not sent, or only in part; :meth:`restart` before going on.
        """
        if self._bursts:
            failpoint("relay.mid_batch")  # some sent and not acknowledged, others not sent
        last = len(messages) - 1
        size = sum(len(message.body) for message in messages)
        self._number += 1
        burst = _Burst(self._number, messages, size, self._last_seq + len(messages))
        # Known as in flight before the first byte leaves: whatever happens now, nobody takes it for published.
        self._bursts.append(burst)
        self._in_flight += len(messages)
        self._in_flight_bytes += size
        tracing = telemetry.enabled()
        frames: list[bytes] = []
        for place, message in enumerate(messages):
            if tracing:
                message.span = telemetry.open_span("relay.publish", message.traceparent, kind="producer")
            reply = f"{self._inbox}.{burst.number}" if place == last else ""
            frames.append(_frame(message, reply, self._last_seq, self._last_event_id))
            self._last_seq += 1
            self._last_event_id = message.event.event_id
        await nats_connection.send(self._nats, b"".join(frames))

    async def _on_ack(self, message: Msg) -> None:
        number = int(message.subject.rsplit(".", 1)[1])
        if number <= self._oldest_number or not self._bursts or self._failure is not None:
            return
        burst = next((burst for burst in self._bursts if burst.number == number), None)
        if burst is None:
            return
        self._failure = _refusal(message, burst)
        if self._failure is None:
            now = time.perf_counter()
            while self._bursts and self._bursts[0].number <= number:
                done = self._bursts.popleft()
                self._in_flight -= len(done.messages)
                self._in_flight_bytes -= done.size
                PUBLISH_SECONDS.observe(now - done.sent_at)
                PUBLISHED.inc(len(done.messages))
                _end_spans(done.messages, None)
                self._acked(done.messages)
        self._woken()


def _frame(message: Outgoing, reply: str, last_seq: int, last_event_id: str | None) -> bytes:
    """One message as NATS takes it (``HPUB``), headers in CloudEvents' binary mode.

    Written here in one go: the client's own ``publish`` checks and encodes each header by itself, which costs more than
    the append of the event. No value can hold a line break: ids, types and times of ours, and a checked traceparent.
    """
    event = message.event
    trace = message.span.traceparent if message.span is not None else message.traceparent
    header = (
        f"NATS/1.0\r\n{subjects.HEADER_EVENT_ID}: {event.event_id}\r\n"
        f"{subjects.HEADER_EXPECTED_LAST_SEQUENCE}: {last_seq}\r\n"
        f"{subjects.HEADER_STREAM_SEQ}: {event.stream_seq}\r\n"
        f"{subjects.HEADER_CE_SPECVERSION}: {subjects.CE_SPECVERSION}\r\n"
        f"{subjects.HEADER_CE_ID}: {event.event_id}\r\n"
        f"{subjects.HEADER_CE_SOURCE}: {subjects.ce_source(event.workspace_id, event.stream_type, event.stream_id)}\r\n"
        f"{subjects.HEADER_CE_TYPE}: {event.event_type}\r\n"
        f"{subjects.HEADER_CE_TIME}: {timestamp(event.occurred_at)}\r\n"
        f"{subjects.HEADER_CE_SUBJECT}: {event.entity_type}/{event.entity_id}\r\n"
        f"{subjects.HEADER_CONTENT_TYPE}: application/json\r\n"
        + (f"{subjects.HEADER_EXPECTED_LAST_EVENT_ID}: {last_event_id}\r\n" if last_event_id is not None else "")
        + (f"{subjects.HEADER_TRACEPARENT}: {trace}\r\n" if trace is not None else "")
        + "\r\n"
    ).encode()
    subject = subjects.event(event.workspace_id, event.stream_type, event.stream_id, event.event_type)
    size = len(header)
    command = f"HPUB {subject} {reply}{' ' if reply else ''}{size} {size + len(message.body)}\r\n".encode()
    return b"".join((command, header, message.body, b"\r\n"))


def _refusal(message: Msg, burst: _Burst) -> PublishFailed | None:
    """Why an answer does not acknowledge its burst; None when it does."""
    if not message.data:  # the server's 503: no stream listens on the subject
        return PublishFailed("JetStream has no stream for events")
    try:
        answer = orjson.loads(message.data)
    except orjson.JSONDecodeError:
        return PublishFailed("an acknowledgement that is no JSON")
    if "error" in answer:
        return PublishFailed(f"JetStream refused: {answer['error'].get('description')}")
    if answer.get("duplicate") or answer.get("seq") != burst.last_seq:
        return PublishFailed(f"stored at {answer.get('seq')}, expected {burst.last_seq}")
    return None


def _end_spans(messages: Sequence[Outgoing], error: Exception | None) -> None:
    for message in messages:
        if message.span is not None:
            message.span.close(error)
            message.span = None
