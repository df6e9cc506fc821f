"""One run of the benchmarks: its options, its directory, its shared servers, and the rounds that it measures in."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final, TypeVar

import psutil
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from bench.children import ROOT, uninterrupted
from bench.report import Series

CACHE: Final = ROOT / "bench" / ".cache"
T = TypeVar("T")


class Unmeasured(Exception):
    """A figure could not be had; the message says why and what would help."""


class Bench:
    """What every row gets.

    Attributes:
        rounds: how often each figure is measured.
        seconds: of one measurement.
        directory: for data of this run; on the same disk as the checkout, since a memory disk would flatter.
    """

    def __init__(self, console: Console, *, quick: bool) -> None:
        self.console = console
        self.quick = quick
        self.rounds = 3
        self.seconds = 1.0 if quick else 4.0
        self.directory = Path()
        self.progress = Progress(
            TextColumn("{task.description:<64}"), BarColumn(bar_width=20), TimeElapsedColumn(), console=console
        )
        self._cleaning = ExitStack()
        self._shared: dict[object, object] = {}

    def __enter__(self) -> "Bench":
        sweep()
        CACHE.mkdir(parents=True, exist_ok=True)
        self.directory = Path(tempfile.mkdtemp(prefix=f"run-{os.getpid()}-", dir=CACHE))
        self._cleaning.callback(remove, self.directory)
        self._cleaning.enter_context(self.progress)
        return self

    def __exit__(self, *_: object) -> None:
        self._cleaning.close()

    def shared(self, start: "Callable[[Bench], contextlib.AbstractContextManager[T]]") -> T:
        """Something that several rows use: started at its first use, ended with the run."""
        if start not in self._shared:
            with self.working("starting " + start.__name__.replace("_", " ")):
                self._shared[start] = self._cleaning.enter_context(start(self))
        found: T = self._shared[start]  # type: ignore[assignment]
        return found

    @contextlib.contextmanager
    def working(self, what: str) -> Iterator[None]:
        """Shows that something goes on."""
        task = self.progress.add_task(what, total=None)
        try:
            yield
        finally:
            self.progress.remove_task(task)

    def interleave(self, title: str, unit: str, measures: Mapping[str, Callable[[], float]]) -> dict[str, Series]:
        """Measures A B C A B C ...: whatever else the machine does falls on all alike.

        Args:
            measures: name -> one measurement, of which the progress bar shows the name.
        """
        values: dict[str, list[float]] = {name: [] for name in measures}
        task = self.progress.add_task(title, total=self.rounds * len(measures))
        try:
            for turn in range(self.rounds):
                for name, measure in measures.items():
                    self.progress.update(task, description=f"{title}: {name} ({turn + 1} of {self.rounds})")
                    values[name].append(measure())
                    self.progress.advance(task)
        finally:
            self.progress.remove_task(task)
        return {name: Series(name, unit, found) for name, found in values.items()}


def sweep() -> None:
    """Removes what killed runs have left."""
    for left in CACHE.glob("run-*"):
        pid = left.name.split("-")[1]
        if pid.isdecimal() and not psutil.pid_exists(int(pid)):
            remove(left)


def remove(directory: Path) -> None:
    """Removes a run's directory, after whatever still works on it: a stack that was detached outlives its caller."""
    with uninterrupted():
        for word in ("agentos_cli", ""):  # a supervisor ends its own processes, in order
            found = [process for process in psutil.process_iter() if _works_on(process, directory, word)]
            for process in found:
                with contextlib.suppress(psutil.Error):
                    process.terminate()
            for process in psutil.wait_procs(found, timeout=20)[1]:
                with contextlib.suppress(psutil.Error):
                    process.kill()
        shutil.rmtree(directory, ignore_errors=True)


def _works_on(process: psutil.Process, directory: Path, word: str) -> bool:
    try:
        line = " ".join(process.cmdline())
    except psutil.Error:
        return False
    return process.pid != os.getpid() and str(directory) in line and word in line
