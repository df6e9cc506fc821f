"""Load over HTTP/1.1 (wrk, or a generator of our own where there is none), and the servers of the baselines."""

import contextlib
import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from bench import children
from bench.bench import Bench
from bench.children import ROOT, Failed, server
from bench.environment import environment_of_the_baselines
from bench.load.sample import DATA

CONNECTIONS: Final = 64
#: Between two prepared requests in a file; cannot occur in JSON or in a header.
SEPARATOR: Final = "\x00"
MESSAGE: Final = {name: DATA[name] for name in ("sender_type", "sender_id", "content_md")}


@dataclass(frozen=True, slots=True)
class Load:
    """What a load generator saw. Errors are never part of it: they raise."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def per_s(self) -> float:
        """Requests answered per second."""
        return self.requests / self.seconds


def request(path: str, body: Mapping[str, Any], port: int) -> str:
    """A POST as it goes over the wire."""
    text = json.dumps(body)
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(text.encode())}\r\n\r\n{text}"
    )


def requests_file(bench: Bench, name: str, requests: Sequence[str]) -> Path:
    """Prepared requests, for ``load``."""
    path = bench.directory / f"{name}.requests"
    path.write_text(SEPARATOR.join(requests), encoding="utf-8", newline="")
    return path


def load(port: int, requests: Path, seconds: float) -> Load:
    """Sends the prepared requests in turn over 64 connections, each of which waits for its answer.

    Raises:
        Failed: an answer was not 2xx, or a connection broke.
    """
    wrk = find_wrk()
    if wrk is None:
        spec = {"port": port, "requests": str(requests), "seconds": seconds, "connections": CONNECTIONS}
        answer = children.load("http", spec, timeout_s=seconds + 60)
    else:
        duration = max(1, round(seconds))
        command = [wrk, "-t1", f"-c{CONNECTIONS}", f"-d{duration}s", "--timeout", "10s"]
        command += ["-s", str(ROOT / "bench" / "load" / "wrk.lua"), f"http://127.0.0.1:{port}", "--", str(requests)]
        answer = json.loads(children.run(command, timeout_s=duration + 60).strip().splitlines()[-1])
    if answer["errors"] or not answer["requests"]:
        raise Failed(f"{answer['errors']} of {answer['requests']} requests to port {port} failed")
    return Load(answer["requests"], answer["seconds"], answer["p50_ms"], answer["p99_ms"])


def send(port: int, requests: Path, count: int) -> None:
    """Sends so many of the prepared requests, as quickly as they are answered."""
    spec = {"port": port, "requests": str(requests), "seconds": 120, "count": count, "connections": 8}
    answer = children.load("http", spec, timeout_s=180)
    if answer["errors"] or answer["requests"] < count:
        raise Failed(f"{answer['requests']} of {count} requests were answered, {answer['errors']} of them badly")


@cache
def find_wrk() -> str | None:
    """Path of wrk; as root it is installed where it is missing."""
    found = shutil.which("wrk")
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        with contextlib.suppress(Failed):
            children.run(
                ["apt-get", "install", "-y", "-qq", "wrk"], timeout_s=120, env={"DEBIAN_FRONTEND": "noninteractive"}
            )
        found = shutil.which("wrk")
    return found


def load_note() -> str:
    """Which generator made the load."""
    if find_wrk() is not None:
        return f"Load by wrk: one thread, {CONNECTIONS} connections, each waiting for its answer."
    return (
        f"Load by a Python generator with {CONNECTIONS} raw connections, since wrk is missing (apt install wrk): it "
        "takes more of the machine than wrk does, from ours and from the baselines alike."
    )


@contextlib.contextmanager
def baseline(bench: Bench, app: str, env: Mapping[str, str] | None = None) -> Iterator[tuple[int, int]]:
    """A baseline under uvicorn as it is usually run for speed: one process, httptools, uvloop, no access log.

    Args:
        app: module of ``bench.baselines`` with an ``app``.

    Yields:
        port and pid.
    """
    python = bench.shared(environment_of_the_baselines)
    port = free_port()
    command = [str(python), "-m", "uvicorn", f"bench.baselines.{app}:app", "--port", str(port)]
    command += ["--http", "httptools", "--loop", "uvloop", "--no-access-log", "--log-level", "warning"]
    command += ["--timeout-graceful-shutdown", "1"]
    with server(command, bench.directory / f"{app}.log", ready=listens(port), env=env) as process:
        yield port, process.pid


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def listens(port: int) -> Callable[[], bool]:
    """Asks whether somebody listens there."""

    def ask() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        return False

    return ask
