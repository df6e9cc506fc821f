"""A running Agent OS: the stack of ``agentos up``, on data and ports of its own."""

import asyncio
import contextlib
import http.client
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import psutil

from agentos_runtime.datadir import DataDir
from agentos_runtime.supervisor import read_status
from bench.bench import Bench
from bench.children import Failed, server

CLI: Final = [sys.executable, "-P", "-m", "agentos_cli"]
BULK: Final = 500
SETTLE_S: Final = 60.0

#: Streams whose end the projector has not reached, and rows that the relay has not published.
_BEHIND: Final = """
select (select count(*) from evt_outbox) + (
    select count(*) from evt_stream_heads h left join proj.proj_checkpoints c using (stream_type, stream_id)
    where c.seq is distinct from h.seq
)
"""


@dataclass(frozen=True, slots=True)
class Thread:
    """A thread in a room of its own."""

    room_id: str
    thread_id: str


@dataclass(frozen=True, slots=True)
class Stack:
    """Where it is reached; ``postgres_url`` is the owner's."""

    data_dir: Path
    url: str
    postgres_url: str

    @property
    def port(self) -> int:
        """Of the API."""
        port = urlsplit(self.url).port
        assert port is not None
        return port

    def pid(self, component: str) -> int:
        """Of ``api``, ``projector``, ``postgres`` or ``nats``."""
        status = read_status(DataDir(self.data_dir))
        if status is None:
            raise Failed("the stack has stopped")
        return int(status["components"][component]["pid"])

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """One request, for preparations. Raises Failed unless it is answered with 2xx."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        if response.status >= 300:
            raise Failed(f"POST {path} was answered with {response.status}: {answer[:300].decode(errors='replace')}")
        parsed: dict[str, Any] = json.loads(answer)
        return parsed

    def threads(self, count: int) -> list[Thread]:
        """New threads, each in a new room."""
        rooms = self._bulk("room.create", [{"title": f"Room {n}"} for n in range(count)], "room_id")
        bodies = [{"room_id": room_id, "title": "Thread"} for room_id in rooms]
        threads = self._bulk("thread.create", bodies, "thread_id")
        return [Thread(*pair) for pair in zip(rooms, threads, strict=True)]

    def _bulk(self, kind: str, bodies: Sequence[Mapping[str, Any]], answers: str) -> list[str]:
        made: list[str] = []
        for start in range(0, len(bodies), BULK):
            commands = [{"type": kind, "body": body} for body in bodies[start : start + BULK]]
            made += [result[answers] for result in self.post("/v1/commands", {"commands": commands})["results"]]
        return made

    def fetch(self, query: str) -> Any:
        """One value from its database, as the owner."""
        return asyncio.run(_fetch(self.postgres_url, query))

    def execute(self, statement: str) -> None:
        """Runs one statement as the owner."""
        asyncio.run(_execute(self.postgres_url, statement))

    def database(self, name: str) -> str:
        """The owner's URL of another database on the same server."""
        return urlunsplit(urlsplit(self.postgres_url)._replace(path=f"/{name}"))

    def settle(self) -> None:
        """Waits until relay and projector are through, so that they take nothing from the next figure."""
        asyncio.run(_settle(self.postgres_url))


async def _settle(url: str) -> None:
    connection = await asyncpg.connect(url, timeout=10, command_timeout=60)
    try:
        deadline = time.monotonic() + SETTLE_S
        while left := await connection.fetchval(_BEHIND):
            if time.monotonic() > deadline:
                raise Failed(f"{left} outbox rows and streams were still left after {SETTLE_S:.0f} s")
            await asyncio.sleep(0.05)
    finally:
        await connection.close()


async def _fetch(url: str, query: str) -> Any:
    connection = await asyncpg.connect(url, timeout=10, command_timeout=60)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url, timeout=10, command_timeout=60)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@contextlib.contextmanager
def agent_os(bench: Bench) -> Iterator[Stack]:
    """A stack that is as fresh as after the very first start."""
    directory = Path(tempfile.mkdtemp(prefix="stack-", dir=bench.directory))
    data = DataDir(directory)

    def ready() -> bool:
        status = read_status(data)
        return status is not None and status["phase"] == "healthy"

    command = [*CLI, "up", "--data-dir", str(directory), "--port", "0"]
    with server(command, directory.with_suffix(".log"), ready=ready, timeout_s=120):
        status = read_status(data)
        assert status is not None
        yield Stack(directory, status["url"], status["postgres_url"])


class Cpu:
    """Processor time of a process, from now on."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._before = self._used()

    def _used(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def seconds(self) -> float:
        """Since this object was made."""
        return self._used() - self._before
