"""The gateway as a service: connects, lets out what is allowed, tells how it is."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import asyncpg

from agentos_gateway.address import Guard, RememberingResolver, SystemResolver
from agentos_gateway.bus import GatewayBus
from agentos_gateway.control_watch import ControlWatch
from agentos_gateway.decisions import Decisions, policies_in_force
from agentos_gateway.limits.limits import Limits
from agentos_gateway.proxy.forward import Forward
from agentos_gateway.proxy.held import HeldOpen
from agentos_gateway.proxy.listener import Proxy
from agentos_gateway.proxy.passage import Gate
from agentos_gateway.proxy.tunnels import Tunnels
from agentos_gateway.requests.book import Book
from agentos_gateway.requests.contents import Contents
from agentos_gateway.requests.desk import Desk, openings_of
from agentos_gateway.requests.recovery import Recovery
from agentos_gateway.requests.sends import Sends
from agentos_gateway.send import Outbound, client_context
from agentos_gateway.settings import GatewaySettings
from agentos_gateway.vault import Vault, open_ring
from agentos_gateway.vault.keys import KeyPlace, KeyProblem
from agentos_shared.contracts import subjects
from agentos_shared.host.health import Health, Unwell
from agentos_shared.host.lifecycle import Clock, Rng, Shutdown, Tasks, connect
from agentos_shared.host.settings import SettingsError, postgres_address
from agentos_shared.store import migrate
from agentos_shared.store.blobs import Blobs
from agentos_shared.store.reader import Connection

NAME: Final = "gateway"
STATEMENT_S: Final = 5.0
#: How long a stop waits for what is on its way.
DRAIN_S: Final = 3.0
SWEEP_S: Final = 5.0


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
        sends = Sends(pool, url, self._clock, self._rng)
        outbound = Outbound(client_context(), clock=self._clock)
        guard = Guard(RememberingResolver(SystemResolver(), self._clock), clock=self._clock)
        limits = Limits(pool, self._clock)
        openings = openings_of(self._settings.egress_openings)
        blobs = Blobs(self._settings.blob_dir)
        per_hour = self._settings.max_requests_per_hour
        vault = Vault(pool, _master_key(self._settings))
        contents = Contents(vault)
        book = Book(self._bus, self._clock, self._rng)
        desk = Desk(book, sends, guard, outbound, limits, blobs, contents, openings, self._clock, self._rng, per_hour)
        recovery = Recovery(pool, self._bus, sends, self._clock)
        watch = ControlWatch(pool, lambda: policies_in_force(self._bus.ask), self._clock)
        held = HeldOpen(Decisions(self._bus.ask, watch, self._clock), watch, self._clock)
        api_url = self._settings.api_url
        gate = Gate(book, sends, limits, openings, self._clock, self._rng, api_url, per_hour)
        proxy = Proxy(
            Tunnels(gate, guard, held, self._clock), Forward(gate, guard, outbound, contents, held, self._clock), held
        )
        self._add_checks(pool, sends)
        try:
            tasks.spawn("probes", self._serve_probes)
            tasks.spawn("lock", sends.hold_forever)
            tasks.spawn("recovery", recovery.settle_forever)
            tasks.spawn("limits", limits.forget_forever)
            tasks.spawn("changes", watch.watch_changes)
            tasks.spawn("policies", watch.watch_policies)
            tasks.spawn("what is open", held.watch_forever)
            tasks.spawn("idle connections", lambda: self._sweep(outbound))
            handlers = {
                subjects.GATEWAY_REQUEST: desk.answer,
                subjects.GATEWAY_SECRETS: vault.answer,
                subjects.health(NAME): self._on_health,
            }
            heard = {subjects.GATEWAY_STOP: desk.stop}
            tasks.spawn("bus", lambda: self._bus.serve(handlers, heard), on_crash="restart")
            if self._settings.gateway_port:
                await proxy.start(self._settings.gateway_host, self._settings.gateway_port)
            await shutdown.wait_or_crash(tasks)
        finally:
            self.health.drain()
            await asyncio.gather(desk.drain(DRAIN_S), proxy.stop(DRAIN_S))
            await outbound.close()
            with suppress(Exception):
                await asyncio.wait_for(self._bus.close(), 3)
            await tasks.stop()
            with suppress(TimeoutError):
                await asyncio.wait_for(pool.close(), 2)

    async def _sweep(self, outbound: Outbound) -> None:
        while True:
            await self._clock.sleep(SWEEP_S)
            outbound.sweep()

    async def _on_health(self, _: Mapping[str, Any]) -> Mapping[str, Any]:
        report = await self.health.ready()
        return {"ok": report.ok, "detail": report.detail}

    def _add_checks(self, pool: "asyncpg.Pool[asyncpg.Record]", sends: Sends) -> None:
        async def lock() -> None:
            if not sends.held:
                raise Unwell("other processes cannot see that this one lives; nothing leaves")

        async def bus() -> None:
            if not self._bus.connected:
                raise Unwell("not connected to NATS; nothing leaves")
            await self._bus.flush()

        self.health.add("postgres", lambda: pool.fetchval("select 1"))
        self.health.add("lock", lock)
        self.health.add("nats", bus)

    async def _serve_probes(self) -> None:
        if self._settings.health_port:
            # Imported here: it takes a while, in which requests can be taken already.
            from agentos_shared.host.probes import serve_probes

            await serve_probes(self.health, self._settings.health_host, self._settings.health_port)


def _master_key(settings: GatewaySettings) -> KeyPlace | None:
    given = settings.secrets_master_key
    text = None if given is None else given.get_secret_value()
    try:
        return open_ring(text, settings.secrets_key_file, system=settings.secrets_keyring)
    except KeyProblem as problem:
        raise SettingsError(str(problem)) from None


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
