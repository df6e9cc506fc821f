"""Pulling hints from JetStream: as many as there are, as soon as there is one, whatever happens to the server.

FastStream's own batch subscriber collects until a batch is full or its time-out is over, so a lone message waits for
all of it; and it ends for good when the stream or the consumer is deleted. This one differs in how it pulls, only:

- While nothing comes, one request for a single message stays open. Once it came, whatever else there is by then is
  fetched at once, as one batch, and again until there is nothing.
- A batch whose handler failed is nacked, so it comes again at once: the next pull waits, longer with every failure.
- The server's idle heartbeats are the watchdog: silence, a deleted consumer or a reconnect means attaching anew, which
  makes the consumer where it is missing. :attr:`HintSubscriber.on_change` lets the owner look for what was lost.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

import nats.errors
import nats.js.errors
import orjson
import structlog
from faststream.message import StreamMessage
from faststream.nats.message import NatsBatchMessage
from faststream.nats.subscriber.usecases import BatchPullStreamSubscriber
from faststream.response import Response
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from agentos_shared.contracts import subjects
from agentos_shared.contracts.positions import Hint, StreamKey
from agentos_shared.host.lifecycle import Backoff

log = structlog.get_logger("agentos.bus")

EXPIRES_S: Final = 60.0
HEARTBEAT_S: Final = 5.0
#: Two missed heartbeats and a little.
SILENCE_S: Final = 2 * HEARTBEAT_S + 1
_NANOSECONDS: Final = 1_000_000_000
_HEARTBEAT: Final = "100"
_CONFLICT: Final = "409"
_NO_RESPONDERS: Final = "503"
_STATUS: Final = "Status"
#: JetStream's error codes: consumer create, name already in use, already exists.
_CANNOT_BE_CHANGED: Final = frozenset({10012, 10013, 10148})


class _Detached(Exception):
    """Nothing can arrive any more on this subscription."""


async def _nothing() -> None:
    return


class HintSubscriber(BatchPullStreamSubscriber):
    """A FastStream batch subscriber whose messages become :class:`Hint` values. Made by ``Broker.hint_subscriber``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: Called when hints begin to arrive and when they cease to.
        self.on_change: Callable[[], Awaitable[None]] = _nothing
        self._parser = parse_batch
        self._decoder = decode_batch
        self._arrived: deque[Msg] = deque()
        self._signal = asyncio.Event()
        self._attached = False
        self._again = False
        self._failed = False

    @property
    def attached(self) -> bool:
        """True while hints can arrive."""
        return self._attached and self.connection.is_connected

    def reattach(self) -> None:
        """Open a new pull request now: after a reconnect the server has forgotten the old one."""
        self._again = True
        self._signal.set()

    async def _create_subscription(self) -> None:
        if not self.tasks:
            self.add_task(self._consume_pull)

    async def _consume_pull(self) -> None:
        backoff = Backoff(0.05, 2.0)
        said = ""
        while True:
            try:
                await self._attach_and_pump(backoff)
            except (_Detached, nats.errors.Error, TimeoutError, OSError) as error:
                why = f"{type(error).__name__}: {error}"
                say = log.debug if why == said else log.info
                say("hints_detached", durable=self.config.durable_name, why=why)
                said = why
            finally:
                was, self._attached = self._attached, False
            if was:
                await self.on_change()
            if not self.running:
                return
            self._signal.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._signal.wait(), backoff.next_s())

    async def _attach_and_pump(self, backoff: Backoff) -> None:
        self._again = False
        if not self.connection.is_connected:
            raise _Detached("not connected")
        await self._make_consumer()
        inbox = self.connection.new_inbox()
        subscription = await self.connection.subscribe(inbox, cb=self._on_message)
        try:
            await self._pump(inbox, backoff)
        finally:
            self._arrived.clear()
            await _unsubscribe(subscription)

    async def _make_consumer(self) -> None:
        """Make the consumer, or find it as it is. A stream that does not exist yet is an error to wait on."""
        try:
            await self.jetstream.add_consumer(self.stream.name, self.config)
        except nats.js.errors.APIError as error:
            if error.err_code not in _CANNOT_BE_CHANGED:
                raise
            # It exists with other settings. Its position is worth nothing to us: make it anew.
            log.warning("consumer_made_anew", durable=self.config.durable_name, why=error.description)
            with contextlib.suppress(nats.js.errors.NotFoundError):
                await self.jetstream.delete_consumer(self.stream.name, self.config.durable_name or "")
            await self.jetstream.add_consumer(self.stream.name, self.config)

    async def _on_message(self, message: Msg) -> None:
        self._arrived.append(message)
        self._signal.set()

    async def _pump(self, inbox: str, backoff: Backoff) -> None:
        # The consumer keeps what comes from now on; what was committed before it existed must be read from the store.
        self._attached = True
        log.info("hints_attached", durable=self.config.durable_name)
        await self.on_change()
        hurried = False
        while self.running:
            batch = await self._pull(inbox, backoff, at_once=hurried)
            hurried = bool(batch)
            if not batch:
                continue
            self._failed = False
            await self.consume(batch)
            if self._failed:
                await asyncio.sleep(backoff.next_s())  # noqa: TID251 - of FastStream's task, which knows no Clock
            else:
                backoff.reset()

    async def _pull(self, inbox: str, backoff: Backoff, *, at_once: bool) -> list[Msg]:
        """What is there (``at_once``; it may be nothing), or the first message that comes.

        While a batch is at work the server keeps the next ones, and then sends them in one burst: waking this process
        for each of them would cost more than the rest of the way.
        """
        request = f"{self.jetstream._prefix}.CONSUMER.MSG.NEXT.{self.stream.name}.{self.config.durable_name}"
        wanted = self.pull_sub.batch_size if at_once else 1
        await self.connection.publish(request, _pull(wanted, at_once=at_once), reply=inbox)
        batch: list[Msg] = []
        while True:
            while self._arrived:
                message = self._arrived.popleft()
                status = message.headers.get(_STATUS) if message.headers and not message.data else None
                if status is None:
                    batch.append(message)
                    if len(batch) == wanted:
                        return batch
                elif status in (_CONFLICT, _NO_RESPONDERS):
                    raise _Detached(f"{status} {message.headers.get('Description', '') if message.headers else ''}")
                elif status == _HEARTBEAT:
                    backoff.reset()
                else:
                    return batch  # that was all, or the request ran out of time
            self._signal.clear()
            try:
                await asyncio.wait_for(self._signal.wait(), SILENCE_S)
            except TimeoutError:
                raise _Detached("no heartbeat") from None
            if self._again:
                raise _Detached("reconnected")

    async def process_message(self, msg: list[Msg]) -> Response:
        """FastStream nacks and logs what this raises, and tells nobody: so it is noted here."""
        try:
            return await super().process_message(msg)
        except Exception:
            self._failed = True
            raise


