"""The API's one connection to NATS, and how it sends in bulk."""

from nats.aio.client import Client
from nats.errors import ConnectionClosedError, OutboundBufferLimitError

from agentos_shared.bus import connection
from agentos_shared.bus.connection import HandshakeFailed

__all__ = ["HandshakeFailed", "connect", "send"]


async def connect(url: str, *, client: Client | None = None) -> Client:
    """Connect as the API. See :func:`agentos_shared.bus.connection.connect`, also for what it raises."""
    return await connection.connect(url, "api", client=client)


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
