"""procrastinate as its manual has it: jobs deferred by 32 tasks, and one worker that does 32 at a time.

Each task waits until its job was done before it defers the next one, as each of our engines does.
"""

import asyncio
import json
import sys
import time
from contextlib import suppress
from typing import Any

import procrastinate  # type: ignore[import-not-found]  # in the environment of the baselines only


async def measure(spec: dict[str, Any]) -> dict[str, Any]:
    """Jobs for some seconds.

    Args:
        spec: ``url`` of an empty database, ``engines``, ``seconds``; ``install`` whether it has no schema yet.
    """
    connector = procrastinate.PsycopgConnector(conninfo=spec["url"], min_size=4, max_size=16)
    app = procrastinate.App(connector=connector)
    done: dict[int, asyncio.Event] = {}

    @app.task(name="work")  # type: ignore[untyped-decorator]
    async def work(number: int) -> None:
        done[number].set()

    async with app.open_async():
        if spec["install"]:
            await app.schema_manager.apply_schema_async()
        worker = asyncio.create_task(
            app.run_worker_async(
                concurrency=spec["engines"], wait=True, install_signal_handlers=False, listen_notify=True
            )
        )
        end = time.perf_counter() + spec["seconds"]

        async def producer(place: int) -> int:
            count = 0
            while time.perf_counter() < end:
                number = count * spec["engines"] + place
                done[number] = asyncio.Event()
                await work.defer_async(number=number)
                await asyncio.wait_for(done[number].wait(), 60)
                del done[number]
                count += 1
            return count

        started = time.perf_counter()
        cycles = sum(await asyncio.gather(*(producer(place) for place in range(spec["engines"]))))
        took = time.perf_counter() - started
        worker.cancel()
        with suppress(asyncio.CancelledError):
            await worker
    return {"cycles": cycles, "seconds": took}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(json.load(sys.stdin)))))
