"""Starting processes that die with us, and ending those that an earlier supervisor left, known beyond doubt."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
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
    """Processes whose working directory is ``directory``, or whose command line names it as one argument.

    The second finds those of another user, whose working directory even root cannot see in some containers.
    """
    target, named = os.path.realpath(directory), str(directory)
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and (_cwd(process) == target or named in process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def _cwd(process: psutil.Process) -> str:
    try:
        return process.cwd()
    except psutil.AccessDenied:
        return ""


def same(pid: int, created: float) -> psutil.Process | None:
    """The process of that pid, if it is the one that was started at that time and not a later one with its number."""
    try:
        process = psutil.Process(pid)
        if abs(process.create_time() - created) < 0.02 and alive(process):
            return process
    except psutil.Error:
        pass
    return None


def alive(process: psutil.Process) -> bool:
    """A zombie is not: where nobody collects it (a container without an init), it would stay for ever."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


async def wait_gone(processes: Sequence[psutil.Process], patience_s: float) -> list[psutil.Process]:
    """Those that are still alive after ``patience_s``; returns at once when none is."""
    deadline = time.monotonic() + patience_s
    while (left := [process for process in processes if alive(process)]) and time.monotonic() < deadline:
        await asyncio.sleep(0.02)  # not our children, so that nothing tells us
    return left


async def end(processes: Sequence[psutil.Process], how: signal.Signals, patience_s: float) -> None:
    """Asks each to end, waits, then kills what is left. psutil compares start times, so no stranger is hit."""
    left = list(processes)
    for step, patience in ((how, patience_s), (signal.SIGKILL, 5.0)):
        for process in left:
            with suppress(psutil.Error):
                process.send_signal(step)
                process.send_signal(signal.SIGCONT)  # a stopped process hears nothing else
        left = await wait_gone(left, patience)
        if not left:
            return
