"""From POST to the SSE client: requests by a schedule that waits for nobody, one client on the room's stream.

Each latency counts from the time at which its request was due, so that a server that stalls pays for all whom it keeps
waiting. One process and one clock for both ends.
"""

import asyncio
import json
import re
import sys
import time
from collections import deque
from typing import Any, cast

import uvloop

from bench.load import http1
from bench.load.timing import percentiles

CONNECTIONS = 64
DRAIN_S = 5.0
MARK = re.compile(rb"n=(\d+);")


class Listener(asyncio.Protocol):
    """The SSE client: notes when each numbered message came."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._buffer = b""
        self.came: dict[int, float] = {}
        self.repeated = 0
        self.ready = asyncio.Event()
        self.progress = asyncio.Event()
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the stream."""
        cast("asyncio.Transport", transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        """Look for marks; one may come in two pieces."""
        now = time.perf_counter()
        self._buffer += data
        if b"caught_up" in self._buffer:
            self.ready.set()
        end = 0
        for mark in MARK.finditer(self._buffer):
            number = int(mark[1])
            self.repeated += number in self.came
            self.came.setdefault(number, now)
            end = mark.end()
        self._buffer = self._buffer[max(end, len(self._buffer) - 64) :]
        self.progress.set()

    def connection_lost(self, _: Exception | None) -> None:
        """The server closed the stream."""
        self.lost = True
        self.ready.set()
        self.progress.set()


async def measure(spec: dict[str, Any]) -> dict[str, Any]:
    """Sends ``rate`` requests a second for ``seconds``, after a second of the same that is not counted."""
    loop = asyncio.get_running_loop()
    listener = Listener(spec["stream"].encode())
    await loop.create_connection(lambda: listener, "127.0.0.1", spec["port"])
    async with asyncio.timeout(10):
        await listener.ready.wait()
    count, warm = round(spec["rate"] * (spec["seconds"] + 1)), spec["rate"]
    due: list[float] = []
    answered: dict[int, float] = {}
    waiting: deque[int] = deque()
    under_way: dict[http1.Connection, int] = {}
    free: list[http1.Connection] = []
    errors = 0

    def on_answer(connection: http1.Connection, status: int) -> None:
        nonlocal errors
        answered[under_way.pop(connection)] = time.perf_counter()
        errors += not 200 <= status < 300
        if waiting:
            send(connection, waiting.popleft())
        else:
            free.append(connection)

    def send(connection: http1.Connection, number: int) -> None:
        under_way[connection] = number
        connection.send(spec["request"].replace("n=0000000;", f"n={number:07};").encode())

    free += await http1.connect(spec["port"], CONNECTIONS, on_answer)
    started = time.perf_counter() + 0.05
    for number in range(count):
        due.append(started + number / spec["rate"])
        if (early := due[-1] - time.perf_counter()) > 0:
            await asyncio.sleep(early)
        if free:
            send(free.pop(), number)
        else:
            waiting.append(number)
    end = time.perf_counter() + DRAIN_S
    while len(listener.came) < count and not listener.lost and (left := end - time.perf_counter()) > 0:
        listener.progress.clear()
        try:
            await asyncio.wait_for(listener.progress.wait(), left)
        except TimeoutError:
            break
    delivered = [listener.came[number] - due[number] for number in range(warm, count) if number in listener.came]
    posted = [answered[number] - due[number] for number in range(warm, count) if number in answered]
    return {
        "sent": count,
        "errors": errors,
        "lost": count - len(listener.came),
        "repeated": listener.repeated,
        **percentiles(delivered),
        "answer": percentiles(posted),
    }


if __name__ == "__main__":
    print(json.dumps(uvloop.run(measure(json.load(sys.stdin)))))
