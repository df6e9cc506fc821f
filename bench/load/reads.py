"""One client that reads one path after the other, and how long each answer takes."""

import json
import random
import sys
import time
from typing import Any

import uvloop

from bench.load.talk import Talk
from bench.load.timing import percentiles


async def measure(spec: dict[str, Any]) -> dict[str, Any]:
    """Reads ``count`` of the ``paths``, each time another, and times all but the first few."""
    talk = await Talk(spec["port"]).open()
    paths = spec["paths"]
    random.Random(1).shuffle(paths)
    latencies: list[float] = []
    for number in range(spec["count"]):
        asked = time.perf_counter()
        await talk.get(paths[number % len(paths)])
        latencies.append(time.perf_counter() - asked)
    talk.close()
    return percentiles(latencies[len(latencies) // 20 :])


if __name__ == "__main__":
    print(json.dumps(uvloop.run(measure(json.load(sys.stdin)))))