async def _unsubscribe(subscription: Subscription) -> None:
    with contextlib.suppress(nats.errors.Error):
        await subscription.unsubscribe()


def _pull(batch: int, *, at_once: bool) -> bytes:
    if at_once:
        return orjson.dumps({"batch": batch, "no_wait": True})
    return orjson.dumps(
        {
            "batch": batch,
            "expires": int(EXPIRES_S * _NANOSECONDS),
            "idle_heartbeat": int(HEARTBEAT_S * _NANOSECONDS),
        }
    )


class HintBatch(NatsBatchMessage):
    """Messages of one call. The consumer acknowledges cumulatively, so the last one speaks for all.

    Of several processes on one durable, one may thereby acknowledge what another still works on. Should that one die,
    its hints are not repeated; the reconciler finds what they told.
    """

    async def ack(self) -> None:
        await self.raw_message[-1].ack()
        await StreamMessage.ack(self)


async def parse_batch(messages: list[Msg]) -> HintBatch:
    """The batch as FastStream hands it on; what a hint needs is read by :func:`decode_batch`."""
    return HintBatch(raw_message=messages, body=[], batch_headers=[])


async def decode_batch(message: StreamMessage[list[Msg]]) -> list[Hint]:
    """The hints in a batch of messages. One that is no event of ours is dropped: the reconciler needs no hints."""
    hints: list[Hint] = []
    for raw in message.raw_message:
        headers = raw.headers or {}
        try:
            key = StreamKey(*subjects.stream_of(raw.subject))
            seq = int(headers[subjects.HEADER_STREAM_SEQ])
        except (ValueError, KeyError):
            log.warning("not_an_event", subject=raw.subject[:200])
            continue
        hints.append(Hint(key, seq, headers.get(subjects.HEADER_TRACEPARENT)))
    return hints
