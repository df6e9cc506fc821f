"""The projector as a service: connects, follows the event store, keeps its tables in shape, tells how it is."""

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

import asyncpg
import structlog

from agentos_projector import tables
from agentos_projector.apply import Applier
from agentos_projector.projections import PROJECTIONS
from agentos_projector.rebuild import RebuildRunning, rebuild
from agentos_projector.settings import ProjectorSettings
from agentos_shared.bus.consumer import Consumer, Limits
from agentos_shared.contracts import subjects
from agentos_shared.contracts.positions import Hint, Range, encode_ping
from agentos_shared.host import metrics, telemetry
from agentos_shared.host.health import Health, Unwell
from agentos_shared.host.lifecycle import Clock, Rng, Shutdown, Tasks, connect
from agentos_shared.host.settings import postgres_address
from agentos_shared.store.checkpoints import PoolStore
from agentos_shared.store.reader import Connection

if TYPE_CHECKING:
    from agentos_shared.bus.broker import Broker
    from agentos_shared.bus.hints import HintSubscriber

log = structlog.get_logger("agentos.projector")

NAME: Final = "projector"
HINT_BATCH: Final = 1000
MAINTENANCE_S: Final = 5.0
#: Under load work may gather for so long, unless a reader waits.
REST_S: Final = 0.25
#: Every how many turns of maintenance indexes are looked at while nothing is applied.
INDEX_TURNS: Final = 12
#: Spans for one batch: enough for whoever looks at single requests, bounded for floods.
MAX_SPANS: Final = 32

_DELAY: Final = metrics.histogram("projection_delay_seconds", "From recording an event to its rows, oldest of a batch.")


