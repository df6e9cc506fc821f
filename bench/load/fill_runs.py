"""Fills the store with runs and their steps: half of the events in one room, the others in many."""

import asyncio
import json
import sys
from collections.abc import Sequence
from typing import Any, Final

import uvloop

from bench.load.talk import Talk

BULK: Final = 500
CONNECTIONS: Final = 4


async def fill(spec: dict[str, Any]) -> dict[str, Any]:
    """Makes ``runs`` runs, each with ``steps`` steps and a correlation of its own.

    Returns:
        ``hot`` and ``spread``: pairs of a run's id and its correlation id.
    """
    talks = [await Talk(spec["port"]).open() for _ in range(CONNECTIONS)]
    rooms: Sequence[str] = spec["rooms"]
    half = spec["runs"] // 2

    async def all_of(commands: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        parts = [commands[first : first + BULK] for first in range(0, len(commands), BULK)]
        results: list[list[dict[str, Any]]] = [[] for _ in parts]

        async def work(first: int) -> None:
            for place in range(first, len(parts), CONNECTIONS):
                answer = await talks[first].post("/v1/commands", {"commands": parts[place]})
                results[place] = answer["results"]

        await asyncio.gather(*(work(first) for first in range(CONNECTIONS)))
        told = [result for part in results for result in part]
        bad = [result for result in told if result["status"] >= 300]
        if bad:
            raise SystemExit(f"{len(bad)} of {len(told)} commands were refused: {bad[0]}")
        return told

    created = await all_of(
        [
            {
                "type": "run.create",
                "body": {
                    "room_id": rooms[0] if number < half else rooms[1 + number % (len(rooms) - 1)],
                    "correlation_id": f"job-{number}",
                    "input": {"n": number},
                },
            }
            for number in range(spec["runs"])
        ]
    )
    runs = [result["run_id"] for result in created]
    await all_of([{"type": "run.start", "body": {"run_id": run_id}} for run_id in runs])
    for step in range(spec["steps"]):
        body = {"kind": "work", "title": f"Step {step}", "input": {"n": step, "path": "/var/log/app.log"}}
        await all_of([{"type": "step.create", "body": {"run_id": run_id, **body}} for run_id in runs])
    for talk in talks:
        talk.close()
    pairs = [[run_id, f"job-{number}"] for number, run_id in enumerate(runs)]
    return {"hot": pairs[:half], "spread": pairs[half:]}


if __name__ == "__main__":
    print(json.dumps(uvloop.run(fill(json.load(sys.stdin)))))
