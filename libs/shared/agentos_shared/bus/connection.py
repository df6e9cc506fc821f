"""A plain connection to NATS that never gives up, for services that keep nothing in JetStream.

nats-py closes for good after sixty failed reconnects unless told otherwise, and a connection that has closed is silent:
both would leave a service that runs, and never hears or says anything again.
"""

from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from nats.aio.client import Client
from nats.errors import Error, SlowConsumerError

from agentos_shared.host import logging as logs
from agentos_shared.host.settings import nats_servers

log = structlog.get_logger("agentos.bus")

RECONNECT_WAIT_S: Final = 0.2
CONNECT_TIMEOUT_S: Final = 2
PING_INTERVAL_S: Final = 5
#: Bytes that may wait for the socket.
PENDING_BYTES: Final = 16 * 1024 * 1024

Callback = Callable[[], Awaitable[None]]


class HandshakeFailed(Error):
    """A server answered, and did not take us in: wrong credentials, or it went away in that moment."""


async def _nothing() -> None:
    return


async def connect(url: str, service: str, *, client: Client | None = None, on_back: Callback = _nothing) -> Client:
    """Connect to NATS; from then on the client reconnects for ever, by itself.

    Args:
        url: ``nats://user:password@host:port``; several servers separated by commas.
        service: name of the NATS user, whose inbox is ``_INBOX_<service>``.
        client: a new one, which may be subscribed with already: what is asked of it waits for the server.
        on_back: called after each reconnect, since messages were lost meanwhile.

    Does not return before a server answers: bound it, or let it run beside. Cancelled, it leaves nothing.

    Raises:
        HandshakeFailed: start again with a new client. This one would go on trying, and has dropped without a word
            what it was subscribed to.
    """
    client = client or Client()
    server = logs.mask_url(url)
    connected = False

    async def on_error(error: Exception) -> None:
        if not connected and client.is_connecting:
            raise HandshakeFailed(f"{server}: {type(error).__name__}: {error}") from error
        # A subscriber that lags has its own fallback, and each failed attempt to reconnect is no news.
        expected = not client.is_connected or isinstance(error, SlowConsumerError)
        say = log.debug if expected else log.warning
        say("nats_error", error=f"{type(error).__name__}: {error}")

    async def on_disconnected() -> None:
        log.warning("nats_disconnected", server=server)

    async def on_reconnected() -> None:
        log.info("nats_reconnected", server=server)
        await on_back()

    async def on_closed() -> None:
        log.info("nats_closed", server=server)

    try:
        await client.connect(
            nats_servers(url),
            name=f"agentos-{service}",
            error_cb=on_error,
            disconnected_cb=on_disconnected,
            reconnected_cb=on_reconnected,
            closed_cb=on_closed,
            max_reconnect_attempts=-1,
            reconnect_time_wait=RECONNECT_WAIT_S,  # type: ignore[arg-type]  # seconds; a float works and is what we want
            connect_timeout=CONNECT_TIMEOUT_S,
            ping_interval=PING_INTERVAL_S,
            max_outstanding_pings=2,
            inbox_prefix=f"_INBOX_{service}",
            pending_size=PENDING_BYTES,
        )
    except BaseException:
        await client.close()
        raise
    connected = True
    return client
