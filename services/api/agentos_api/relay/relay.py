"""The relay: what was committed to the outbox reaches JetStream, at least once and in stream order.

Of all API processes one leads, by an advisory lock that its own connection to Postgres holds: when the process dies, so
does the connection, and the next one leads within half a second. The lock only spares work. What keeps a deposed leader
from doing harm is JetStream itself (see :mod:`agentos_api.relay.pipeline`).

A leader gets its own process's commits from memory. Those of other processes it finds in the table, woken by a ping
that each non-leader sends a few milliseconds after a commit, and by a slow poll.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

import asyncpg
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from agentos_api.append.appender import Committed
from agentos_api.relay.jetstream import DEFAULT_MAX_BYTES, EventsStream
from agentos_api.relay.leader import Leader
from agentos_api.relay.outbox import AGE_SECONDS, DEPTH, SQL, Connection, Memory
from agentos_shared.contracts import subjects
from agentos_shared.host import metrics
from agentos_shared.host.lifecycle import CLOCK, RNG, Backoff, Clock, Rng, Tasks

log = structlog.get_logger()

LEADS: Final = metrics.gauge("relay_leader", "1 while this process leads the relay.")

#: "AgentOS", "relay": the same number in every process of one database.
LOCK: Final = 0x4147_5245_4C41_5901
CONNECT_TIMEOUT_S: Final = 2.0
STATEMENT_TIMEOUT_S: Final = 10.0
CAMPAIGN_S: Final = 0.4
PING_AFTER_S: Final = 0.005
#: A lead that lasted longer than this was no failure from the start.
STEADY_S: Final = 5.0

_SERVER_SETTINGS: Final = {
    "application_name": "agentos-api relay",
    # Deletes from the outbox need not survive a crash: what is deleted twice was published once.
    "synchronous_commit": "off",
    # A leader whose machine vanished holds its lock until the server notices: let that be seconds.
    "tcp_keepalives_idle": "1",
    "tcp_keepalives_interval": "1",
    "tcp_keepalives_count": "2",
    "tcp_user_timeout": "3000",
    "jit": "off",
}


class Relay:
    """The relay of this process; it leads, or stands by.

    Args:
        dsn: Postgres URL of the API's role; the relay keeps one connection of its own.
        nats: connected, and reconnecting for ever.
        max_bytes: size at which JetStream discards the oldest messages.
    """

    def __init__(
        self,
        dsn: str,
        nats: Client,
        *,
        clock: Clock = CLOCK,
        rng: Rng = RNG,
        max_bytes: int = DEFAULT_MAX_BYTES,
    ) -> None:
        self._dsn = dsn
        self._nats = nats
        self._clock = clock
        self._rng = rng
        self._stream = EventsStream(nats, max_bytes=max_bytes, clock=clock)
        self._memory = Memory()
        self._wake = asyncio.Event()
        self._leader: Leader | None = None
        self._pings: Subscription | None = None
        self._ping_due: asyncio.TimerHandle | None = None
        self._ping_tasks: set[asyncio.Task[None]] = set()
        self._tasks: Tasks | None = None

    @property
    def leading(self) -> bool:
        """Whether this process leads."""
        return self._leader is not None

    async def start(self) -> None:
        """Begin to campaign. Idempotent; needs NATS and Postgres only later."""
        if self._tasks is None:
            self._tasks = Tasks(clock=self._clock, rng=self._rng)
            self._pings = await self._nats.subscribe(subjects.PING_OUTBOX, cb=self._on_ping)
            self._tasks.spawn("relay", self._run, on_crash="restart")

    async def stop(self) -> None:
        """Give up the lead. What is not published stays in the outbox for the next leader. Idempotent."""
        tasks, self._tasks = self._tasks, None
        if tasks is None:
            return
        await tasks.stop()
        if self._ping_due is not None:
            self._ping_due.cancel()
            self._ping_due = None
        pings, self._pings = self._pings, None
        if pings is not None and self._nats.is_connected:
            try:
                await pings.unsubscribe()
            except NatsError as error:
                log.debug("relay_unsubscribe_failed", error=str(error))

    def on_commit(self, batch: Sequence[Committed]) -> None:
        """Take what this process has just committed. A leader publishes it; another process tells the leader."""
        leader = self._leader
        if leader is not None:
            if not self._memory.offer(batch):
                leader.read_table = True
            self._wake.set()
        elif self._ping_due is None and self._tasks is not None:
            self._ping_due = asyncio.get_running_loop().call_later(PING_AFTER_S, self._ping)

    def _ping(self) -> None:
        self._ping_due = None
        if self._nats.is_connected:
            task = asyncio.get_running_loop().create_task(self._send_ping())
            self._ping_tasks.add(task)
            task.add_done_callback(self._ping_tasks.discard)

    async def _send_ping(self) -> None:
        try:
            await self._nats.publish(subjects.PING_OUTBOX)
        except NatsError as error:  # the leader's poll finds it
            log.debug("outbox_ping_failed", error=str(error))

    async def _on_ping(self, _: Msg) -> None:
        if self._leader is not None:
            self._leader.read_table = True
            self._wake.set()

    async def _run(self) -> None:
        backoff = Backoff(0.05, 1.0, rng=self._rng)
        while True:
            connection: Connection | None = None
            try:
                connection = await asyncpg.connect(
                    self._dsn,
                    timeout=CONNECT_TIMEOUT_S,
                    command_timeout=STATEMENT_TIMEOUT_S,
                    server_settings=_SERVER_SETTINGS,
                )
                await self._campaign(connection)
                started = self._clock.monotonic()
                try:
                    await self._lead(connection)
                finally:
                    if self._clock.monotonic() - started > STEADY_S:
                        backoff.reset()  # what fails at once each time must not be tried in a tight loop
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
                log.warning("relay_lost_postgres", error=f"{type(error).__name__}: {error}")
            finally:
                if connection is not None:
                    connection.terminate()  # releases the lock; a polite close could wait for a server that is gone
            await self._clock.sleep(backoff.next_s())

    async def _campaign(self, connection: Connection) -> None:
        while not await connection.fetchval(SQL["try_to_lead"], LOCK):
            await self._clock.sleep(CAMPAIGN_S * (0.5 + 0.5 * self._rng.random()))

    async def _lead(self, connection: Connection) -> None:
        log.info("relay_leads")
        self._memory.clear()
        self._leader = Leader(
            connection, self._nats, self._stream, self._memory, self._wake, clock=self._clock, rng=self._rng
        )
        connection.add_termination_listener(lambda _: self._wake.set())
        LEADS.set(1)
        try:
            await self._leader.run()
        finally:
            self._leader = None
            LEADS.set(0)
            DEPTH.set(0)
            AGE_SECONDS.set(0)
            self._memory.clear()
