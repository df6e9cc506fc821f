"""The engine as a service: connects, follows the events of runs, hands runs out, keeps their time, tells how it is."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import asyncpg
import structlog

from agentos_engine import runs, tables
from agentos_engine.bus import EngineBus
from agentos_engine.claims import Claims
from agentos_engine.followups import Followups
from agentos_engine.leases import Leases
from agentos_engine.settings import EngineSettings
from agentos_engine.stops import Stops
from agentos_engine.timers import Timers
from agentos_shared.bus.consumer import Consumer
from agentos_shared.contracts import subjects
from agentos_shared.contracts.positions import Hint, Range
from agentos_shared.host.health import Health, Unwell
from agentos_shared.host.lifecycle import Clock, Rng, Shutdown, Tasks, connect
from agentos_shared.host.settings import postgres_address
from agentos_shared.store import migrate
from agentos_shared.store.checkpoints import PoolStore
from agentos_shared.store.reader import Connection

log = structlog.get_logger("agentos.engine")

NAME: Final = "engine"


class Engine:
    """One engine process. Several share the work."""

    def __init__(self, settings: EngineSettings, clock: Clock, rng: Rng) -> None:
        self._settings = settings
        self._clock = clock
        self._rng = rng
        self._bus = EngineBus(settings.nats_url.get_secret_value(), rng)
        self._changes: dict[str, runs.Change] = {}
        self.health = Health(NAME)

    async def run(self, shutdown: Shutdown) -> None:
        """Serve until asked to stop."""
        url = self._settings.postgres_url.get_secret_value()
        pool = await connect(
            f"Postgres at {postgres_address(url)}", lambda: _open(url), clock=self._clock, rng=self._rng
        )
        tasks = Tasks(clock=self._clock, rng=self._rng)
        store = self._store = runs.RunStore(pool, tables.PREFIX)
        consumer = Consumer(
            NAME,
            store=store,
            bus=self,
            clock=self._clock,
            rng=self._rng,
            effects=self._apply,
        )
        self._stops = Stops(pool, self._bus, self._clock, self._rng)
        self._claims = Claims(pool, self._bus, consumer, self._stops, self._clock, self._rng)
        self._timers = Timers(pool, self._bus, self._claims.freed, self._clock, self._rng)
        self._followups = Followups(pool, self._bus, lambda: self._claims.granted, self._clock, self._rng)
        leases = Leases(pool, self._claims.cover)
        self._add_checks(pool, consumer)
        try:
            async with pool.acquire() as connection:
                await tables.prepare(connection)
            tasks.spawn("probes", self._serve_probes)
            tasks.spawn("reconcile", consumer.reconcile_forever)
            tasks.spawn("claims", self._claims.serve_forever)
            tasks.spawn("settle", self._claims.settle_forever)
            tasks.spawn("cover", self._claims.cover_forever)
            tasks.spawn("parked", self._claims.look_again_forever)
            tasks.spawn("heartbeats", leases.renew_forever)
            tasks.spawn("bus", lambda: self._attach(consumer, leases), on_crash="restart")
            tasks.spawn("begin", lambda: self._begin(pool, store, consumer, tasks))
            if self._settings.engine_mode == "embedded":
                # Imported here: it is nothing to an engine whose workers are elsewhere.
                from agentos_engine.worker import beside

                tasks.spawn("worker", lambda: beside.run(self._clock, self._rng), on_crash="restart")
            await shutdown.wait_or_crash(tasks)
        finally:
            self.health.drain()
            self._claims.drain()
            with suppress(Exception):
                await asyncio.wait_for(self._bus.close(), 3)
            await tasks.stop()
            with suppress(TimeoutError):
                await asyncio.wait_for(pool.close(), 2)

    async def _begin(
        self,
        pool: "asyncpg.Pool[asyncpg.Record]",
        store: PoolStore,
        consumer: Consumer[Connection],
        tasks: Tasks,
    ) -> None:
        """Timers and what follows from ends begin when all history is known: much of it has been dealt with.

        Streams that were parked get another chance: a newer version may understand what an older one could not.
        """
        await consumer.caught_up()
        async with pool.acquire() as connection:
            parked = await store.list_parked(connection)
        await consumer.retry_parked([stopped.key for stopped in parked])
        tasks.spawn("timers", self._timers.sweep_forever)
        tasks.spawn("followups", self._followups.work_forever)
        tasks.spawn("stops", self._stops.confirm_forever)

    # --- following the store -----------------------------------------------------------------------------------------

    async def _apply(self, connection: Connection, ranges: Sequence[Range]) -> None:
        self._changes = await self._store.apply(connection, ranges)

    @property
    def attached(self) -> bool:
        """True while hints can arrive."""
        return self._bus.connected

    async def moved(self, _: Sequence[Range]) -> None:
        """What was applied is committed: wake those who wait for it."""
        changes, self._changes = self._changes, {}
        switched, self._store.switched = self._store.switched, set()
        if switched:
            await self._stops.learn()
            self._claims.freed(switched)
        unheld, self._store.unheld = self._store.unheld, set()
        self._claims.freed(unheld)
        alive = [change for change in changes.values() if not change.ended and change.last is not None]
        self._claims.freed({change.workspace_id for change in alive if change.state == "queued"})
        if any(change.state != "queued" for change in alive):
            self._timers.wake()
        if any(change.ended for change in changes.values()):
            self._followups.wake()

    async def _attach(self, consumer: Consumer[Connection], leases: Leases) -> None:
        async def on_hints(hints: list[Hint], complete: bool) -> None:
            await consumer.on_hints(hints)
            if not complete:
                consumer.wake()

        async def on_health(_: Mapping[str, Any]) -> Mapping[str, Any]:
            report = await self.health.ready()
            return {"ok": report.ok, "detail": report.detail}

        await self._bus.connect(consumer.wake)
        await self._bus.take_claims(self._claims.claim)
        await self._bus.answer(subjects.ENGINE_HEARTBEAT, leases.heartbeat)
        await self._bus.answer(subjects.health(NAME), on_health)
        await self._bus.follow(on_hints)

    # --- how it is ---------------------------------------------------------------------------------------------------

    def _add_checks(self, pool: "asyncpg.Pool[asyncpg.Record]", consumer: Consumer[Connection]) -> None:
        async def followed() -> None:
            if not consumer.is_caught_up:
                raise Unwell("not caught up with the event store since the start")

        async def bus() -> None:
            if not self.attached:
                raise Unwell("not connected to NATS; nothing can be claimed")
            await self._bus.flush()

        self.health.add("postgres", lambda: pool.fetchval("select 1"))
        self.health.add("queue", followed)
        self.health.add("nats", bus)

    async def _serve_probes(self) -> None:
        if self._settings.health_port:
            # Imported here: it takes a while, in which healing has begun.
            from agentos_shared.host.probes import serve_probes

            await serve_probes(self.health, self._settings.health_host, self._settings.health_port)


async def _open(url: str) -> "asyncpg.Pool[asyncpg.Record]":
    async def no_reset(_: Connection) -> None:
        """Nothing here changes a session for good, so that a release need not cost a round trip."""

    pool = await asyncpg.create_pool(
        url,
        min_size=1,
        max_size=5,
        reset=no_reset,
        server_settings=tables.SESSION,
        command_timeout=30,
    )
    try:
        async with pool.acquire() as connection:
            await migrate.check_schema(connection)
    except BaseException:
        await pool.close()
        raise
    return pool
