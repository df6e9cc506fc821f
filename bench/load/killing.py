"""How long a kill switch takes: connections that ask without a pause, and one that engages and releases it."""

import asyncio
import json
import sys
import time
from typing import Any

import uvloop

from bench.load.timing import percentiles

ASKING = 4


class _Connection:
    """One connection that waits for each answer."""

    def __init__(self, port: int, workspace_id: str) -> None:
        self._port = port
        self._workspace_id = workspace_id

    async def open(self) -> "_Connection":
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def post(self, path: str, body: Any) -> dict[str, Any]:
        content = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nx-workspace-id: {self._workspace_id}\r\n"
        head += f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
        self._writer.write(head.encode() + content)
        answered = await self._reader.readuntil(b"\r\n\r\n")
        lines = answered.lower().split(b"\r\n")
        length = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length"))
        answer: dict[str, Any] = json.loads(await self._reader.readexactly(length))
        if not lines[0].split()[1].startswith(b"2"):
            raise RuntimeError(f"POST {path}: {answer}")
        return answer


async def measure(spec: dict[str, Any]) -> dict[str, Any]:
    """Engages and releases so many times; each time from sending the wish to the last answer that still allows."""
    asking = [await _Connection(spec["port"], spec["workspace_id"]).open() for _ in range(ASKING)]
    switch = await _Connection(spec["port"], spec["workspace_id"]).open()
    approval = await switch.post("/v1/approvals", {"action": "external.write", "scope": {"type": "workspace"}})
    await switch.post(f"/v1/approvals/{approval['approval_id']}/decide", {"decision": "approve"})
    last_allowed = 0.0
    over = False

    async def ask(connection: _Connection) -> None:
        nonlocal last_allowed
        while not over:
            answer = await connection.post("/v1/policy/evaluate", {"action": "external.write"})
            if answer["decision"] == "allow":
                last_allowed = time.perf_counter()

    loops = [asyncio.create_task(ask(connection)) for connection in asking]
    took: list[float] = []
    after: list[float] = []
    for _ in range(spec["trials"]):
        started = time.perf_counter()
        while last_allowed < started:
            await asyncio.sleep(0.005)
        engaged = time.perf_counter()
        await switch.post("/v1/policy/kill-switch", {"action": "engage"})
        answered = time.perf_counter()
        await asyncio.sleep(0.15)
        took.append(max(0.0, last_allowed - engaged))
        after.append(max(0.0, last_allowed - answered))
        await switch.post("/v1/policy/kill-switch", {"action": "release", "reason": "measured"})
    over = True
    await asyncio.gather(*loops)
    return {**percentiles(took), "after_ms": max(after) * 1000}


if __name__ == "__main__":
    print(json.dumps(uvloop.run(measure(json.load(sys.stdin)))))
