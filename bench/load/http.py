"""Prepared requests over some connections, each waiting for its answer: for a time, or a number of them."""

import asyncio
import itertools
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvloop

from bench.load import http1
from bench.load.timing import percentiles


async def measure(spec: dict[str, Any], prepared: Sequence[bytes]) -> dict[str, Any]:
    """Sends until the time is over or the number is reached."""
    requests = itertools.cycle(prepared)
    left = spec.get("count", sys.maxsize)
    end = time.perf_counter() + spec["seconds"]
    sent_at: dict[http1.Connection, float] = {}
    latencies: list[float] = []
    errors = 0
    finished = asyncio.Event()

    def next_one(connection: http1.Connection) -> None:
        nonlocal left
        if left > 0 and (now := time.perf_counter()) < end:
            left -= 1
            sent_at[connection] = now
            connection.send(next(requests))
        elif not sent_at:
            finished.set()

    def answered(connection: http1.Connection, status: int) -> None:
        nonlocal errors
        latencies.append(time.perf_counter() - sent_at.pop(connection))
        if not 200 <= status < 300:
            errors += 1
        if status:
            next_one(connection)
        elif not sent_at:
            finished.set()

    connections = await http1.connect(spec["port"], spec["connections"], answered)
    started = time.perf_counter()
    for connection in connections:
        next_one(connection)
    async with asyncio.timeout(spec["seconds"] + 30):
        await finished.wait()
    took = time.perf_counter() - started
    for connection in connections:
        connection.close()
    return {"requests": len(latencies), "seconds": took, "errors": errors, **percentiles(latencies)}


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    print(json.dumps(uvloop.run(measure(asked, Path(asked["requests"]).read_bytes().split(b"\x00")))))
