"""The API's one connection to NATS, which never gives up.

nats-py closes for good after sixty failed reconnects unless told otherwise, and a connection that has closed is silent:
both would leave an API that serves, and never publishes again.
"""

from typing import Final

import structlog
from nats.aio.client import Client
from nats.errors import ConnectionClosedError, Error, OutboundBufferLimitError, SlowConsumerError

from agentos_shared.host import logging as logs

log = structlog.get_logger()

INBOX_PREFIX: Final = "_INBOX_api"
RECONNECT_WAIT_S: Final = 0.2
CONNECT_TIMEOUT_S: Final = 2
PING_INTERVAL_S: Final = 5
#: Bytes that may wait for the socket; the relay keeps far less in flight, so this only bounds replies and pings.
PENDING_BYTES: Final = 16 * 1024 * 1024


class HandshakeFailed(Error):
    """A server answered, and did not take us in: wrong credentials, or it went away in that moment."""


async def connect(url: str, *, name: str = "agentos-api", client: Client | None = None) -> Client:
    """Connect to NATS; from then on the client reconnects for ever, by itself.

    Args:
        url: ``nats://user:password@host:port``.
        client: a new one, which may be subscribed with already: what is asked of it waits for the server.

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

    async def on_closed() -> None:
        log.info("nats_closed", server=server)

    try:
        await client.connect(
            url,
            name=name,
            error_cb=on_error,
            disconnected_cb=on_disconnected,
            reconnected_cb=on_reconnected,
            closed_cb=on_closed,
            max_reconnect_attempts=-1,
            reconnect_time_wait=RECONNECT_WAIT_S,  # type: ignore[arg-type]  # seconds; a float works and is what we want
            connect_timeout=CONNECT_TIMEOUT_S,
            ping_interval=PING_INTERVAL_S,
            max_outstanding_pings=2,
            inbox_prefix=INBOX_PREFIX,
            pending_size=PENDING_BYTES,
        )
    except BaseException:
        await client.close()
        raise
    connected = True
    return client


async def send(client: Client, commands: bytes) -> None:
    """Send protocol commands as they are.

    The client has no bulk publish; this is what its ``publish`` ends with, for a whole burst at once (the lock pins the
    version, and the relay's tests would notice a change).

    Raises:
        ConnectionClosedError: the client is closed. OutboundBufferLimitError: it is not connected.
    """
    if client.is_closed:
        raise ConnectionClosedError
    if not client.is_connected:
        raise OutboundBufferLimitError
    await client._send_command(commands)
    await client._flush_pending()
