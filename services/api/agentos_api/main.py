"""The API process: wiring, start and stop."""

import asyncio
import contextlib
import gc
import sys
from collections.abc import Iterator, Sequence
from functools import partial

import asyncpg
import orjson
import uvicorn
from nats.aio.client import Client

from agentos_api import nats_connection
from agentos_api.append.appender import Appender
from agentos_api.append.locator import Locator
from agentos_api.append.store import PostgresStore, sweep_old_keys
from agentos_api.approval_batch import Batches
from agentos_api.approval_deliveries import Deliveries
from agentos_api.approval_preview import Previews
from agentos_api.approval_timers import ApprovalTimers
from agentos_api.authzen import AuthZen
from agentos_api.command_type import Reader
from agentos_api.command_types import COMMAND_TYPES
from agentos_api.commands import Commands
from agentos_api.disk import DiskWatch
from agentos_api.egress_desk import EgressDesk
from agentos_api.evidence_ingest import Ingest
from agentos_api.gatekeeper import Gatekeeper
from agentos_api.http import app
from agentos_api.http.access import Access
from agentos_api.http.protocol import Protocol
from agentos_api.http.read_scope import ReadScope
from agentos_api.learning import Guard
from agentos_api.leases import LeaseDesk
from agentos_api.live.decisions import Decisions
from agentos_api.live.history import StoreHistory
from agentos_api.live.hub import Hub
from agentos_api.nats_commands import NatsCommands
from agentos_api.notifications import Notifications
from agentos_api.reads.together import Together
from agentos_api.reads.waiting import Projected
from agentos_api.registry.bearers import Bearers
from agentos_api.registry.registry import Registry
from agentos_api.relay.relay import Relay
from agentos_api.run_pings import RunPings
from agentos_api.secrets_desk import SecretsDesk
from agentos_api.service_commands import ServiceCommands
from agentos_api.services import Services
from agentos_api.settings import ApiSettings, session_environment
from agentos_api.simulations import Simulations
from agentos_shared.contracts import subjects
from agentos_shared.domain.evidence import RunEvent
from agentos_shared.host import lifecycle, logging, metrics, telemetry
from agentos_shared.host.health import Health, Unwell
from agentos_shared.host.settings import load, postgres_address
from agentos_shared.store import migrate, run_events
from agentos_shared.store.blobs import Blobs
from agentos_shared.store.reader import Connection
from agentos_shared.tokens.key_file import KeyRing

POOL_SIZE = 8
DRAIN_S = 3
SLOW_HEADS_S = 5.0


def main() -> None:
    """Run until SIGTERM; exit code 3 when Postgres or NATS cannot be reached."""
    sys.exit(lifecycle.run_service("api", serve))


