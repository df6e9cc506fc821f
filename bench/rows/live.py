"""From the POST to whoever listens: latency, fan-out to a thousand clients, and what an idle client costs."""

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

import psutil

from agentos_runtime import processes
from bench import children, web
from bench.bench import Bench
from bench.children import ROOT, Failed
from bench.report import Line, Series, at_least, below, times
from bench.stack import Stack, Thread, agent_os
from bench.web import MESSAGE

RATES: Final = (200, 1000)
CLIENTS: Final = 1000
#: Events under way at once. Enough that there is always one to write, few enough that nobody falls far behind.
WINDOW: Final = 64
OURS: Final = "Agent OS"
SSE_STARLETTE: Final = "sse-starlette"
THREAD: Final = Thread("room_01JDAGZ3K8R4W5T6Y7V8X9Z0AB", "th_01JDAGZ3K8R4W5T6Y7V8X9Z0AB")

OPEN_LOOP: Final = (
    "Requests go out by a schedule that waits for nobody, and each latency counts from when its request was due. "
    "Sender and SSE client are one process with one clock; its timers round up to whole milliseconds, which counts "
    "against us."
)
SATURATED: Final = (
    f"Closed loop: {WINDOW} events are under way at once, each posted singly, so that there is always more to deliver. "
    "The clients are bare sockets in a process of their own that only counts. Ours stores every event, publishes and "
    "projects it; the baseline only hands it on."
)
PSS: Final = "Growth of the server process's memory (PSS) over each further thousand clients, divided by a thousand."


def _stream_request(room_id: str, port: int) -> str:
    return (
        f"GET /v1/streams/rooms/{room_id}?from_seq=latest HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        "Accept: text/event-stream\r\n\r\n"
    )


def latency(bench: Bench) -> list[Line]:
    """From the POST to the SSE client."""
    stack = bench.shared(agent_os)
    answers: dict[int, list[dict[str, Any]]] = {rate: [] for rate in RATES}

    def measure(rate: int) -> float:
        stack.settle()
        (thread,) = stack.threads(1)
        text = "n=0000000; " + MESSAGE["content_md"]
        spec = {
            "port": stack.port,
            "rate": rate,
            "seconds": 2 * bench.seconds,
            "stream": _stream_request(thread.room_id, stack.port),
            "request": web.request(
                f"/v1/threads/{thread.thread_id}/messages", {**MESSAGE, "content_md": text}, stack.port
            ),
        }
        answer = children.load("latency", spec, timeout_s=2 * bench.seconds + 60)
        if answer["errors"] or answer["lost"] or answer["repeated"]:
            raise Failed(
                f"of {answer['sent']} messages {answer['errors']} were refused, {answer['lost']} never came and "
                f"{answer['repeated']} came twice"
            )
        answers[rate].append(answer)
        p50: float = answer["p50_ms"]
        return p50

    found = bench.interleave("POST to SSE", "ms", {f"{rate:,}/s": partial(measure, rate) for rate in RATES})
    lines = []
    for rate in RATES:
        p99 = Series("p99", "ms", [answer["p99_ms"] for answer in answers[rate]])
        stored = Series("", "ms", [answer["answer"]["p50_ms"] for answer in answers[rate]])
        stored_p99 = Series("", "ms", [answer["answer"]["p99_ms"] for answer in answers[rate]])
        p50 = Series(
            "p50",
            "ms",
            found[f"{rate:,}/s"].values,
            f"p99 {p99}; the POST's own answer: p50 {stored}, p99 {stored_p99}",
        )
        goals = [below("must", p50, 5, "p50"), below("must", p99, 25, "p99"), below("beyond", p99, 10, "p99")]
        lines.append(
            Line("POST sent -> SSE client has it", f"{rate:,} messages/s in one room, p50", p50, (), goals, [OPEN_LOOP])
        )
    return lines


def fan_out(bench: Bench) -> list[Line]:
    """A thousand clients in one room."""
    stack = bench.shared(agent_os)
    (thread,) = stack.threads(1)
    with web.baseline(bench, "sse_starlette_app") as (port, pid):
        return [_saturated(bench, stack, thread, port, pid)]


