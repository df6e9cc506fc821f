"""The policy service: connects, decides, tells how it is. It keeps nothing that a restart would lose."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import asyncpg

from agentos_policy.book import Book
from agentos_policy.bus import PolicyBus
from agentos_policy.gate import Gate
from agentos_policy.settings import PolicySettings
from agentos_policy.shelf import Shelf
from agentos_policy.simulation import Simulator
from agentos_shared.contracts import subjects
from agentos_shared.domain.policy.facts import KillSwitch
from agentos_shared.host.health import Health, Unwell
from agentos_shared.host.lifecycle import Clock, Rng, Shutdown, Tasks, connect
from agentos_shared.host.settings import postgres_address
from agentos_shared.store import migrate
from agentos_shared.store.reader import Connection

NAME: Final = "policy"
#: A question is given up by whoever asked after 200 ms; what takes longer than this is broken.
STATEMENT_S: Final = 1.0


class Policy:
    """One policy process. Several share the questions."""

    def __init__(self, settings: PolicySettings, clock: Clock, rng: Rng) -> None:
        self._settings = settings
        self._clock = clock
        self._rng = rng
        self._bus = PolicyBus(settings.nats_url.get_secret_value())
        self.health = Health(NAME)

    async def run(self, shutdown: Shutdown) -> None:
        """Serve until asked to stop."""
        url = self._settings.postgres_url.get_secret_value()
        pool = await connect(
            f"Postgres at {postgres_address(url)}", lambda: _open(url), clock=self._clock, rng=self._rng
        )
        tasks = Tasks(clock=self._clock, rng=self._rng)
        shelf = Shelf(self._settings.policy_dir, self._clock)
        await asyncio.to_thread(shelf.look)
        gate = Gate(Book(pool, self._clock, _forced(self._settings)), self._clock, lambda: shelf.policies)
        self._add_checks(pool)
        try:
            tasks.spawn("probes", self._serve_probes)
            tasks.spawn("gate", gate.decide_forever)
            tasks.spawn("policies", shelf.watch, on_crash="restart")
            handlers = {
                subjects.POLICY_EVALUATE: gate.answer,
                subjects.POLICY_SIMULATE: Simulator(pool).answer,
                subjects.health(NAME): self._on_health,
            }
            tasks.spawn("bus", lambda: self._bus.serve(handlers), on_crash="restart")
            await shutdown.wait_or_crash(tasks)
        finally:
            self.health.drain()
            with suppress(Exception):
                await asyncio.wait_for(self._bus.close(), 3)
            await tasks.stop()
            with suppress(TimeoutError):
                await asyncio.wait_for(pool.close(), 2)

    async def _on_health(self, _: Mapping[str, Any]) -> Mapping[str, Any]:
        report = await self.health.ready()
        return {"ok": report.ok, "detail": report.detail}

    def _add_checks(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        async def bus() -> None:
            if not self._bus.connected:
                raise Unwell("not connected to NATS; whatever needs a decision is denied")
            await self._bus.flush()

        self.health.add("postgres", lambda: pool.fetchval("select 1"))
        self.health.add("nats", bus)

    async def _serve_probes(self) -> None:
        if self._settings.health_port:
            # Imported here: it takes a while, in which questions can be answered already.
            from agentos_shared.host.probes import serve_probes

            await serve_probes(self.health, self._settings.health_host, self._settings.health_port)


def _forced(settings: PolicySettings) -> tuple[KillSwitch, ...]:
    if not settings.kill_switch_external_write:
        return ()
    return (KillSwitch("external_write", reason="POLICY_KILL_SWITCH_EXTERNAL_WRITE is set"),)


async def _open(url: str) -> "asyncpg.Pool[asyncpg.Record]":
    async def no_reset(_: Connection) -> None:
        """Nothing here changes a session for good, so that a release need not cost a round trip."""

    pool = await asyncpg.create_pool(
        url,
        min_size=1,
        max_size=2,
        reset=no_reset,
        server_settings={"application_name": "agentos-policy", "plan_cache_mode": "force_custom_plan"},
        command_timeout=STATEMENT_S,
    )
    try:
        async with pool.acquire() as connection:
            await migrate.check_schema(connection)
    except BaseException:
        await pool.close()
        raise
    return pool
