"""Processes of the benchmarks. Each dies with us, however we end, and is ended by its pid."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from agentos_runtime import processes

ROOT: Final = Path(__file__).parent.parent


class Failed(Exception):
    """A process did not do what it was started for; the message ends with its last words."""


@contextlib.contextmanager
def server(
    command: Sequence[str],
    log: Path,
    *,
    ready: Callable[[], bool],
    env: Mapping[str, str] | None = None,
    how: signal.Signals = signal.SIGTERM,
    timeout_s: float = 60,
    launched: bool = False,
) -> Iterator["subprocess.Popen[bytes]"]:
    """A server for as long as the block runs.

    Args:
        ready: asked until it is true.
        how: the signal that ends it politely.
        launched: the command was made by the runtime, and dies with us already.
    """
    line = list(command) if launched else processes.launched(command, death_signal=how)
    with log.open("ab") as stream:
        process = subprocess.Popen(
            line, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, env=environment(env), cwd=ROOT,
            start_new_session=True,
        )  # fmt: skip
    try:
        wait_until(lambda: process.poll() is not None or ready(), timeout_s, lambda: last_words(log))
        if process.poll() is not None:
            raise Failed(f"{Path(command[-1]).name} ended with {process.returncode}: {last_words(log)}")
        yield process
    finally:
        end(process, how)


def end(process: "subprocess.Popen[bytes]", how: signal.Signals = signal.SIGTERM, patience_s: float = 20) -> None:
    """Ends a process, politely first."""
    with uninterrupted():
        if process.poll() is None:
            process.send_signal(how)
            try:
                process.wait(patience_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """A Ctrl-C takes effect at the end of the block, so that an impatient one leaves no process behind."""
    asked: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda received, _: asked.append(received)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if asked:
        raise KeyboardInterrupt


def run(
    command: Sequence[str],
    *,
    timeout_s: float,
    said: bytes = b"",
    env: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
) -> str:
    """Runs a program to its end; returns what it wrote to stdout.

    Args:
        said: what it reads from stdin.

    Raises:
        Failed: it ended with an error, or not in time.
    """
    process = subprocess.Popen(
        processes.launched(command, death_signal=signal.SIGTERM),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(env),
        cwd=cwd,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(said, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise Failed(f"{_short(command)} did not end within {timeout_s:.0f} s") from None
    finally:
        end(process)
    if process.returncode != 0:
        last = (errors or output).decode(errors="replace").strip().splitlines()
        raise Failed(f"{_short(command)} ended with {process.returncode}: " + " / ".join(last[-6:]))
    return output.decode(errors="replace")


def load(module: str, spec: Mapping[str, Any], *, timeout_s: float) -> dict[str, Any]:
    """Runs a module of ``bench.load``."""
    return run_module(f"bench.load.{module}", spec, timeout_s=timeout_s)


def run_module(
    module: str, spec: Mapping[str, Any], *, timeout_s: float, python: str = sys.executable
) -> dict[str, Any]:
    """Runs a module: JSON on stdin (it may hold passwords), the last line of its output is its answer.

    Args:
        python: the interpreter, for one of another environment.
    """
    output = run([python, "-m", module], said=json.dumps(spec).encode(), timeout_s=timeout_s)
    answer: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
    return answer


def _short(command: Sequence[str]) -> str:
    return " ".join([Path(command[0]).name, *command[1:3]])


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Ours without settings of Agent OS or of tracing: what is measured is the default."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AGENTOS_", "OTEL_", "PG"))}
    return inherited | dict(extra or {})


def wait_until(true: Callable[[], bool], timeout_s: float, describe: Callable[[], str] = lambda: "") -> None:
    """Waits for another process to get somewhere. Raises Failed after ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    while not true():
        if time.monotonic() > deadline:
            raise Failed(f"not so after {timeout_s:.0f} s: {describe()}")
        time.sleep(0.02)


def last_words(log: Path) -> str:
    """The end of a log."""
    with contextlib.suppress(OSError):
        return " / ".join(log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-6:])
    return ""
