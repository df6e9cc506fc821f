"""The least of an HTTP/1.1 client: prepared bytes out, answers counted in."""

import asyncio
from collections.abc import Callable
from typing import cast

Answered = Callable[["Connection", int], None]


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request under way.

    Args:
        answered: called with each answer's status; 0 when the connection broke with a request under way.

    Attributes:
        body: of the last answer.
    """

    body = b""

    def __init__(self, answered: Answered) -> None:
        self._answered = answered
        self._buffer = b""
        self._busy = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ready to send."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but its class

    def send(self, request: bytes) -> None:
        """Send; ``answered`` follows."""
        assert self._transport is not None
        self._busy = True
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Collect until the answer is whole."""
        self._buffer += data
        if is_whole(self._buffer):
            status = int(self._buffer[9:12])
            self.body = self._buffer[self._buffer.find(b"\r\n\r\n") + 4 :]
            self._buffer = b""
            self._busy = False
            self._answered(self, status)

    def connection_lost(self, _: Exception | None) -> None:
        """Tell whoever waits."""
        if self._busy:
            self._busy = False
            self._answered(self, 0)

    def close(self) -> None:
        """Close the connection; nothing is told any more."""
        self._busy = False
        if self._transport is not None:
            self._transport.abort()


def is_whole(answer: bytes) -> bool:
    """Whether an answer with a ``content-length`` has come to its end."""
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return False
    head = answer[:end].lower()
    at = head.find(b"content-length:")
    length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
    return len(answer) >= end + 4 + length


async def connect(port: int, count: int, answered: Answered) -> list[Connection]:
    """So many connections to this machine."""
    loop = asyncio.get_running_loop()
    made = []
    for _ in range(count):
        _, connection = await loop.create_connection(lambda: Connection(answered), "127.0.0.1", port)
        made.append(connection)
    return made
