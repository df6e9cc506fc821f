"""Starting processes that die with us, and ending those that an earlier supervisor left, known beyond doubt."""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import psutil

LAUNCHER: Final = Path(__file__).with_name("launch.py")


def launched(
    command: Sequence[str], death_signal: signal.Signals, not_root: bool = False, owned: Sequence[Path] = ()
) -> list[str]:
    """The command line that starts ``command`` through the launcher, as a child of this process.

    Args:
        death_signal: what the child gets when this process dies (Linux).
        not_root: the command refuses to run as root.
        owned: directories and files that the command must own.
    """
    line = [sys.executable, "-I", "-S", str(LAUNCHER), "--parent", str(os.getpid())]
    line += ["--death-signal", str(int(death_signal))]
    if not_root:
        line.append("--not-root")
    for path in owned:
        line += ["--owned", str(path)]
    return [*line, "--", *command]


def working_in(directory: Path) -> list[psutil.Process]:
    """Processes whose working directory is ``directory``."""
    target = os.path.realpath(directory)
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == target and process.pid != os.getpid():
                found.append(process)
        except psutil.Error:
            continue
    return found


def same(pid: int, created: float) -> psutil.Process | None:
    """The process of that pid, if it is the one that was started at that time and not a later one with its number."""
    try:
        process = psutil.Process(pid)
        if abs(process.create_time() - created) < 0.02 and process.status() != psutil.STATUS_ZOMBIE:
            return process
    except psutil.Error:
        pass
    return None


async def end(left: Sequence[psutil.Process], how: signal.Signals, patience_s: float) -> None:
    """Asks each to end, waits, then kills what is left. psutil compares start times, so no stranger is hit."""
    for step, patience in ((how, patience_s), (signal.SIGKILL, 5.0)):
        for process in left:
            try:
                process.send_signal(step)
            except psutil.Error:
                continue
        left = await asyncio.to_thread(lambda alive, limit: psutil.wait_procs(alive, timeout=limit)[1], left, patience)
        if not left:
            return
