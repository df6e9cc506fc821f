"""What follows the end of a run: its evidence manifest, and an incident when it failed.

The wishes are rows, written in the transaction that learnt of the end, so that none is forgotten. Doing one twice does
nothing: evidence exists once per run, an incident once per key.

Nobody waits for them, so they give way: while claims are granted by the hundred, only a few are done at a time, until
the oldest has waited long enough (:data:`LATEST_S`).
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Final

import asyncpg
import structlog

from agentos_engine.bus import EngineBus, Unanswered
from agentos_engine.runs import EVIDENCE, INCIDENT, incident_key
from agentos_shared.host.lifecycle import Backoff, Clock, Rng
from agentos_shared.store import statements

log = structlog.get_logger("agentos.engine")

SQL: Final = statements.load("agentos_engine", "followups.sql")
#: Taken together.
MOST: Final = 100
IDLE_S: Final = 5.0
#: Claims a second that count as busy, how many follow-ups are done then in one bite, and how long the others may wait.
BUSY: Final = 50
WHILE_BUSY: Final = 10
LATEST_S: Final = 15.0
#: Between the beginnings of two bites: the first end of a run is dealt with at once, the next ones together.
SPACING_S: Final = 0.2
COMMANDS: Final = {EVIDENCE: ("evidence", "finalize"), INCIDENT: ("incident", "open")}


class Followups:
    """Works them off, one bite at a time.

    Args:
        claimed: how many claims have been granted so far.
    """

    def __init__(
        self, pool: "asyncpg.Pool[asyncpg.Record]", bus: EngineBus, claimed: Callable[[], int], clock: Clock, rng: Rng
    ) -> None:
        self._pool = pool
        self._bus = bus
        self._clock = clock
        self._rng = rng
        self._wake = asyncio.Event()
        self._claimed = claimed
        self._began = float("-inf")
        self._seen = 0

    def wake(self) -> None:
        """There are new ones."""
        self._wake.set()

    async def work_forever(self) -> None:
        """Work off what is due."""
        backoff = Backoff(0.2, 5.0, rng=self._rng)
        while True:
            self._wake.clear()
            try:
                pause = await self._bite()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError, Unanswered) as error:
                log.warning("followups_wait", error=f"{type(error).__name__}: {error}")
                await self._clock.sleep(backoff.next_s())
                continue
            backoff.reset()
            await self._sleep(pause)

    async def _sleep(self, seconds: float) -> None:
        """For so long, or until there are new ones; but bites keep a distance, in which more of them gather."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        await self._clock.sleep(max(0.0, self._began + SPACING_S - self._clock.monotonic()))

    async def _bite(self) -> float:
        """Some of them; the seconds until the next."""
        busy = self._is_busy()
        self._began = self._clock.monotonic()
        rows = await self._pool.fetch(SQL["due"], MOST)
        if busy and rows and rows[0]["late_s"] < LATEST_S:
            rows = rows[:WHILE_BUSY]
        if not rows:
            wait_s = await self._pool.fetchval(SQL["next"])
            return IDLE_S if wait_s is None else min(max(wait_s, 0.01), IDLE_S)
        try:
            refused = await self._do(rows)
        except Unanswered:
            await self._pool.execute(SQL["later"], *_keys(rows))
            raise
        done = [row for row in rows if row not in refused]
        await self._pool.execute(SQL["done"], *_keys(done))
        if refused:
            await self._pool.execute(SQL["later"], *_keys(refused))
        if len(rows) == MOST:
            # The writer that they go to has more urgent work: it is left alone for as long as it was kept busy.
            await self._clock.sleep(self._clock.monotonic() - self._began)
        return 0.0

    def _is_busy(self) -> bool:
        """Whether claims were granted at a high rate since the bite before."""
        seen, self._seen = self._seen, self._claimed()
        return self._seen - seen > BUSY * max(SPACING_S, self._clock.monotonic() - self._began)

    async def _do(self, rows: list[asyncpg.Record]) -> list[asyncpg.Record]:
        """Give the commands; returns the rows that must be tried again."""
        by_kind = {kind: [row for row in rows if row["kind"] == kind] for kind in COMMANDS}
        answers = await asyncio.gather(
            *(self._bus.command(*COMMANDS[kind], [_command(row) for row in some]) for kind, some in by_kind.items())
        )
        refused: list[asyncpg.Record] = []
        for some, results in zip(by_kind.values(), answers, strict=True):
            for row, result in zip(some, results, strict=True):
                if result["status"] < 400 or result["status"] == 409:
                    continue
                refused.append(row)
                log.warning("followup_refused", run_id=row["run_id"], kind=row["kind"], why=result.get("error"))
        return refused


def _command(row: asyncpg.Record) -> dict[str, Any]:
    command = {"workspace_id": row["workspace_id"], "run_id": row["run_id"]}
    if row["kind"] == INCIDENT:
        command |= {
            "title": "Run failed triage",
            "category": "run_failed",
            "severity": "high",
            "entity_type": "run",
            "entity_id": row["run_id"],
            "idempotency_key": incident_key(row["workspace_id"], row["run_id"]),
        }
    return command


def _keys(rows: list[asyncpg.Record]) -> tuple[list[str], list[str]]:
    return [row["run_id"] for row in rows], [row["kind"] for row in rows]
