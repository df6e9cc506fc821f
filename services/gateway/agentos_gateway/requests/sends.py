"""What is on its way, on record in Postgres: no request is begun twice, and those of a process that died are found."""

import asyncio
from typing import Any, Final, NamedTuple

import asyncpg
import orjson
import structlog

from agentos_shared.host.lifecycle import Backoff, Clock, Rng
from agentos_shared.store import statements

log = structlog.get_logger("agentos.gateway")

SQL: Final = statements.load("agentos_gateway.requests", "sends.sql")
#: How soon a process takes its lock again when its connection was lost.


class Left(NamedTuple):
    """A request that a process left behind. ``unsent``: it is certain that nothing was sent."""

    egress_request_id: str
    workspace_id: str
    unsent: bool


class Sends:
    """The table of what is on its way.

    Args:
        url: of Postgres: the lock has a connection of its own.
    """

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", url: str, clock: Clock, rng: Rng) -> None:
        self._pool = pool
        self._url = url
        self._clock = clock
        self._rng = rng
        self.holder = int.from_bytes(rng.token(8), "big") >> 1 or 1
        self._held = asyncio.Event()

    @property
    def held(self) -> bool:
        """Whether others can see that this process lives; while they cannot, nothing is begun."""
        return self._held.is_set()

    async def hold_forever(self) -> None:
        """Hold the lock that says that this process lives."""
        backoff = Backoff(0.1, 2.0, rng=self._rng)
        while True:
            gone = asyncio.Event()
            try:
                connection = await asyncpg.connect(self._url, server_settings={"application_name": "agentos-gateway"})
            except (OSError, TimeoutError, asyncpg.PostgresError) as error:
                log.warning("lock_not_taken", error=f"{type(error).__name__}: {error}")
                await self._clock.sleep(backoff.next_s())
                continue
            try:
                connection.add_termination_listener(lambda _, gone=gone: gone.set())
                await connection.execute("set statement_timeout = 0")
                await connection.execute(SQL["hold"].replace("$1", str(self.holder)))
                self._held.set()
                backoff.reset()
                await gone.wait()
            finally:
                self._held.clear()
                connection.terminate()

    async def begin(self, request_id: str, workspace_id: str) -> bool:
        """Whether this process may send a request; False: somebody else is about to, or was.

        Raises:
            TimeoutError: for five seconds Postgres gave this process no lock to be known by.
        """
        async with asyncio.timeout(5):
            await self._held.wait()
        return await self._pool.fetchval(SQL["begin"], request_id, workspace_id, self.holder) is not None

    async def end(self, request_id: str) -> None:
        """Its outcome is on record."""
        await self._pool.execute(SQL["end"], request_id, self.holder)

    async def let_go(self, request_id: str, *, unsent: bool) -> None:
        """What is on record of it is not known: to be settled by whoever finds it.

        Args:
            unsent: it is certain that nothing was sent.
        """
        await self._pool.execute(SQL["let_go"], request_id, self.holder, 0 if unsent else -1)

    async def standing(self, request_id: str, workspace_id: str) -> tuple[str, dict[str, Any]] | None:
        """Type and data of the last event of a request."""
        row = await self._pool.fetchrow(SQL["outcome"], request_id, workspace_id)
        return None if row is None else (row["event_type"], orjson.loads(row["content"])["data"])
