"""Kill switches and runs: who gets none, who is asked to stop, and what happens when nobody is seen to.

What a switch stops is told to holders by their heartbeats (``leases.sql``). A run counts as stopped when it has ended,
when its lease has, or when its holder says so. Where nothing shows that for :data:`CONFIRM_S`, an incident is opened,
once for a run and an engagement.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Any, Final

import asyncpg
import structlog

from agentos_engine.bus import EngineBus, Unanswered
from agentos_shared.host.lifecycle import Backoff, Clock, Rng
from agentos_shared.store import statements

log = structlog.get_logger("agentos.engine")

_TEXTS: Final = statements.load("agentos_engine", "stops.sql")
#: The condition that a switch ``s`` stops a run ``o``.
STOPS: Final = "\n".join(line for line in _TEXTS["stops"].splitlines() if not line.startswith("--"))
SQL: Final = {name: text.replace("{stops}", STOPS) for name, text in _TEXTS.items() if name != "stops"}
#: As the statement ``switch`` of ``runs.sql`` has it.
CONFIRM_S: Final = 30
#: Switches that are looked at together, and runs of each that incidents are opened for.
MOST: Final = 20
MOST_RUNS: Final = 500
IDLE_S: Final = 5.0


class Stops:
    """The switches as this process knows them."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", bus: EngineBus, clock: Clock, rng: Rng) -> None:
        self._pool = pool
        self._bus = bus
        self._clock = clock
        self._rng = rng
        self._wake = asyncio.Event()
        self._agents: dict[str, set[str]] = {}

    def get_none(self, workspace_id: str, names: Collection[str]) -> bool:
        """Whether a switch of the scope ``agent`` names one of these: it is given no runs."""
        return not self._agents.get(workspace_id, _NOBODY).isdisjoint(names)

    async def learn(self) -> None:
        """Read anew which agents are stopped; and look whether a nearer time has come."""
        agents: dict[str, set[str]] = defaultdict(set)
        for row in await self._pool.fetch(SQL["agents"]):
            agents[row["workspace_id"]].add(row["target"])
        self._agents = agents
        self._wake.set()

    async def confirm_forever(self) -> None:
        """Look at each switch once, some time after it was engaged."""
        backoff = Backoff(0.2, 5.0, rng=self._rng)
        while True:
            self._wake.clear()
            try:
                pause = await self._confirm()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError, Unanswered) as error:
                log.warning("stops_not_confirmed", error=f"{type(error).__name__}: {error}")
                await self._clock.sleep(backoff.next_s())
                continue
            backoff.reset()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()

    async def _confirm(self) -> float:
        """Seconds until the next look."""
        wait_s = await self._pool.fetchval(SQL["next"])
        if wait_s is None or wait_s > 0:
            return IDLE_S if wait_s is None else min(wait_s, IDLE_S)
        rows = await self._pool.fetch(SQL["due"], MOST, MOST_RUNS)
        going = [row for row in rows if row["run_id"] is not None]
        if going:
            log.error("kill_switch_not_observed", runs=len(going))
            await self._bus.command("incident", "open", [_incident(row) for row in going])
        await self._pool.execute(SQL["seen"], _ids(rows))
        return 0.0


_NOBODY: Final[frozenset[str]] = frozenset()


def _ids(rows: Iterable[asyncpg.Record]) -> list[Any]:
    return sorted({row["event_id"] for row in rows})


def _incident(row: asyncpg.Record) -> dict[str, Any]:
    what = f"{row['scope']} {row['target']}".strip()
    return {
        "workspace_id": row["workspace_id"],
        "run_id": row["run_id"],
        "title": "A run was not seen to stop",
        "summary": f"The kill switch {what} asked it to stop {CONFIRM_S} s ago, and nothing shows that it has.",
        "details": {"scope": row["scope"], "target": row["target"] or None, "reason": row["reason"]},
        "category": "kill_switch_not_observed",
        "severity": "high",
        "entity_type": "run",
        "entity_id": row["run_id"],
        "idempotency_key": f"incident:kill_switch_not_observed:{row['event_id']}:{row['run_id']}",
    }
