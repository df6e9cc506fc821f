"""One room, many clients: how many deliveries a second when there is always more to deliver.

Closed loop: so many events are under way at once, and the next is posted when the oldest has reached all clients. The
clients are read every few milliseconds, so that each read takes what has gathered and this process never is the limit;
its own share of a processor is reported.
"""

import json
import select
import socket
import sys
import time
from typing import Any, Final

import psutil

from bench.load import http1
from bench.load.streams import Clients

POSTING: Final = 8
GATHER_S: Final = 0.002


class Posts:
    """Connections that post the same request; each waits for its answer."""

    def __init__(self, port: int, request: bytes) -> None:
        self._request = request
        self._poll = select.epoll()
        self._free: list[socket.socket] = []
        self._busy: dict[int, tuple[socket.socket, bytes]] = {}
        self.refused: list[str] = []
        for _ in range(POSTING):
            self._free.append(socket.create_connection(("127.0.0.1", port), 10))

    def send(self, most: int) -> int:
        """Post as many as connections are free, at most so many; how many those were."""
        sent = 0
        while self._free and sent < most:
            connection = self._free.pop()
            connection.sendall(self._request)
            self._busy[connection.fileno()] = connection, b""
            self._poll.register(connection, select.EPOLLIN)
            sent += 1
        return sent

    def collect(self, timeout_s: float = 0) -> None:
        """Take the answers that have come."""
        for number, _ in self._poll.poll(timeout_s):
            connection, before = self._busy[number]
            came = connection.recv(1 << 16)
            answer = before + came
            if came and not http1.is_whole(answer):
                self._busy[number] = connection, answer
                continue
            del self._busy[number]
            self._poll.unregister(connection)
            if not answer.startswith(b"HTTP/1.1 2"):
                self.refused.append(answer[:200].decode(errors="replace") or "the connection was closed")
            if came:
                self._free.append(connection)

    def collect_all(self) -> None:
        """Wait for every answer that is still to come, for some seconds."""
        deadline = time.monotonic() + 10
        while self._busy and time.monotonic() < deadline:
            self.collect(0.1)


def measure(spec: dict[str, Any]) -> dict[str, Any]:
    """Delivers for some seconds, after a warm-up."""
    clients = Clients(spec["port"], spec["stream"].encode())
    clients.add(spec["clients"])
    clients.read_until_quiet(0.5)
    posts = Posts(spec["port"], spec["request"].encode())

    before = clients.counted
    posts.send(1)
    while clients.counted == before:
        clients.read(10)
    clients.read_until_quiet(0.5)
    posts.collect_all()
    per_event = clients.counted - before  # of all clients together
    if per_event % spec["clients"] or not per_event:
        raise SystemExit(f"{per_event} marks came for one event and {spec['clients']} clients")

    start_count = clients.counted
    posted = 0

    def delivered() -> float:
        return (clients.counted - start_count) / per_event

    def go_on(until: float) -> None:
        nonlocal posted
        while time.perf_counter() < until:
            posts.collect()
            posted += posts.send(max(0, spec["window"] - int(posted - delivered())))
            time.sleep(GATHER_S)
            clients.read(0)

    go_on(time.perf_counter() + spec["warm_s"])
    server, ours = psutil.Process(spec["pid"]), psutil.Process()
    marks = delivered(), time.perf_counter(), _cpu(server), _cpu(ours)
    go_on(time.perf_counter() + spec["seconds"])
    took = time.perf_counter() - marks[1]
    return {
        "per_s": (delivered() - marks[0]) * spec["clients"] / took,
        "events_per_s": (delivered() - marks[0]) / took,
        "server_cpu": (_cpu(server) - marks[2]) / took,
        "client_cpu": (_cpu(ours) - marks[3]) / took,
        "refused": posts.refused,
        "closed": clients.closed,
    }


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    print(json.dumps(measure(json.load(sys.stdin))))