def _saturated(bench: Bench, stack: Stack, thread: Thread, port: int, pid: int) -> Line:
    seen: dict[str, list[dict[str, Any]]] = {OURS: [], SSE_STARLETTE: []}

    def measure(name: str, port: int, pid: int, thread: Thread) -> float:
        stack.settle()
        spec = {
            "port": port,
            "pid": pid,
            "clients": CLIENTS,
            "window": WINDOW,
            "warm_s": 1.0,
            "seconds": bench.seconds,
            "stream": _stream_request(thread.room_id, port),
            "request": web.request(f"/v1/threads/{thread.thread_id}/messages", MESSAGE, port),
        }
        answer = children.load("fanout", spec, timeout_s=bench.seconds + 120)
        if answer["refused"] or answer["closed"]:
            posts = f"{len(answer['refused'])} posts were refused {answer['refused'][:1]}"
            raise Failed(f"{name}: {posts}, {answer['closed']} clients were sent away")
        seen[name].append(answer)
        per_s: float = answer["per_s"]
        return per_s

    measures: dict[str, Callable[[], float]] = {
        OURS: partial(measure, OURS, stack.port, stack.pid("api"), thread),
        SSE_STARLETTE: partial(measure, SSE_STARLETTE, port, pid, THREAD),
    }
    found = bench.interleave("SSE fan-out", "deliveries/s", measures)

    def series(name: str) -> Series:
        cpu = [Series("", "", [answer[side] for answer in seen[name]]) for side in ("server_cpu", "client_cpu")]
        note = f"CPU: server {cpu[0].median:.2f}, clients {cpu[1].median:.2f} of a core"
        return Series(name, "deliveries/s", found[name].values, note)

    ours, baseline = series(OURS), series(SSE_STARLETTE)
    goals = [times("must", ours, baseline, 8, "sse-starlette"), at_least("beyond", ours, 300_000)]
    return Line("SSE fan-out", f"{CLIENTS:,} clients in one room, saturated", ours, [baseline], goals, [SATURATED])


def idle(bench: Bench) -> list[Line]:
    """A client that only listens. Fresh servers: memory that a storm has left free would hide what a client costs."""
    with agent_os(bench) as stack:
        (thread,) = stack.threads(1)
        ours = Series(OURS, "kB", _growth(bench, stack.port, stack.pid("api"), thread.room_id))
    with web.baseline(bench, "sse_starlette_app") as (port, pid):
        baseline = Series(SSE_STARLETTE, "kB", _growth(bench, port, pid, THREAD.room_id))
    goals = [below("must", ours, 25), below("beyond", ours, 15)]
    return [Line("idle SSE client", "memory of the server for one more client", ours, [baseline], goals, [PSS])]


def _growth(bench: Bench, port: int, pid: int, room_id: str) -> list[float]:
    """kB a client, for each further thousand of clients."""
    with bench.working("idle SSE clients"), _listeners(port, room_id) as connect:
        connect(100)
        before = _pss(pid)
        grown = []
        for _ in range(bench.rounds):
            connect(CLIENTS)
            now = _pss(pid)
            grown.append((now - before) / CLIENTS / 1000)
            before = now
        return grown


@contextlib.contextmanager
def _listeners(port: int, room_id: str) -> "Iterator[Callable[[int], None]]":
    """A process whose clients listen; the function makes it so many more."""
    command = processes.launched([sys.executable, "-m", "bench.load.idle"], death_signal=signal.SIGTERM)
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, start_new_session=True)
    assert process.stdin is not None
    assert process.stdout is not None
    tell, hear = process.stdin, process.stdout

    def connect(count: int) -> None:
        tell.write(f"{count}\n".encode())
        tell.flush()
        if not hear.readline().startswith(b"ready"):
            raise Failed("the idle clients could not connect")

    try:
        tell.write(json.dumps({"port": port, "stream": _stream_request(room_id, port)}).encode() + b"\n")
        yield connect
    finally:
        children.end(process)


def _pss(pid: int) -> int:
    """Bytes of memory of a process, where shared pages count by their share."""
    return int(psutil.Process(pid).memory_full_info().pss)


ROWS = {
    "from the POST to the SSE client": latency,
    "fan-out to a thousand SSE clients": fan_out,
    "memory of an idle SSE client": idle,
}
