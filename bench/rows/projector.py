"""Projecting what has piled up while the projector stood still, and building the projections anew."""

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from bench import children, web
from bench.bench import Bench
from bench.children import wait_until
from bench.report import Line, Series, at_least
from bench.rows.http import bulk_requests
from bench.stack import CLI, Stack, agent_os

THREADS: Final = 1000
BULK: Final = 50
BACKLOG: Final = 50_000
STORE: Final = 200_000
#: Half of what the supervisor takes for a hang.
FROZEN_S: Final = 30.0

PAUSED: Final = (
    f"{BACKLOG:,} messages in {THREADS:,} rooms are appended over HTTP while the projector is stopped (SIGSTOP), and "
    "the relay has published them all. Then it goes on; the time ends when its checkpoints are at all heads."
)
BESIDE_LIVE: Final = (
    "`agentos projections rebuild` on the running stack, until readers see the new tables; its own start is not "
    "counted. The limit is one SQL statement that reads every event and parses its JSON, and writes nothing."
)
ROW_BY_ROW: Final = "Row by row: one asyncpg transaction per event, which writes one row and moves a checkpoint."


def backlog(bench: Bench) -> list[Line]:
    """A projector that stood still catches up."""
    stack = bench.shared(agent_os)
    fill = _requests(bench, stack)

    def measure() -> float:
        stack.settle()
        with _frozen(stack.pid("projector")):
            web.send(stack.port, fill, BACKLOG // BULK)
            wait_until(lambda: stack.fetch("select count(*) from evt_outbox") == 0, FROZEN_S)
        started = time.perf_counter()
        stack.settle()
        return BACKLOG / (time.perf_counter() - started)

    found = bench.interleave(
        "projector", "events/s", {"from a backlog": measure, "row by row": _row_by_row(bench, stack)}
    )
    ours = found["from a backlog"]
    goals = [at_least("must", ours, 10_000)]
    return [Line("projector", "from a backlog", ours, [found["row by row"]], goals, [PAUSED, ROW_BY_ROW])]


def rebuild(bench: Bench) -> list[Line]:
    """All projections anew."""
    stack = bench.shared(agent_os)
    events = _top_up(bench, stack)
    to_switch: list[float] = []

    def measure() -> float:
        stack.settle()
        output = children.run(
            [*CLI, "projections", "rebuild", "--json", "--data-dir", str(stack.data_dir)], timeout_s=120
        )
        done = json.loads(output)
        to_switch.append(done["seconds_to_switch"])
        rate: float = done["events"] / done["seconds_to_switch"]
        return rate

    def limit() -> float:
        started = time.perf_counter()
        read = stack.fetch(
            "select count(*) from evt_events where (content::jsonb) -> 'data' ->> 'message_id' is distinct from ''"
        )
        return int(read) / (time.perf_counter() - started)

    measures = {"rebuild": measure, "row by row": _row_by_row(bench, stack), "limit: scan and parse in SQL": limit}
    found = bench.interleave("projector", "events/s", measures)
    ours = Series("rebuild", "events/s", found["rebuild"].values, f"{Series('', 's', to_switch)} until the switch")
    beside = [found["row by row"], found["limit: scan and parse in SQL"]]
    goals = [at_least("must", ours, 60_000), at_least("beyond", ours, 200_000)]
    return [Line("projections rebuild", f"over {events:,} events", ours, beside, goals, [BESIDE_LIVE, ROW_BY_ROW])]


def _requests(bench: Bench, stack: Stack) -> Path:
    threads = stack.threads(THREADS)
    return web.requests_file(bench, "fill", bulk_requests(stack, threads, BULK))


def _top_up(bench: Bench, stack: Stack) -> int:
    """Enough events for a rebuild that takes a while; how many there are."""
    count = "select count(*) from evt_events"
    missing = STORE - int(stack.fetch(count))
    if missing > 0:
        with bench.working(f"appending {missing:,} events"):
            web.send(stack.port, _requests(bench, stack), -(-missing // BULK))
    stack.settle()
    return int(stack.fetch(count))


def _row_by_row(bench: Bench, stack: Stack) -> Callable[[], float]:
    def measure() -> float:
        stack.settle()
        spec = {"url": stack.postgres_url, "seconds": bench.seconds}
        answer = children.run_module("bench.baselines.row_by_row", spec, timeout_s=bench.seconds + 60)
        per_s: float = answer["per_s"]
        return per_s

    return measure


@contextlib.contextmanager
def _frozen(pid: int) -> Iterator[None]:
    """A process that stands still, and in any case goes on afterwards."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


ROWS = {"projecting from a backlog": backlog, "rebuilding the projections": rebuild}
