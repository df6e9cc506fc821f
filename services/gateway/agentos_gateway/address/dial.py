"""A TCP connection to a judged address, and to nothing else."""

import asyncio
import contextlib
import errno
import socket
from typing import Final

from agentos_gateway.address.guard import Pinned
from agentos_shared.host.lifecycle import CLOCK, Clock

CONNECT_TIMEOUT_S: Final = 10.0
_MOST_TRIED: Final = 4
_UNREACHABLE: Final = frozenset([errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT])


class ConnectFailed(Exception):
    """No connection; nothing was sent. Codes: ``connect_timeout``, ``connect_refused``, ``connect_unreachable``,
    ``connect_reset``, ``connect_failed``."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


async def dial(pinned: Pinned, timeout_s: float = CONNECT_TIMEOUT_S, clock: Clock = CLOCK) -> tuple[socket.socket, str]:
    """A connected socket, not blocking, and the address it is connected to.

    The addresses are tried in turn, each with its share of the time that is left.

    Raises:
        ConnectFailed: none of them took the connection.
    """
    until = clock.monotonic() + timeout_s
    addresses = pinned.addresses[:_MOST_TRIED]
    failure = ConnectFailed("connect_failed", "the host has no address to connect to")
    for place, address in enumerate(addresses):
        share = (until - clock.monotonic()) / (len(addresses) - place)
        try:
            async with asyncio.timeout(max(share, 0.001)):
                return await _connect(address, pinned.target.port), address
        except TimeoutError:
            failure = ConnectFailed("connect_timeout", f"no connection in {timeout_s:g} s")
        except OSError as error:
            failure = ConnectFailed(_code(error), f"no connection: {error.strerror or type(error).__name__}")
    raise failure


async def _connect(address: str, port: int) -> socket.socket:
    sixth = ":" in address
    sock = socket.socket(socket.AF_INET6 if sixth else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        where = (address, port, 0, 0) if sixth else (address, port)
        # An address is never looked up, by asyncio and uvloop alike; the peer's own word settles it.
        await asyncio.get_running_loop().sock_connect(sock, where)
        peer = sock.getpeername()
        if (peer[0], peer[1]) != (address, port):
            raise OSError(errno.EADDRNOTAVAIL, "connected elsewhere")
    except BaseException:
        with contextlib.suppress(OSError):
            sock.close()
        raise
    return sock


def _code(error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connect_refused"
    if isinstance(error, ConnectionError):
        return "connect_reset"
    return "connect_unreachable" if error.errno in _UNREACHABLE else "connect_failed"
