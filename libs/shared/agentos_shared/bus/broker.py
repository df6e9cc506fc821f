"""The FastStream broker that a service gets: made in one place, so that no service can forget what loses events.

- An exception in a handler nacks (FastStream's own default terminates the message, which is lost to that consumer).
- The client reconnects for ever, with back-off and jitter (nats-py's own default closes after 60 tries).
- Each NATS user has its own inbox prefix, which is all that it may subscribe to beside its subjects.
- Durable consumers get an explicit ``max_deliver`` and back-off, and are pulled by :mod:`agentos_shared.bus.hints`.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog
from faststream._internal.broker.registrator import Registrator
from faststream._internal.endpoint.subscriber.call_item import CallsCollection
from faststream.middlewares import AckPolicy
from faststream.nats import JStream, NatsBroker, PullSub
from faststream.nats.subscriber.config import NatsSubscriberConfig, NatsSubscriberSpecificationConfig
from faststream.nats.subscriber.specification import NatsSubscriberSpecification
from nats.aio.client import Client, Server
from nats.js.api import AckPolicy as JetStreamAck
from nats.js.api import ConsumerConfig, DeliverPolicy, ReplayPolicy

from agentos_shared.bus.hints import HintSubscriber
from agentos_shared.contracts import subjects
from agentos_shared.host.lifecycle import Rng
from agentos_shared.host.settings import nats_servers

log = structlog.get_logger("agentos.bus")

#: A message that was not acknowledged comes back after these waits (seconds). The reconciler has long been there before
#: the last one: a hint that is given up costs nothing.
REDELIVERY_S: Final = (30.0, 60.0, 120.0, 300.0)
MAX_DELIVER: Final = 10
#: Deliveries under way for all processes of one durable together.
MAX_ACK_PENDING: Final = 20_000
GRACE_S: Final = 2.0

Callback = Callable[[], Awaitable[None]]


class Broker(NatsBroker):
    """A NATS broker with our rules. Handlers get plain values: FastStream's argument parsing is off, for speed."""

    stopping = False

    async def stop(self, *args: Any) -> None:
        """Let handlers end, then close the connection."""
        self.stopping = True
        await super().stop(*args)

    async def _connect(self) -> Client:
        client = Client()
        try:
            await client.connect(**self._connection_kwargs)
        except BaseException:
            # Cancelled while the server was away, or refused: nobody else knows this half-open connection.
            await client.close()
            raise
        self.config.broker_config.connect(client)
        return client

    def hint_subscriber(self, durable: str, *, batch: int, on_change: Callback) -> HintSubscriber:
        """A subscriber to the event stream. Its handler takes a list of ``agentos_shared.contracts.positions.Hint``.

        Args:
            durable: the consumer's name; processes with the same one share the messages.
            batch: messages at most in one call of the handler, and about as many fetched ahead.
            on_change: called when messages begin to arrive (some may have been lost before) and when they cease to.
        """
        outer: Any = self.config
        config = NatsSubscriberConfig(
            subject=subjects.EVENTS_SUBJECTS,
            sub_config=ConsumerConfig(
                durable_name=durable,
                deliver_policy=DeliverPolicy.NEW,  # what lies before is read from the store
                ack_policy=JetStreamAck.ALL,
                replay_policy=ReplayPolicy.INSTANT,
                max_deliver=MAX_DELIVER,
                backoff=list(REDELIVERY_S),
                max_ack_pending=MAX_ACK_PENDING,
                headers_only=True,
            ),
            _outer_config=outer,
        )
        calls = CallsCollection[Any]()
        specification = NatsSubscriberSpecification(
            _outer_config=outer,
            calls=calls,
            specification_config=NatsSubscriberSpecificationConfig(
                subject=subjects.EVENTS_SUBJECTS, queue=None, title_=None, description_=None, include_in_schema=True
            ),
        )
        subscriber = HintSubscriber(
            config,
            specification,
            calls,
            stream=JStream(subjects.EVENTS_STREAM, declare=False),
            pull_sub=PullSub(batch_size=batch, batch=True),
        )
        subscriber.on_change = on_change
        Registrator.subscriber(self, subscriber)
        return subscriber


def make_broker(service: str, url: str, *, rng: Rng, on_closed: Callback) -> Broker:
    """The broker of a service; nothing is connected yet.

    Args:
        service: name of the connection and of the inbox prefix (``_INBOX_<service>``), equal to the NATS user.
        url: with user and password; several servers separated by commas.
        on_closed: called when the client gave up for good (it was refused, not merely cut off).
    """

    def reconnect(servers: list[Server], _info: dict[str, Any]) -> tuple[Server | None, float]:
        # The server that failed least, after a wait that doubles from 50 ms to 2 s with its tries.
        server = min(servers, key=lambda s: (s.reconnects, rng.random()))
        return server, min(0.05 * 2 ** min(server.reconnects, 8), 2.0) * (0.2 + 0.8 * rng.random())

    async def on_disconnected() -> None:
        if broker.stopping:
            return
        log.warning("nats_disconnected")
        for subscriber in broker.subscribers:
            if isinstance(subscriber, HintSubscriber):
                await subscriber.on_change()

    async def on_reconnected() -> None:
        log.info("nats_reconnected")
        for subscriber in broker.subscribers:
            if isinstance(subscriber, HintSubscriber):
                subscriber.reattach()

    async def on_error(error: Exception) -> None:
        log.debug("nats_error", error=f"{type(error).__name__}: {error}")

    own = logging.getLogger("faststream")
    own.handlers.clear()  # it brings one of its own when it is imported; lines go where all others go
    own.propagate = True
    broker = Broker(
        nats_servers(url),
        name=f"agentos-{service}",
        ack_policy=AckPolicy.NACK_ON_ERROR,
        apply_types=False,
        allow_reconnect=True,
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.25,  # type: ignore[arg-type]  # declared as whole seconds, used as a number
        reconnect_to_server_handler=reconnect,
        connect_timeout=2,
        ping_interval=5,
        max_outstanding_pings=2,
        inbox_prefix=f"_INBOX_{service}",
        graceful_timeout=GRACE_S,
        disconnected_cb=on_disconnected,
        reconnected_cb=on_reconnected,
        error_cb=on_error,
        closed_cb=on_closed,
        logger=own,
        log_level=logging.DEBUG,
    )
    return broker
