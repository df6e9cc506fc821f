"""Building the projections anew beside the live ones, then switching in one transaction.

The shadow tables (``<table>__next``, with checkpoints of their own) are one more consumer that happens to be far
behind; it runs the same statements as the live one over the same ranges. So the result is equal row for row, and the
live tables serve readers and follow the store all the while.

The switch: hold back the live projector (a lock on its checkpoints that readers do not feel), apply what came
meanwhile, drop the live tables and give the shadows their names. Whatever kills the rebuild before that commits leaves
the live tables as they were; the next rebuild removes the remains.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final, Literal

import asyncpg
import structlog

from agentos_projector import tables
from agentos_projector.apply import Applier
from agentos_projector.projections import PROJECTIONS
from agentos_projector.projections.projection import Projection, fingerprint
from agentos_shared.bus.consumer import Consumer, Limits
from agentos_shared.contracts.positions import Range, StreamKey
from agentos_shared.host.failpoints import failpoint
from agentos_shared.host.lifecycle import CLOCK, RNG, Backoff, Clock, Rng
from agentos_shared.store.checkpoints import Checkpoints, ConnectionStore
from agentos_shared.store.reader import Connection

log = structlog.get_logger("agentos.projector")

NAME: Final = "projector_rebuild"
SUFFIX: Final = "__next"
WORKERS: Final = 2
CHUNK_EVENTS: Final = 20_000
#: The switch begins when the last pass found no more than this, or after some passes: a store that grows faster than we
#: read is caught up with under the lock.
TAIL_EVENTS: Final = 2000
MAX_PASSES: Final = 10
SWITCH_TRIES: Final = 40
#: Readers queue behind the switch while it waits for the live tables, so it waits shortly. If that does not help, then
#: for longer than ``deadlock_timeout`` (1 s), since only that makes an autovacuum of these tables step aside.
SHORT_TRIES: Final = 5
SHORT_WAIT_MS: Final = 100
LONG_WAIT_MS: Final = 1500
#: What passes by itself is waited for this long; a lost connection ends the rebuild, which can simply be started again.
PATIENCE_S: Final = 10.0
_FROM_DATABASE: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)

Phase = Literal["copy", "catch_up", "switch", "search_index", "done"]


class RebuildError(Exception):
    """The rebuild did not come to its end; the message says what that means."""


class RebuildRunning(RebuildError):
    """Another process rebuilds the projections right now."""


class SwitchBlocked(RebuildError):
    """Readers or long transactions did not let go of the live tables; nothing was changed."""


class RebuildInterrupted(RebuildError):
    """The database went away or refused a statement."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a rebuild is. ``total`` grows with the store; ``eta_s`` is None while there is no rate yet."""

    phase: Phase
    done: int
    total: int
    seconds: float

    @property
    def rate(self) -> float:
        """Events a second since the start."""
        return self.done / self.seconds if self.seconds > 0 else 0.0

    @property
    def eta_s(self) -> float | None:
        """Seconds until all events are applied, at this rate."""
        return None if self.rate == 0 else max(0, self.total - self.done) / self.rate


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A finished rebuild.

    Attributes:
        events: applied, of all streams.
        streams: with a checkpoint now.
        parked: streams that stopped at an event that cannot be applied.
        seconds_to_switch: from the start until readers saw the new tables.
        seconds: with the search indexes.
    """

    events: int
    streams: int
    parked: int
    seconds_to_switch: float
    seconds: float

    @property
    def rate(self) -> float:
        """Events a second until the switch."""
        return self.events / self.seconds_to_switch if self.seconds_to_switch > 0 else 0.0


class _Silent:
    """A bus for a consumer that nobody waits for; counts what moved."""

    attached = True

    def __init__(self, on_moved: Callable[[int], None]) -> None:
        self._on_moved = on_moved

    async def moved(self, done: Sequence[Range]) -> None:
        self._on_moved(sum(r.events for r in done))


class _Rebuild:
    def __init__(
        self,
        url: str,
        projections: Sequence[Projection],
        on_progress: Callable[[Progress], None] | None,
        clock: Clock,
        rng: Rng,
    ) -> None:
        self._url = url
        self._projections = tuple(projections)
        self._on_progress = on_progress
        self._clock = clock
        self._rng = rng
        self._started = clock.monotonic()
        self._phase: Phase = "copy"
        self._done = 0
        self._total = 0
        self.connected = False
        self.switched = False

    async def run(self) -> Rebuilt:
        async with self._session() as control:
            self.connected = True
            if not await control.fetchval(tables.SQL["try_hold_rebuild"]):
                raise RebuildRunning("another process rebuilds the projections right now")
            await self._drop_shadows(control)
            await self._create_shadows(control)
            await self._copy(control)
            streams, parked = await self._switch_patiently(control)
            self.switched = True
            to_switch = self._elapsed()
            self._enter("search_index")
            await tables.build_search_indexes(control, self._projections)
            self._enter("done")
            done = Rebuilt(self._done, streams, parked, to_switch, self._elapsed())
            log.info(
                "projections_rebuilt",
                events=done.events,
                streams=done.streams,
                parked=done.parked,
                seconds_to_switch=round(to_switch, 2),
                seconds=round(done.seconds, 2),
                events_per_s=round(done.rate),
            )
            return done

    # --- copy --------------------------------------------------------------------------------------------------------

    async def _copy(self, control: Connection) -> None:
        """Follow the store from nothing to nearly now, then make what readers need of the shadow tables."""
        async with self._session() as first, self._session() as second:
            workers = [self._consumer(connection) for connection in (first, second)]
            await self._pass(control, workers)
            for projection in self._projections:
                await control.execute(projection.ddl("indexes", SUFFIX))
                await control.execute(f"analyze {projection.table}{SUFFIX}")
            await control.execute(f"analyze proj_checkpoints{SUFFIX}")
            self._enter("catch_up")
            for _ in range(MAX_PASSES):
                if await self._pass(control, workers) <= TAIL_EVENTS:
                    return

    async def _pass(self, control: Connection, workers: Sequence[Consumer[Connection]]) -> int:
        """Apply everything that is behind, the streams spread over the workers. Returns how many events that was."""
        checkpoints = Checkpoints(tables.PREFIX, SUFFIX)
        before = self._done
        chunks: asyncio.Queue[list[Range] | None] = asyncio.Queue(maxsize=len(workers))

        async def read() -> None:
            after = StreamKey("", "")
            while page := await checkpoints.behind(control, after, 1000):
                self._total = max(self._total, self._done + sum(r.events for r in page))
                for chunk in _chunks(page):
                    await chunks.put(chunk)
                after = page[-1].key
            for _ in workers:
                await chunks.put(None)

        async def work(consumer: Consumer[Connection]) -> None:
            while (left := await chunks.get()) is not None:
                while left:
                    left = (await consumer.apply(left)).left

        self._total = await control.fetchval(tables.SQL["events"])
        async with asyncio.TaskGroup() as group:
            group.create_task(read())
            for worker in workers:
                group.create_task(work(worker))
        return self._done - before

    def _consumer(self, connection: Connection) -> Consumer[Connection]:
        return Consumer(
            NAME,
            store=ConnectionStore(connection, tables.PREFIX, SUFFIX),
            bus=_Silent(self._moved),
            clock=self._clock,
            rng=self._rng,
            effects=Applier(self._projections, SUFFIX),
            limits=Limits(batch_events=CHUNK_EVENTS, patience_s=PATIENCE_S),
        )

    # --- switch ------------------------------------------------------------------------------------------------------

    async def _switch_patiently(self, control: Connection) -> tuple[int, int]:
        self._enter("switch")
        backoff = Backoff(0.05, 1.0, rng=self._rng)
        for tried in range(SWITCH_TRIES):
            try:
                return await self._switch(control, SHORT_WAIT_MS if tried < SHORT_TRIES else LONG_WAIT_MS)
            except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
                log.debug("switch_waits", error=str(error))
                await self._clock.sleep(backoff.next_s())
        raise SwitchBlocked("the live tables stayed in use; nothing was changed, try again at a quieter time")

    async def _switch(self, control: Connection, wait_ms: int) -> tuple[int, int]:
        """One transaction. Returns the streams and the parked streams."""
        live = Checkpoints(tables.PREFIX)
        names = [live.checkpoints, live.parked, *(p.table for p in self._projections)]
        done = self._done
        try:
            async with control.transaction():
                await control.execute(tables.SQL["lock"])
                # Conflicts with the row locks of a projector's batch, and with no reader.
                await control.execute(f"set local lock_timeout = '2s'; lock table {live.checkpoints} in exclusive mode")
                await self._consumer(control).reconcile()
                failpoint("rebuild.before_switch")
                # In the order in which readers lock: checkpoints first.
                await control.execute(f"set local lock_timeout = {wait_ms}")
                present = await self._present(control, names)
                await control.execute(f"lock table {', '.join(present)} in access exclusive mode")
                await control.execute(f"drop table {', '.join(present)}")
                for name in names:
                    await control.execute(f"alter table {name}{SUFFIX} rename to {name}")
                for row in await control.fetch(tables.SQL["shadow_indexes"], SUFFIX):
                    name = row["relname"]
                    await control.execute(f"alter index {name} rename to {name.replace(SUFFIX, '')}")
                await control.execute(tables.SQL["write_fingerprint"], fingerprint(self._projections))
                streams: int = await control.fetchval(f"select count(*) from {live.checkpoints}")  # noqa: S608
                parked = await live.count_parked(control)
        except BaseException:
            self._done = done
            raise
        return streams, parked

    async def _present(self, control: Connection, names: Sequence[str]) -> list[str]:
        missing = {row["name"] for row in await control.fetch(tables.SQL["missing_tables"], list(names))}
        return [name for name in names if name not in missing]

    # --- shadows, sessions, progress ---------------------------------------------------------------------------------

    async def _drop_shadows(self, control: Connection) -> None:
        for row in await control.fetch(tables.SQL["shadow_tables"], SUFFIX):
            log.info("remains_of_a_rebuild_dropped", table=row["relname"])
            await control.execute(f"drop table {row['relname']}")

    async def _create_shadows(self, control: Connection) -> None:
        async with control.transaction():
            await control.execute(tables.SQL["lock"])
            await control.execute(tables.SQL["definition_table"])
            for suffix in ("", SUFFIX):  # the live ones are missing where no projector ever ran
                await Checkpoints(tables.PREFIX, suffix).create_tables(control)
            for projection in self._projections:
                await tables.create(control, projection, SUFFIX, indexes=False)

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[Connection]:
        connection = await tables.open_session(self._url, **tables.UNHURRIED, maintenance_work_mem="256MB")
        try:
            yield connection
        finally:
            with suppress(Exception):
                await connection.close(timeout=2)

    def _moved(self, events: int) -> None:
        self._done += events
        self._report()

    def _enter(self, phase: Phase) -> None:
        self._phase = phase
        self._report()

    def _report(self) -> None:
        if self._on_progress is not None:
            self._on_progress(Progress(self._phase, self._done, max(self._total, self._done), self._elapsed()))

    def _elapsed(self) -> float:
        return self._clock.monotonic() - self._started


def _chunks(page: Sequence[Range]) -> list[list[Range]]:
    """Whole streams, together about one transaction; a longer one is a chunk of its own and is cut as it is applied."""
    chunks: list[list[Range]] = []
    room = 0
    for r in page:
        if r.events > room:
            chunks.append([])
            room = CHUNK_EVENTS
        chunks[-1].append(Range(r.key, 0, r.upto))
        room -= r.events
    return chunks


async def rebuild(
    url: str,
    *,
    projections: Sequence[Projection] = PROJECTIONS,
    on_progress: Callable[[Progress], None] | None = None,
    clock: Clock = CLOCK,
    rng: Rng = RNG,
) -> Rebuilt:
    """Build the projections anew and switch to them.

    Args:
        url: Postgres, with the owner's role or the projector's.
        on_progress: called after each transaction and at each new phase; must not block.

    Raises:
        RebuildRunning: another process is at it.
        SwitchBlocked: the live tables stayed in use.
        RebuildInterrupted: the database went away or refused something on the way.
        OSError, asyncpg.PostgresError, SchemaMissing: as :func:`tables.open_session`, before anything was done.
    """
    work = _Rebuild(url, projections, on_progress, clock, rng)
    try:
        return await work.run()
    except (*_FROM_DATABASE, ExceptionGroup) as error:
        cause: BaseException = error
        while isinstance(cause, ExceptionGroup):  # of the workers, which fail together
            cause = cause.exceptions[0]
        if not work.connected or not isinstance(cause, _FROM_DATABASE):
            raise
        left = "the projector builds the search indexes" if work.switched else "the live tables are as they were"
        raise RebuildInterrupted(f"{type(cause).__name__}: {cause}; {left}") from cause
