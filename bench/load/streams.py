"""Many clients of one event stream, on bare sockets: nothing is parsed, so that reading costs less than serving."""

import select
import socket
import time
from collections.abc import Sequence
from typing import Final

BUFFER: Final = memoryview(bytearray(1 << 20))
#: Occurs the same number of times in every event, and never in what HTTP or SSE wrap around it.
COUNTED: Final = b"{"


class Clients:
    """Clients that have asked for the same stream, and what came for all of them together."""

    def __init__(self, port: int, request: bytes) -> None:
        self._port = port
        self._request = request
        self._poll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self.counted = 0
        self.closed = 0

    def __len__(self) -> int:
        return len(self._sockets)

    def add(self, count: int, timeout_s: float = 60) -> None:
        """Connect so many more, and wait until each is being answered. Raises ConnectionError when one is refused."""
        new: set[int] = set()
        for _ in range(count):
            client = socket.create_connection(("127.0.0.1", self._port), 10)
            client.sendall(self._request)
            client.setblocking(False)
            self._poll.register(client, select.EPOLLIN)
            self._sockets[client.fileno()] = client
            new.add(client.fileno())
        deadline = time.monotonic() + timeout_s
        while new:
            for number, _ in self._poll.poll(1.0):
                got = self._read(number)
                if number in new and got:
                    if not bytes(BUFFER[:got]).startswith(b"HTTP/1.1 200"):
                        raise ConnectionError(f"a stream was answered with {bytes(BUFFER[:200])!r}")
                    new.discard(number)
            if new and time.monotonic() > deadline:
                raise ConnectionError(f"{len(new)} of {count} streams were not answered within {timeout_s:.0f} s")

    def read(self, timeout_s: float) -> bool:
        """Take what has come. False when nothing came within the time."""
        ready: Sequence[tuple[int, int]] = self._poll.poll(timeout_s)
        for number, _ in ready:
            self._read(number)
        return bool(ready)

    def read_until_quiet(self, quiet_s: float) -> None:
        """Until nothing came for so long."""
        while self.read(quiet_s):
            pass

    def _read(self, number: int) -> int:
        client = self._sockets[number]
        try:
            got = client.recv_into(BUFFER)
        except BlockingIOError:
            return 0
        except ConnectionResetError:
            got = 0
        if got == 0:
            self._poll.unregister(client)
            client.close()
            del self._sockets[number]
            self.closed += 1
            return 0
        self.counted += client_count(got)
        return got


def client_count(got: int) -> int:
    """How often the counted byte is in what was just read."""
    return bytes(BUFFER[:got]).count(COUNTED)