async def serve(shutdown: lifecycle.Shutdown) -> None:
    """Wire the parts, serve until the wish to stop, and drain."""
    settings = load(ApiSettings)
    logging.configure("api", settings)
    telemetry.start("api")
    dsn = settings.postgres_url.get_secret_value()
    pool = await lifecycle.connect(
        f"Postgres at {postgres_address(settings.postgres_url)}",
        lambda: _open_pool(dsn),
        give_up_on=(migrate.UnsafeSettings,),
    )
    tasks = lifecycle.Tasks()
    nats = Client()
    # Beside: while NATS is away writes go on, and what is to be published waits in the outbox.
    tasks.spawn("nats", lambda: _connect(settings, nats))
    store = PostgresStore(dsn)
    await store.connect()
    appender = Appender(store)
    metrics.gauge_of("append_waiting", "Submissions that wait for their batch.", lambda: appender.waiting)
    relay = Relay(dsn, nats)
    hub = Hub(StoreHistory(pool), nats)
    projected = Projected()
    decisions, deliveries = Decisions(nats), Deliveries()
    gatekeeper = Gatekeeper(nats, settings.policy_enforcement_mode)
    services = Services(
        settings, pool, nats, appender, relay, hub, projected, decisions, gatekeeper, deliveries, _health(pool, nats)
    )
    locator = Locator(pool)
    disk = DiskWatch(settings.disk_path, int(settings.disk_low_mb * 1024 * 1024))
    blobs = Blobs(settings.blob_dir)
    key = None if settings.token_key_file is None else KeyRing(settings.token_key_file)
    reader = Reader(pool, blobs, _ended_runs(pool), settings.kill_switch_external_write, key, gatekeeper)
    commands = Commands(appender, locator, COMMAND_TYPES, disk.require_space, reader, gatekeeper)
    registry = Registry(pool, nats)
    access = Access(settings, _local_token(settings), registry, Bearers(registry, key))
    appender.listen(hub.on_commit)
    appender.listen(relay.on_commit)
    appender.listen(locator.on_commit)
    appender.listen(registry.on_commit)
    appender.listen(gatekeeper.on_commit)
    appender.listen(decisions.on_commit)
    appender.listen(commands.on_commit)
    egress_desk = EgressDesk(nats, pool, commands, decisions)
    appender.listen(egress_desk.on_commit)
    timers = ApprovalTimers(pool, commands)
    appender.listen(timers.on_commit)
    notifications = Notifications(
        pool, commands, settings.notifications_file, f"http://{settings.host}:{settings.port}", session_environment()
    )
    appender.listen(notifications.on_commit)
    guard = Guard(commands)
    appender.listen(guard.on_commit)
    pings = RunPings(nats)
    appender.listen(pings.on_commit)
    desk = LeaseDesk(nats, access, commands)
    await projected.subscribe(nats)
    calls = (
        *desk.calls,
        Ingest(access, commands).call,
        Batches(commands).call,
        Previews(pool, commands).call,
        *AuthZen(commands).calls,
        Simulations(nats).call,
        egress_desk.call,
        *SecretsDesk(nats, commands, enforced=settings.auth == "enforced").calls,
    )
    answering = (NatsCommands(nats, commands, access, calls), ServiceCommands(nats, commands, registry, access))
    parts = lifecycle.Parts(relay, hub, registry, decisions, desk, *answering)
    await parts.start()
    server = _Server(
        uvicorn.Config(
            app.build(services, commands, access, ReadScope(pool, locator), calls),
            host=settings.host,
            port=settings.port,
            http=Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=True,
            proxy_headers=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=DRAIN_S,
        )
    )
    # What was made up to here lives as long as the process, and requests leave few cycles behind: without this the
    # collector would walk all of it hundreds of times a second.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    try:
        tasks.spawn("appender", appender.run)
        http = tasks.spawn("http", server.serve)
        tasks.spawn("approval timers", timers.run, on_crash="restart")
        tasks.spawn("deliveries", lambda: deliveries.run(commands), on_crash="restart")
        tasks.spawn("notifications", notifications.run, on_crash="restart")
        tasks.spawn("guard", guard.run, on_crash="restart")
        tasks.spawn("run pings", pings.run, on_crash="restart")
        tasks.spawn("slow heads", server.close_slow_heads)
        tasks.spawn("disk", disk.run, on_crash="restart")
        tasks.spawn("old keys", lambda: sweep_old_keys(pool), on_crash="restart")
        await shutdown.wait_or_crash(tasks)
        services.health.drain()
        decisions.drain()
        await hub.stop()  # streams end with `gone`, so that the server has nothing left to wait for
        desk.drain()
        server.should_exit = True
        await asyncio.wait([http], timeout=DRAIN_S + 1)
        await appender.stop()
    finally:
        await parts.stop()
        await tasks.stop()
        await nats.close()
        await pool.close()


class _Server(uvicorn.Server):
    """uvicorn that leaves the signals to us."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def close_slow_heads(self) -> None:
        """Every few seconds, drop connections that hold on without asking anything."""
        while True:
            await lifecycle.CLOCK.sleep(SLOW_HEADS_S)
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                if isinstance(connection, Protocol):
                    connection.close_if_slow(now)


async def _open_pool(dsn: str) -> "asyncpg.Pool[asyncpg.Record]":
    async def no_reset(_: Connection) -> None:
        """Nothing here changes a session for good, so that a release need not cost a round trip."""

    pool = await asyncpg.create_pool(
        dsn,
        min_size=1,
        max_size=POOL_SIZE,
        reset=no_reset,
        command_timeout=10,
        timeout=2,
        # How many rows a filter passes differs by orders of magnitude between one thread or principal and the next: a
        # plan made for the average one scans and sorts everything of a busy one (63 ms instead of 0.5).
        server_settings={"application_name": "agentos-api", "plan_cache_mode": "force_custom_plan"},
    )
    try:
        async with pool.acquire() as connection:
            await migrate.check_schema(connection)
            await migrate.check_durability(connection)
    except BaseException:
        await pool.close()
        raise
    return pool


def _ended_runs(pool: "asyncpg.Pool[asyncpg.Record]") -> Together[str, list[RunEvent]]:
    async def read(run_ids: Sequence[str]) -> dict[str, list[RunEvent]]:
        async with pool.acquire() as connection:
            return await run_events.read_ended_runs(connection, run_ids)

    return Together(read)


async def _connect(settings: ApiSettings, client: Client) -> None:
    await nats_connection.connect(settings.nats_url.get_secret_value(), client=client)


def _health(pool: "asyncpg.Pool[asyncpg.Record]", nats: Client) -> Health:
    async def nats_answers() -> None:
        if not nats.is_connected:
            raise Unwell("not connected; writes go on, and the outbox keeps what is to be published")
        await nats.flush(timeout=1)

    async def answers(service: str) -> None:
        reply = await nats.request(subjects.health(service), timeout=1)
        report = orjson.loads(reply.data)
        if not report["ok"]:
            raise Unwell(report["detail"] or "not ready")

    health = Health("api")
    health.add("postgres", lambda: pool.fetchval("select 1"))
    health.add("nats", nats_answers)
    for service in ("projector", "engine", "policy", "gateway"):
        health.add(service, partial(answers, service), timeout_s=1.5)
    return health


def _local_token(settings: ApiSettings) -> str | None:
    if settings.local_token_file is None or not settings.local_token_file.exists():
        return None
    return settings.local_token_file.read_text(encoding="ascii").strip() or None
