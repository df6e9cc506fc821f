"""Ours: the appender of the API, in this process, with 64 callers that each wait for their answer."""

import asyncio
import gc
import itertools
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

import uvloop

from agentos_api.append.appender import Appender
from agentos_api.append.store import PostgresStore
from agentos_api.append.submission import Answer, Outcome, Part, Submission
from agentos_shared.domain import ids
from agentos_shared.domain.decider import Command, CommandBody, Meta, View
from agentos_shared.domain.envelope import Actor, NewEvent, Stream
from bench.load.sample import DATA
from bench.load.timing import percentiles

ACTOR = Actor("agent", "agent-planner-7", ids.new_uuid())
META = Meta("ws_bench", ACTOR, ids.new_uuid())
BODY = CommandBody()
#: More than can be appended: nothing is built while the clock runs.
BUILT_PER_S = 60_000
DONE = Answer(201, b"")


def render(_: Sequence[Outcome]) -> Answer:
    """The same short answer for all."""
    return DONE


def submission(stream: Stream) -> Submission:
    """One message, already built: its decider only hands it out."""
    message_id = ids.new_id(ids.MESSAGE)
    event = NewEvent(
        "message.created",
        stream,
        META.workspace_id,
        "message",
        message_id,
        ACTOR,
        META.correlation_id,
        DATA,
        room_id=stream.id,
        thread_id="th_01JDAGZ3K8R4W5T6Y7V8X9Z0AB",
    )

    def decide(_: Command[Any], __: View) -> Sequence[NewEvent]:
        return (event,)

    return Submission([Part(Command(BODY, META, message_id), decide, stream)], render)


async def measure(spec: dict[str, Any]) -> dict[str, Any]:
    """Appends for some seconds, after a start that warms the heads of all streams."""
    appender = Appender(PostgresStore(spec["url"]))
    running = asyncio.create_task(appender.run())
    streams = [Stream("room", ids.new_id(ids.ROOM)) for _ in range(spec["streams"])]
    await asyncio.gather(*(appender.submit(submission(stream)) for stream in streams))
    built = round(BUILT_PER_S * (spec["warm_s"] + spec["seconds"]))
    waiting = iter([submission(stream) for stream in itertools.islice(itertools.cycle(streams), built)])
    # As the API does when it starts.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    latencies: list[float] = []

    async def call_until(end: float) -> None:
        while (before := time.perf_counter()) < end:
            await appender.submit(next(waiting))
            latencies.append(time.perf_counter() - before)

    async def all_call(seconds: float) -> float:
        started = time.perf_counter()
        await asyncio.gather(*(call_until(started + seconds) for _ in range(spec["callers"])))
        return time.perf_counter() - started

    await all_call(spec["warm_s"])
    latencies.clear()
    cpu = time.process_time()
    took = await all_call(spec["seconds"])
    cpu = time.process_time() - cpu
    await appender.stop()
    await running
    return {"per_s": len(latencies) / took, "cpu_us": cpu / len(latencies) * 1e6, **percentiles(latencies)}


if __name__ == "__main__":
    print(json.dumps(uvloop.run(measure(json.load(sys.stdin)))))
