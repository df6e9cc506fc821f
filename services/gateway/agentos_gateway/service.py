"""The gateway as a service: connects, lets out what is allowed, tells how it is."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import asyncpg

from agentos_gateway.bus import GatewayBus
from agentos_gateway.settings import GatewaySettings
from agentos_shared.contracts import subjects
from agentos_shared.host.health import Health, Unwell
from agentos_shared.host.lifecycle import Clock, Rng, Shutdown, Tasks, connect
from agentos_shared.host.settings import postgres_address
from agentos_shared.store import migrate
from agentos_shared.store.reader import Connection

NAME: Final = "gateway"
STATEMENT_S: Final = 5.0


class Gateway:
    """One gateway process. Several share the requests that come over NATS."""

    def __init__(self, settings: GatewaySettings, clock: Clock, rng: Rng) -> None:
        self._settings = settings
        self._clock = clock
        self._rng = rng
        self._bus = GatewayBus(settings.nats_url.get_secret_value())
        self.health = Health(NAME)

    async def run(self, shutdown: Shutdown) -> None:
        """Serve until asked to stop."""
        url = self._settings.postgres_url.get_secret_value()
        pool = await connect(
            f"Postgres at {postgres_address(url)}", lambda: _open(url), clock=self._clock, rng=self._rng
        )
        tasks = Tasks(clock=self._clock, rng=self._rng)
        self._add_checks(pool)
        try:
            tasks.spawn("probes", self._serve_probes)
            handlers = {subjects.health(NAME): self._on_health}
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
                raise Unwell("not connected to NATS; nothing leaves")
            await self._bus.flush()

        self.health.add("postgres", lambda: pool.fetchval("select 1"))
        self.health.add("nats", bus)

    async def _serve_probes(self) -> None:
        if self._settings.health_port:
            # Imported here: it takes a while, in which requests can be taken already.
            from agentos_shared.host.probes import serve_probes

            await serve_probes(self.health, self._settings.health_host, self._settings.health_port)


async def _open(url: str) -> "asyncpg.Pool[asyncpg.Record]":
    async def no_reset(_: Connection) -> None:
        """Nothing here changes a session for good, so that a release need not cost a round trip."""

    pool = await asyncpg.create_pool(
        url,
        min_size=1,
        max_size=4,
        reset=no_reset,
        server_settings={"application_name": "agentos-gateway", "search_path": "gw, public"},
        command_timeout=STATEMENT_S,
    )
    try:
        async with pool.acquire() as connection:
            await migrate.check_schema(connection)
    except BaseException:
        await pool.close()
        raise
    return pool
