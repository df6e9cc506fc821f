"""Claims from a queue that stays as deep as it was: each run that was claimed is completed, and another is made."""

# The room of a run plays no part in a claim of the workspace's next run, so that one room does.

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from typing import Any, Final

import uvloop

from bench.load.talk import Talk
from bench.load.timing import percentiles

BULK: Final = 500


async def measure(spec: dict[str, Any]) -> dict[str, Any]:
    """Latencies of claims alone, by a few engines.

    Args:
        spec: ``port``, ``workspace_id``, ``engines``, ``seconds``, and ``fill``: how many runs are queued before.
    """
    headers = {"x-workspace-id": spec["workspace_id"]}
    talks = [await Talk(spec["port"], headers).open() for _ in range(spec["engines"])]
    if spec["fill"]:
        await fill(talks, spec["fill"])
    if not spec["seconds"]:
        return {}
    end = time.perf_counter() + spec["seconds"]
    claims: list[float] = []

    async def engine(number: int, talk: Talk) -> None:
        while time.perf_counter() < end:
            asked = time.perf_counter()
            answer = await talk.post("/v1/runs/claim", {"actor_id": f"engine-{number}"})
            claims.append(time.perf_counter() - asked)
            run = answer["run"]
            await talk.post(f"/v1/runs/{run['run_id']}/complete", {"claim_token": run["claim_token"]})
            await talk.post("/v1/runs", {"room_id": run["room_id"]})

    await asyncio.gather(*(engine(number, talk) for number, talk in enumerate(talks)))
    for talk in talks:
        talk.close()
    return {"claims": len(claims), **percentiles(claims)}


async def fill(talks: Sequence[Talk], depth: int) -> None:
    """Queues so many runs."""
    room_id = (await talks[0].post("/v1/rooms", {"title": "Queue"}))["room_id"]
    command = {"type": "run.create", "body": {"room_id": room_id, "input": {"path": "/var/log/app.log"}}}
    sizes = [BULK] * (depth // BULK) + [depth % BULK] * (depth % BULK > 0)
    parts = iter(sizes)

    async def work(talk: Talk) -> None:
        for size in parts:
            await talk.post("/v1/commands", {"commands": [command] * size})

    await asyncio.gather(*(work(talk) for talk in talks))


if __name__ == "__main__":
    print(json.dumps(uvloop.run(measure(json.load(sys.stdin)))))
