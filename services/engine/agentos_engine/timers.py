"""The sweep: ends leases and attempts whose time is over, and gives back what was reserved for nothing.

It sleeps until the next timer, by the database's clock, and is woken when a nearer one appears. Since that clock may be
stepped meanwhile, no sleep is longer than half a second while a timer runs.
"""

import asyncio
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Final

import asyncpg
import structlog

from agentos_engine.bus import EngineBus, Unanswered
from agentos_shared.host import metrics
from agentos_shared.host.lifecycle import Backoff, Clock, Rng
from agentos_shared.store import statements

log = structlog.get_logger("agentos.engine")

SQL: Final = statements.load("agentos_engine", "timers.sql")
MOST: Final = 500
LONGEST_S: Final = 0.5
#: With nothing to wait for.
IDLE_S: Final = 5.0
#: A clock that is off by more than this, beyond what a slow answer explains, was stepped.
STEP_S: Final = 1.0

EXPIRED: Final = metrics.counter("engine_leases_expired", "Leases that ran out.")
TIMED_OUT: Final = metrics.counter("engine_runs_timed_out", "Attempts that took longer than their timeout_s.")


class DatabaseClock:
    """Notices when the database's clock is stepped, by comparing what passed there with what passed here."""

    def __init__(self) -> None:
        self._last: tuple[float, float, datetime] | None = None

    def step(self, asked: float, answered: float, now: datetime) -> float:
        """Seconds by which the clock was moved since the last look; 0 for differences that a slow answer explains.

        Args:
            asked, answered: monotonic times around the question.
            now: the database's answer.
        """
        last, self._last = self._last, (asked, answered, now)
        if last is None:
            return 0.0
        passed = (now - last[2]).total_seconds()
        least, most = asked - last[1], answered - last[0]
        if passed > most + STEP_S:
            return passed - most
        if passed < least - STEP_S:
            return passed - least
        return 0.0


class Timers:
    """The sweep of this process. Several share the work row by row.

    Args:
        freed: told of workspaces in which runs became free.
    """

    def __init__(
        self,
        pool: "asyncpg.Pool[asyncpg.Record]",
        bus: EngineBus,
        freed: Callable[[Iterable[str]], None],
        clock: Clock,
        rng: Rng,
    ) -> None:
        self._pool = pool
        self._bus = bus
        self._freed = freed
        self._clock = clock
        self._rng = rng
        self._database_clock = DatabaseClock()
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """A timer was set that may be the nearest."""
        self._wake.set()

    async def sweep_forever(self) -> None:
        """Sweep whenever something is due."""
        backoff = Backoff(0.05, 1.0, rng=self._rng)
        while True:
            self._wake.clear()
            try:
                pause = await self._sweep()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError, Unanswered) as error:
                log.warning("sweep_failed", error=f"{type(error).__name__}: {error}")
                await self._clock.sleep(backoff.next_s())
                continue
            backoff.reset()
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                continue
            # Leases are given by the hundred: their timers need no look each.
            await self._clock.sleep(LONGEST_S / 10)

    async def _sweep(self) -> float:
        """One sweep; the seconds until the next."""
        asked = self._clock.monotonic()
        row = await self._pool.fetchrow(SQL["next"])
        assert row is not None
        step = self._database_clock.step(asked, self._clock.monotonic(), row["now"])
        if step:
            log.warning("database_clock_stepped", seconds=round(step, 3))
            await self._pool.execute(SQL["step"], step)
            return 0.0
        if row["wait_s"] is None:
            return IDLE_S
        if row["wait_s"] > 0:
            return float(min(row["wait_s"], LONGEST_S))
        due = await self._pool.fetch(SQL["due"], MOST)
        self._freed({row["workspace_id"] for row in due if row["state"] == "reserved"})
        timed_out = [_command(row) for row in due if row["out_of_time"]]
        expired = [_command(row) for row in due if row["run_out"] and not row["out_of_time"]]
        await asyncio.gather(self._tell("timeout", timed_out), self._tell("expire", expired))
        EXPIRED.inc(len(expired))
        TIMED_OUT.inc(len(timed_out))
        return 0.0

    async def _tell(self, verb: str, commands: list[dict[str, Any]]) -> None:
        """The API compares with the run as it is: what ended or was renewed meanwhile is refused, and that is all."""
        if commands:
            await self._bus.command("run", verb, commands)


def _command(row: asyncpg.Record) -> dict[str, Any]:
    return {
        "workspace_id": row["workspace_id"],
        "run_id": row["run_id"],
        "attempt_no": row["attempt_no"],
        "claim_token": row["claim_token"],
    }
