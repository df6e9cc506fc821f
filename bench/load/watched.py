"""Runs a command that prints JSON, and watches the memory of its process."""

import json
import subprocess
import sys
from typing import Any, Final

import psutil

EVERY_S: Final = 0.02
MB: Final = 1e6


def measure(spec: dict[str, Any]) -> dict[str, Any]:
    """What it printed, with the most memory (RSS, MB) of each half of its time.

    Raises:
        SystemExit: it failed.
    """
    seen: list[float] = []
    process = subprocess.Popen(spec["command"], stdout=subprocess.PIPE, text=True)
    watched = psutil.Process(process.pid)
    while process.poll() is None:
        try:
            seen.append(watched.memory_info().rss / MB)
            process.wait(EVERY_S)
        except (psutil.Error, subprocess.TimeoutExpired):
            continue
    assert process.stdout is not None
    output = process.stdout.read()
    if process.returncode != 0:
        raise SystemExit(f"{spec['command'][-1]} ended with {process.returncode}: {output[-500:]}")
    half = len(seen) // 2
    return {"output": json.loads(output), "early_mb": max(seen[:half]), "late_mb": max(seen[half:])}


if __name__ == "__main__":
    print(json.dumps(measure(json.load(sys.stdin))))
