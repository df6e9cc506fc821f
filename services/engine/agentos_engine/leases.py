"""Leases: how long a claim lasts, and how it is kept alive.

The store decides, these rows only keep time
--------------------------------------------
A run is leased because ``run.claimed`` is in its history and nothing later took the lease away. Its attempt number is
the fencing token: it only grows, and every write under the run is compared with the folded run at the store. So no
clock, no pause and no lost row can let two holders write: the worst that a wrong timer does is to end a lease early
(the holder's next write is refused, the run goes to somebody else) or late (the run waits longer).

::

    queued --claim--> reserved --run.claimed--> held --heartbeat--> held
      ^                  |                        |
      +------------------+                        +-- run.completed, run.failed, run.cancelled --> gone
      +-- run.lease_released, run.lease_expired --+

Time is the database's
----------------------
A lease ends at ``lease_expires_at`` by Postgres' clock, which the sweep and the heartbeats compare with in the same
statement. No two machines' clocks are ever compared. When that clock is stepped, the sweep notices (its own
monotonic time says how much should have passed) and moves all timers along.

A heartbeat is no event
-----------------------
It moves the timer, if the lease is still held and has not run out: one that ran out is not revived, even if the sweep
has not come to it yet. Heartbeats that arrive together share a statement.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeAlias

import asyncpg
import structlog

from agentos_engine.bus import problem
from agentos_engine.stops import STOPS
from agentos_shared.domain.envelope import timestamp
from agentos_shared.store import statements

log = structlog.get_logger("agentos.engine")

SQL: Final = {
    name: text.replace("{stops}", STOPS) for name, text in statements.load("agentos_engine", "leases.sql").items()
}
COVER_S: Final = 5.0
MOST: Final = 1000

Cover = Callable[[set[str]], Awaitable[None]]
#: A lease by run, claim token and the engine that says to hold it, and what becomes of renewing it.
_Beat: TypeAlias = tuple[tuple[str, str, str | None], "asyncio.Future[asyncpg.Record | None]"]


class Leases:
    """Heartbeats of this process.

    Args:
        cover: makes the tables hold all that the store has now of some workspaces.
    """

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", cover: Cover) -> None:
        self._pool = pool
        self._cover = cover
        self._waiting: list[_Beat] = []
        self._wake = asyncio.Event()

    async def heartbeat(self, question: dict[str, Any]) -> dict[str, Any]:
        """Renew one lease. The API has found the run and checked the caller: its ``engine_id``, if it proved to be one,
        is the holder's or the token is not its own.
        """
        run_id, claim_token, engine_id = question["run_id"], question["claim_token"], question.get("engine_id")
        try:
            async with asyncio.timeout(COVER_S):
                row = await self._renew(run_id, claim_token, engine_id)
                if row is None:  # perhaps it was claimed a moment ago
                    await self._cover({question["workspace_id"]})
                    row = await self._renew(run_id, claim_token, engine_id)
                if row is None:
                    return await self._refusal(run_id, claim_token)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
            log.warning("heartbeat_failed", error=f"{type(error).__name__}: {error}")
            return problem(503, "engine_unavailable", "The lease could not be renewed now; try again.")
        body = {
            "ok": True,
            "lease_expires_at": timestamp(row["lease_expires_at"]),
            "lease_heartbeat_at": timestamp(row["lease_heartbeat_at"]),
            "stop": row["scope"] is not None,
            "stop_reason": _why(row),
        }
        return {"status": 200, "body": body}

    async def _renew(self, run_id: str, claim_token: str, engine_id: str | None) -> asyncpg.Record | None:
        future: asyncio.Future[asyncpg.Record | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(((run_id, claim_token, engine_id), future))
        self._wake.set()
        return await future

    async def renew_forever(self) -> None:
        """Renew what waits, all with one statement."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            waiting, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
            if self._waiting:
                self._wake.set()
            if not waiting:
                continue
            # In one order whatever came first, so that two processes do not wait for each other's rows.
            wanted = sorted({lease for lease, _ in waiting}, key=lambda lease: (lease[0], lease[1], lease[2] or ""))
            try:
                rows = await self._pool.fetch(SQL["renew"], *([lease[n] for lease in wanted] for n in range(3)))
            except Exception as error:  # those who asked tell what it means
                _fail(waiting, error)
                continue
            renewed = {(row["run_id"], row["claim_token"], row["engine_id"]): row for row in rows}
            for lease, future in waiting:
                if not future.done():
                    future.set_result(renewed.get(lease))

    async def _refusal(self, run_id: str, claim_token: str) -> dict[str, Any]:
        row = await self._pool.fetchrow(SQL["state"], [run_id])
        if row is None:
            return problem(409, "run_not_running", "The run has ended.")
        if row["claim_token"] == claim_token and (row["expired"] or row["run_out"]):
            return problem(409, "lease_expired", "The lease ran out; claim again.")
        return problem(409, "lease_token_mismatch", "Another claim holds the run, or none does; claim again.")


def _why(row: asyncpg.Record) -> str | None:
    """The switch that asks a run to stop: ``tool shell: deletes too much``."""
    if row["scope"] is None:
        return None
    what = f"{row['scope']} {row['target']}".strip()
    return f"{what}: {row['reason']}" if row["reason"] else what


def _fail(waiting: Sequence[_Beat], error: Exception) -> None:
    for _, future in waiting:
        if not future.done():
            future.set_exception(error)