class Projector:
    """One projector process. Several share the work."""

    def __init__(self, settings: ProjectorSettings, clock: Clock, rng: Rng) -> None:
        self._settings = settings
        self._clock = clock
        self._rng = rng
        self._applier = Applier(PROJECTIONS)
        self._broker: Broker | None = None
        self._hints: HintSubscriber | None = None
        self._applied = False
        self.health = Health(NAME)

    async def run(self, shutdown: Shutdown) -> None:
        """Serve until asked to stop."""
        url = self._settings.postgres_url.get_secret_value()
        pool = await connect(
            f"Postgres at {postgres_address(url)}", lambda: self._open(url), clock=self._clock, rng=self._rng
        )
        tasks = Tasks(clock=self._clock, rng=self._rng)
        try:
            consumer = Consumer(
                NAME,
                store=PoolStore(pool, tables.PREFIX),
                bus=self,
                clock=self._clock,
                rng=self._rng,
                effects=self._apply,
                limits=Limits(rest_s=REST_S),
            )
            self._add_checks(pool, consumer)
            tasks.spawn("probes", self._serve_probes)

            async def begin() -> None:
                # A task as well, since a rebuild may take minutes and must not hold up a wish to stop.
                async with pool.acquire() as connection:
                    current = await tables.prepare(connection, PROJECTIONS)
                if not current:
                    await self._rebuild(url)
                tasks.spawn("reconcile", consumer.reconcile_forever)
                tasks.spawn("maintenance", lambda: self._maintain(url), on_crash="restart")
                tasks.spawn("bus", lambda: self._follow_bus(consumer, shutdown))

            tasks.spawn("begin", begin)
            await shutdown.wait_or_crash(tasks)
        finally:
            self.health.drain()
            await self._leave_bus()
            await tasks.stop()
            with suppress(TimeoutError):
                await asyncio.wait_for(pool.close(), 2)

    async def _open(self, url: str) -> "asyncpg.Pool[asyncpg.Record]":
        async def no_reset(_: Connection) -> None:
            """Nothing here changes a session for good, so that a release need not cost a round trip."""

        pool = asyncpg.create_pool(
            url,
            min_size=1,
            max_size=3,
            init=tables.become_owner,
            reset=no_reset,
            server_settings=tables.SESSION,
            command_timeout=70,
        )
        return await pool

    async def _apply(self, connection: Connection, ranges: Sequence[Range]) -> None:
        await self._applier(connection, ranges)
        self._applied = True
        if self._applier.oldest is not None:
            _DELAY.observe(max(0.0, (self._clock.now() - self._applier.oldest).total_seconds()))

    # --- the bus -----------------------------------------------------------------------------------------------------

    @property
    def attached(self) -> bool:
        """True while hints can arrive."""
        return self._hints is not None and self._hints.attached

    async def moved(self, done: Sequence[Range]) -> None:
        """Tell readers that wait. Never raises: they also look by themselves."""
        if self.attached and self._broker is not None:
            with suppress(Exception):
                await self._broker.connection.publish(subjects.PING_PROJECTED, encode_ping(done))

    async def _follow_bus(self, consumer: "Consumer[Connection]", shutdown: Shutdown) -> None:
        # Imported here: it takes a third of a second, in which the pool has connected and healing has begun.
        from agentos_shared.bus.broker import make_broker

        closed = asyncio.Event()

        async def on_closed() -> None:
            closed.set()

        async def on_change() -> None:
            consumer.wake()

        async def on_hints(hints: list[Hint]) -> None:
            with _traced(hints):
                await consumer.on_hints(hints)

        async def on_wanted(_: object) -> None:
            consumer.hurry()

        async def on_health(_: object) -> bytes:
            return (await self.health.ready()).brief()

        broker = make_broker(NAME, self._settings.nats_url.get_secret_value(), rng=self._rng, on_closed=on_closed)
        hints = broker.hint_subscriber(subjects.PROJECTOR_DURABLE, batch=HINT_BATCH, on_change=on_change)
        hints(on_hints)
        broker.subscriber(subjects.health(NAME), queue=subjects.PROJECTOR_QUEUE)(on_health)
        broker.subscriber(subjects.PING_WANTED)(on_wanted)
        self._broker, self._hints = broker, hints
        await broker.start()
        await closed.wait()
        if not shutdown.requested:
            raise ConnectionError("NATS refused the connection for good; starting anew")

    async def _leave_bus(self) -> None:
        if self._broker is not None:
            with suppress(Exception):
                await asyncio.wait_for(self._broker.stop(), 3)

    # --- its tables --------------------------------------------------------------------------------------------------

    async def _rebuild(self, url: str) -> None:
        """Make the tables anew, unless another process is at it: then wait for that."""
        while True:
            try:
                await rebuild(url, clock=self._clock, rng=self._rng)
                return
            except RebuildRunning:
                await self._clock.sleep(1.0)

    async def _maintain(self, url: str) -> None:
        """Build search indexes that are missing, and work off their queues, on a connection of its own."""
        for turn in itertools.count():
            if self._applied or turn % INDEX_TURNS == 0:
                self._applied = False
                connection = await tables.open_session(url, **tables.UNHURRIED)
                try:
                    await tables.build_search_indexes(connection, PROJECTIONS)
                    await tables.clean_pending(connection)
                finally:
                    await connection.close(timeout=2)
            await self._clock.sleep(MAINTENANCE_S * (0.9 + 0.2 * self._rng.random()))

    # --- how it is ---------------------------------------------------------------------------------------------------

    def _add_checks(self, pool: "asyncpg.Pool[asyncpg.Record]", consumer: "Consumer[Connection]") -> None:
        async def projected() -> None:
            if not consumer.is_caught_up:
                raise Unwell("not caught up with the event store since the start")

        async def bus() -> None:
            if not self.attached:
                raise Unwell("no hints from NATS; projecting by comparison, with some delay")

        self.health.add("postgres", lambda: pool.fetchval("select 1"))
        self.health.add("projections", projected)
        self.health.add("nats", bus)

    async def _serve_probes(self) -> None:
        if self._settings.health_port:
            from agentos_shared.host.probes import serve_probes

            await serve_probes(self.health, self._settings.health_host, self._settings.health_port)


@contextmanager
def _traced(hints: Sequence[Hint]) -> Iterator[None]:
    """A span for each traced event of a batch, all as long as the batch: each trace goes on by itself."""
    if not telemetry.enabled():
        yield
        return
    traced = [hint for hint in hints if hint.traceparent is not None][:MAX_SPANS]
    spans = [
        telemetry.open_span(
            "projector.apply",
            hint.traceparent,
            {
                "agentos.stream": f"{hint.key.stream_type}/{hint.key.stream_id}",
                "agentos.stream_seq": hint.seq,
                "messaging.batch.message_count": len(hints),
            },
            kind="consumer",
        )
        for hint in traced
    ]
    try:
        yield
    except BaseException as error:
        for span in spans:
            span.close(error)
        raise
    for span in spans:
        span.close()
