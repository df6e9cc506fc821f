"""Engines at work over HTTP: each creates a run, claims one, completes it, and again; or claims from a deep queue."""

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

import uvloop

from bench.load.talk import Talk
from bench.load.timing import percentiles


async def measure(spec: dict[str, Any]) -> dict[str, Any]:
    """Works for some seconds.

    Args:
        spec: ``port``, ``workspace_id``, ``engines``, ``seconds``, and ``rooms``, one for each engine.

    Returns:
        ``cycles``, ``seconds``, and the latencies of a claim.
    """
    headers = {"x-workspace-id": spec["workspace_id"]}
    talks = [await Talk(spec["port"], headers).open() for _ in range(spec["engines"])]
    end = time.perf_counter() + spec["seconds"]
    claims: list[float] = []

    async def engine(number: int, talk: Talk, room_id: str) -> int:
        done = 0
        while time.perf_counter() < end:
            await talk.post("/v1/runs", {"room_id": room_id, "input": {"n": done}})
            asked = time.perf_counter()
            answer = await talk.post("/v1/runs/claim", {"actor_id": f"engine-{number}", "wait_s": 10})
            claims.append(time.perf_counter() - asked)
            run = answer["run"]
            body = {"claim_token": run["claim_token"], "output": {"n": done}}
            await talk.post(f"/v1/runs/{run['run_id']}/complete", body)
            done += 1
        return done

    started = time.perf_counter()
    rooms: Sequence[str] = spec["rooms"]
    work = (engine(number, talk, rooms[number % len(rooms)]) for number, talk in enumerate(talks))
    cycles = sum(await asyncio.gather(*work))
    took = time.perf_counter() - started
    for talk in talks:
        talk.close()
    return {"cycles": cycles, "seconds": took, **percentiles(claims)}


if __name__ == "__main__":
    print(json.dumps(uvloop.run(measure(json.load(sys.stdin)))))
