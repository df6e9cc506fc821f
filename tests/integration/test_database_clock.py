"""The database's clock is stepped, for its process alone (libfaketime): leases last as long as they would have."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from signal import SIGINT

import asyncpg
import pytest

from agentos_runtime import postgres as postgres_runtime
from agentos_runtime import probe
from agentos_runtime.datadir import DataDir
from tests.fixtures.engines import site
from tests.fixtures.live import until
from tests.fixtures.stack import Stack, child, wait_ready

LIBRARIES = (
    "/usr/lib/*/faketime/libfaketime.so.1",
    "/usr/local/lib/faketime/libfaketime.so.1",
)
HOUR_S = 3600


@dataclass(frozen=True, slots=True)
class SteppedPostgres:
    """A server whose clock the test moves."""

    url: str
    _file: Path

    def step(self, seconds: int) -> None:
        """From now on its clock is off by so much."""
        self._file.write_text(f"{seconds:+}s\n")


@pytest.fixture
def stepped(tmp_path: Path) -> Iterator[SteppedPostgres]:
    found = [path for pattern in LIBRARIES for path in Path("/").glob(pattern.lstrip("/"))]
    if not found:
        pytest.skip(
            "only libfaketime steps the clock of a single process; it is a package of the system and not of Python "
            "(apt install libfaketime), which .ci/run installs when it may"
        )
    data = DataDir(tmp_path / "elsewhere")
    data.create()
    port = data.ports(["postgres"])["postgres"]
    password = data.passwords([postgres_runtime.OWNER])[postgres_runtime.OWNER]
    asyncio.run(postgres_runtime.initialise(data.postgres, password, sync=False))
    postgres_runtime.configure(data.postgres, port)
    clock = tmp_path / "clock"
    server = SteppedPostgres(postgres_runtime.url(password, port), clock)
    server.step(0)
    faked = {
        "LD_PRELOAD": str(found[0]),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    log = data.logs / "postgres.log"
    environment = dict(postgres_runtime.ENVIRONMENT) | faked
    with child(postgres_runtime.server_command(data.postgres), log, SIGINT, environment):
        wait_ready(lambda: probe.postgres(postgres_runtime.HOST, port), log)
        yield server


async def test_steps_of_the_clock_neither_end_leases_nor_keep_them(
    stepped: SteppedPostgres, start_stack: Callable[..., Stack]
) -> None:
    stack = start_stack(env={"AGENTOS_POSTGRES_URL": stepped.url})
    async with site(stack.url) as here:
        room = await here.room()
        held, abandoned = [await here.run(room) for _ in range(2)]
        run, left = await here.claim(lease_ttl_s=30), await here.claim(lease_ttl_s=5)
        assert run is not None
        assert left is not None
        assert (run["run_id"], left["run_id"]) == (held, abandoned)
        for step_s in (HOUR_S, -HOUR_S):
            before = await _now(stepped.url)
            stepped.step(step_s)
            moved_s = await _now(stepped.url) - before
            assert abs(moved_s - (step_s if step_s > 0 else -2 * HOUR_S)) < 60
            await _noticed(stepped.url)
            beat = await here.lease(run, "heartbeat")
            assert beat.status_code == 200, beat.text
        # The one that nobody renews runs out all the same, an hour back or not.
        await here.event(abandoned, "run.lease_expired", 15)
        again = await here.claim(wait_s=5)
        assert again is not None
        assert again["run_id"] == abandoned
        assert (await here.complete(run)).status_code == 200
        kinds = [event["event_type"] for event in await here.events(held)]
        assert "run.lease_expired" not in kinds


async def _now(url: str) -> float:
    connection = await asyncpg.connect(url)
    try:
        return float(await connection.fetchval("select extract(epoch from clock_timestamp())::float8"))
    finally:
        await connection.close()


async def _noticed(url: str) -> None:
    """Until the sweep has moved the timers along."""
    connection = await asyncpg.connect(url)

    async def moved() -> bool:
        return bool(
            await connection.fetchval(
                "select exists (select from eng.eng_runs where state = 'held'"
                " and lease_expires_at between clock_timestamp() and clock_timestamp() + interval '31 s')"
            )
        )

    try:
        await until(moved, 5)
    finally:
        await connection.close()
