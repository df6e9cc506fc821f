"""``agentos up`` from the command to ready, and what the stack takes when nobody uses it."""

import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil

from agentos_runtime.datadir import DataDir
from agentos_runtime.supervisor import read_status
from bench.bench import Bench
from bench.children import run, uninterrupted
from bench.report import Goal, Line, Series, below
from bench.stack import CLI

STARTS: Final = 5
IDLE_S: Final = 5.0
UP_TIMEOUT_S: Final = 120

WARM: Final = (
    "From calling `agentos up --detach` until it returns, which it does once Postgres, NATS, API and projector all "
    "answer that they are ready. Warm: the data directory exists, and the files are in the page cache."
)
MEMORY: Final = (
    "Sum of PSS (private pages, and each shared page divided by its users) of the supervisor and all its descendants, "
    f"{IDLE_S:.0f} s after the last start, with an empty store."
)


def start(bench: Bench) -> list[Line]:
    """Both lines."""
    directory = Path(tempfile.mkdtemp(prefix="stack-", dir=bench.directory))
    starts: list[float] = []
    task = bench.progress.add_task("agentos up, warm", total=STARTS)
    with _stopped_at_last(directory):
        first = _up(directory)
        _down(directory)
        for turn in range(STARTS):
            starts.append(_up(directory))
            bench.progress.advance(task)
            if turn < STARTS - 1:
                _down(directory)
        time.sleep(IDLE_S)
        memory = _memory(directory)
    bench.progress.remove_task(task)
    ready = Series("agentos up", "s", starts, f"the very first start, which makes the database: {first:.1f} s")
    parts = ", ".join(f"{name} {megabytes:.0f}" for name, megabytes in memory.items())
    idle = Series("idle stack", "MB", [sum(memory.values())], parts)
    return [
        Line("agentos up", f"warm, to ready ({STARTS} starts)", ready, (), _both(ready, 5, 3), [WARM]),
        Line("idle stack", "memory of all processes", idle, (), _both(idle, 450, 300), [MEMORY]),
    ]


def _both(series: Series, must: float, beyond: float) -> list[Goal]:
    return [below("must", series, must), below("beyond", series, beyond)]


@contextlib.contextmanager
def _stopped_at_last(directory: Path) -> Iterator[None]:
    try:
        yield
    finally:
        _down(directory)


def _up(directory: Path) -> float:
    """Seconds from the call to its return."""
    started = time.perf_counter()
    run([*CLI, "up", "--detach", "--data-dir", str(directory), "--port", "0"], timeout_s=UP_TIMEOUT_S)
    return time.perf_counter() - started


def _down(directory: Path) -> None:
    with uninterrupted():
        run([*CLI, "down", "--data-dir", str(directory)], timeout_s=60)


def _memory(directory: Path) -> dict[str, float]:
    """MB of each component, of the supervisor first."""
    status = read_status(DataDir(directory))
    assert status is not None
    supervisor = psutil.Process(status["pid"])
    roots = {name: psutil.Process(component["pid"]) for name, component in status["components"].items()}
    found = {"supervisor": _pss(supervisor)}
    for name, root in roots.items():
        found[name] = sum(_pss(process) for process in (root, *root.children(recursive=True)))
    return found


def _pss(process: psutil.Process) -> float:
    return float(process.memory_full_info().pss) / 1e6


ROWS = {"`agentos up` to ready, and the memory of the idle stack": start}
