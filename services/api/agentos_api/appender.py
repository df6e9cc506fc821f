"""Group commit: the one place where events enter the store.

Concurrent submissions share transactions. One task drains a bounded queue without lingering: while one transaction
runs, the next batch gathers, so a lone caller waits for nothing and a hot stream is limited by batches, not by its row
lock.

Invariants, and what keeps each:

- Numbers have no gaps, hashes chain: both are given in memory from the head that the append statement then proves.
- One writer wins: the statement moves only heads that are as they were seen, else it aborts as a whole (SQLSTATE
  ``AO001``); the batch is then decided anew on heads that are locked.
- A failing submission fails alone: deciders raise before anything is numbered; if the database refuses a batch for what
  is in it, its submissions are tried one by one.
- An answer under an idempotency key is stored by the same transaction as its events.
- Nothing is acknowledged that was not committed. When the connection is lost in between, the outcome is unknown:
  callers get 503 and may retry under the same key.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple, TypeAlias

import asyncpg
import structlog
from prometheus_client import Counter, Histogram

from agentos_shared.domain.envelope import Event, Stream
from agentos_shared.domain.errors import Contradiction, TryLater
from agentos_shared.domain.ids import new_event_id
from agentos_shared.store import statements
from agentos_shared.store.reader import Head, read_entities

from agentos_api.draft import Draft
from agentos_api.stream_cache import Entry, StreamCache, fold
from agentos_api.submission import Answer, Part, Submission

log = structlog.get_logger()
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
APPENDED: Final = Counter("agentos_append_events_total", "Events committed to the store")
BATCH: Final = Histogram(
    "agentos_append_batch_events", "Events a group commit carries", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
)
SQL: Final = statements.load("agentos_api", "appender.sql")

MAX_WAITING: Final = 10_000
MAX_BATCH: Final = 256
MIN_SPLIT: Final = 16
MAX_BATCH_BYTES: Final = 4 * 1024 * 1024
MAX_TRIES: Final = 8
CONNECT_TIMEOUT_S: Final = 2.0
STATEMENT_TIMEOUT_S: Final = 15.0

#: Lost races: a head that moved, a serialization failure, a deadlock, a key that another writer took. Decide anew.
_RACES: Final = frozenset({"AO001", "40001", "40P01", "23505"})
_STALE: Final = asyncpg.SerializationError("decide anew")
#: The server does not answer, is going away or cannot take more (class 08, 53, 57, 58).
_LOST: Final = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.PostgresSystemError,
)

#: For one connection that only runs the append: one generic plan, driven by the arrays in their (sorted) order.
_SERVER_SETTINGS: Final = {
    "application_name": "agentos-api appender",
    "plan_cache_mode": "force_generic_plan",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
    "jit": "off",
}


class Committed(NamedTuple):
    """An event that has just been committed, as the relay and the live hub take it."""

    event: Event
    json: bytes
    position: int
    traceparent: str | None


Listener = Callable[[Sequence[Committed]], None]


@dataclass(slots=True)
class _Waiting:
    submission: Submission
    future: asyncio.Future[Answer]
    size: int


@dataclass(slots=True)
class _Batch:
    """A draft, with whom it answers."""

    draft: Draft
    waiting: list[_Waiting] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    size: int = 0

    def add(self, waiting: _Waiting, replay: Answer | None = None) -> None:
        """Decide one more submission. A decider that breaks fails its own caller only."""
        try:
            answer = replay or self.draft.add(waiting.submission)
        except Exception as error:
            waiting.future.set_exception(error)
            return
        self.waiting.append(waiting)
        self.answers.append(answer)
        self.size += waiting.size


class Appender:
    """Appends to the event store for this process.

    Args:
        dsn: Postgres URL of the API's role.
        now: UTC time; truncated to milliseconds and never going back.
        rng: for the jitter of retries.
    """

    def __init__(
        self,
        dsn: str,
        *,
        now: Callable[[], datetime],
        rng: random.Random | None = None,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self._dsn = dsn
        self._now = now
        self._rng = rng or random.Random()
        self._max_waiting = max_waiting
        self._queue: deque[_Waiting] = deque()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._connection: Connection | None = None
        self._cache = StreamCache()
        self._last_time: datetime | None = None
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        """Call ``listener`` after each commit, in the event loop, in commit order. It must neither block nor raise."""
        self._listeners.append(listener)

    async def start(self) -> None:
        """Connect and begin to drain. Raises OSError or asyncpg.PostgresError when the database cannot be reached."""
        if self._task is None:
            self._stopping = False
            await self._connected()
            self._task = asyncio.create_task(self._drain(), name="appender")

    async def stop(self) -> None:
        """Commit what is waiting, then close. New submissions are refused from now on."""
        self._stopping = True
        self._wake.set()
        if self._task is not None:
            await self._task
            self._task = None
        if self._connection is not None:
            await self._connection.close(timeout=2.0)
            self._connection = None

    @property
    def waiting(self) -> int:
        """Submissions that wait for their batch."""
        return len(self._queue)

    def submit(self, submission: Submission, size: int = 0) -> "asyncio.Future[Answer]":
        """Queue a submission; the future gives its answer once it is committed (or refused).

        Args:
            size: bytes of the request, to bound a batch.

        Raises:
            TryLater: ``append_queue_full`` (back-pressure) or ``shutting_down``.
        """
        if self._stopping:
            raise TryLater("shutting_down", "This process is stopping; try again.")
        if len(self._queue) >= self._max_waiting:
            raise TryLater("append_queue_full", "Too many writes are waiting; try again in a moment.")
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(submission, future, size))
        self._wake.set()
        return future

    async def _drain(self) -> None:
        while True:
            if self._queue:
                await self._round()
            elif self._stopping:
                return
            else:
                self._wake.clear()
                await self._wake.wait()

    async def _round(self) -> None:
        """Commit what waits; while the database works, decide what comes meanwhile on top of it."""
        waiting = self._take()
        batch: _Batch | None
        try:
            batch = await self._decide(await self._connected(), waiting)
        except Exception as refused:
            await self._recover(waiting, refused)
            return
        while batch is not None:
            statement = asyncio.create_task(self._insert(batch.draft))
            statement.add_done_callback(lambda _: self._wake.set())
            ahead: _Batch | None = None
            while not statement.done():
                ahead = self._decide_ahead(batch, ahead)
                self._wake.clear()
                if not statement.done():
                    await self._wake.wait()
            error = statement.exception()
            if error is not None:
                if ahead is not None:  # it was decided on what did not happen
                    self._queue.extendleft(reversed(ahead.waiting))
                await self._recover(batch.waiting, error)
                return
            self._finish(batch, statement.result())
            batch = ahead

    def _take(self) -> list[_Waiting]:
        """What goes into the next batch: half of a long queue, so that the other half is decided while the first is
        written."""
        limit = min(MAX_BATCH, max(MIN_SPLIT, len(self._queue) // 2))
        taken: list[_Waiting] = []
        parts = size = 0
        while self._queue and parts < limit and size < MAX_BATCH_BYTES:
            waiting = self._queue.popleft()
            if not waiting.future.done():  # else its caller went away
                taken.append(waiting)
                parts += len(waiting.submission.parts)
                size += waiting.size
        return taken

    async def _decide(self, connection: Connection, waiting: list[_Waiting]) -> _Batch:
        """Decide on remembered heads, loading what nothing is remembered of."""
        parts = _parts(waiting)
        fresh = {part.stream for part in parts if part.fresh_stream}
        unknown = {part.stream for part in parts if self._cache.head(part.stream) is None} - fresh
        heads = {stream: Head(0, None) for stream in fresh}
        if unknown:
            heads |= await self._load_heads(connection, sorted(unknown), lock=False)
        loaded = await self._load_entities(connection, parts)
        batch = _Batch(Draft(self._cache, heads, loaded, self._time(), new_event_id))
        for one in waiting:
            batch.add(one)
        return batch

    def _decide_ahead(self, running: _Batch, ahead: _Batch | None) -> _Batch | None:
        """Decide what waits on top of a batch that is being written, as far as nothing must be read for it."""
        while self._queue:
            if ahead is None:
                ahead = _Batch(Draft(self._cache, {}, {}, self._time(), new_event_id, base=running.draft))
            if len(ahead.draft.events) >= MAX_BATCH or ahead.size >= MAX_BATCH_BYTES:
                break
            if not all(ahead.draft.knows(part) for part in _parts([self._queue[0]])):
                break
            waiting = self._queue.popleft()
            if not waiting.future.done():
                ahead.add(waiting)
        return ahead if ahead is not None and ahead.waiting else None

    async def _insert(self, draft: Draft) -> Sequence[int]:
        """Run the append statement; the rows of the outbox, in the order of the events."""
        if not draft.events and not draft.keys:
            return ()
        row = await (await self._connected()).fetchrow(SQL["append"], *_parameters(draft), timeout=STATEMENT_TIMEOUT_S)
        positions: Sequence[int] = row["positions"] if row is not None else ()
        return positions

    async def _recover(self, waiting: list[_Waiting], error: BaseException) -> None:
        """A batch did not go through: find out whether to try it on locked heads, apart, or not at all."""
        self._cache.forget({part.stream for part in _parts(waiting)})
        for attempt in range(MAX_TRIES):
            if isinstance(error, _LOST):
                self._lose(waiting, error)
                return
            if not isinstance(error, asyncpg.PostgresError) or error.sqlstate not in _RACES:
                await self._apart(waiting, error)
                return
            await asyncio.sleep(self._rng.uniform(0, min(0.25, 0.002 * 2**attempt)))
            try:
                connection = await self._connected()
                async with connection.transaction():
                    batch = await self._decide_locked(connection, waiting)
                    positions = await self._insert(batch.draft)
            except Exception as again:
                error = again
            else:
                self._finish(batch, positions)
                return
        _fail(waiting, TryLater("append_contention", "Other writers kept changing the same stream; try again."))

    async def _apart(self, waiting: list[_Waiting], error: BaseException) -> None:
        """Something in a batch is not to the database's liking: its neighbours must not suffer for it."""
        if len(waiting) > 1:
            for one in waiting:
                await self._recover([one], _STALE)
            return
        log.error(
            "append_refused", sqlstate=getattr(error, "sqlstate", None), error=type(error).__name__, exc_info=error
        )
        _fail(waiting, error if isinstance(error, Exception) else RuntimeError(type(error).__name__))

    async def _decide_locked(self, connection: Connection, waiting: list[_Waiting]) -> _Batch:
        """Decide on heads that no other writer can move meanwhile; keys that were used before are answered again."""
        parts = _parts(waiting)
        heads = await self._load_heads(connection, sorted({part.stream for part in parts}), lock=True)
        replays = await self._load_keys(connection, waiting)
        loaded = await self._load_entities(connection, parts)
        batch = _Batch(Draft(self._cache, heads, loaded, self._time(), new_event_id))
        for place, one in enumerate(waiting):
            batch.add(one, replays.get(place))
        return batch

    async def _load_heads(self, connection: Connection, streams: list[Stream], *, lock: bool) -> dict[Stream, Head]:
        rows = await connection.fetch(
            SQL["lock_heads" if lock else "heads"],
            [stream.type for stream in streams],
            [stream.id for stream in streams],
        )
        heads = {stream: Head(0, None) for stream in streams}
        for row in rows:
            heads[Stream(row["stream_type"], row["stream_id"])] = Head(row["seq"], row["hash"])
        return heads

    async def _load_entities(self, connection: Connection, parts: list[Part]) -> dict[str, tuple[Stream, Entry]]:
        """Entities that deciders read and the cache does not hold.

        Read after the heads: what is folded here may be newer than the head, which the append then refuses, never older.
        """
        missing = {
            entity_id: part.stream
            for part in parts
            for entity_id in part.reads
            if self._cache.entry(part.stream, entity_id) is None
        }
        if not missing:
            return {}
        found = await read_entities(connection, sorted(missing))
        return {entity_id: (stream, fold(found.get(entity_id, ()))) for entity_id, stream in missing.items()}

    async def _load_keys(self, connection: Connection, waiting: list[_Waiting]) -> dict[int, Answer]:
        """Answers for the submissions of a batch whose idempotency key was used before, by place in the batch."""
        keys = {place: key for place, one in enumerate(waiting) if (key := one.submission.key) is not None}
        if not keys:
            return {}
        columns = list(zip(*(key.identity for key in keys.values()), strict=True))
        await connection.execute(SQL["drop_old_keys"], *columns)
        rows = await connection.fetch(SQL["keys"], *columns)
        known = {(row["workspace_id"], row["kind"], row["key"]): row for row in rows}
        replays: dict[int, Answer] = {}
        for place, key in keys.items():
            row = known.get(key.identity)
            if row is None:
                continue
            if row["fingerprint"] == key.fingerprint:
                replays[place] = Answer(row["status"], row["answer"], replayed=True)
            else:
                replays[place] = waiting[place].submission.render([key_reused()])
        return replays

    def _finish(self, batch: _Batch, positions: Sequence[int]) -> None:
        batch.draft.settle()
        for waiting, answer in zip(batch.waiting, batch.answers, strict=True):
            if not waiting.future.done():
                waiting.future.set_result(answer)
        events = batch.draft.events
        if not events:
            return
        APPENDED.inc(len(events))
        BATCH.observe(len(events))
        committed = [
            Committed(event, event.envelope_json(), position, traceparent)
            for event, position, traceparent in zip(events, positions, batch.draft.traceparents, strict=True)
        ]
        for listener in self._listeners:
            listener(committed)

    def _time(self) -> datetime:
        now = self._now()
        now = now.replace(microsecond=now.microsecond // 1000 * 1000)
        self._last_time = now if self._last_time is None else max(now, self._last_time)
        return self._last_time

    async def _connected(self) -> Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(
                self._dsn,
                timeout=CONNECT_TIMEOUT_S,
                command_timeout=STATEMENT_TIMEOUT_S,
                server_settings=_SERVER_SETTINGS,
            )
            log.info("appender connected")
        return self._connection

    def _lose(self, batch: list[_Waiting], error: BaseException) -> None:
        """The database is away, or did not answer: what became of the batch is unknown."""
        log.warning("append failed: the store cannot be reached", submissions=len(batch), error=repr(error))
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
        _fail(batch, TryLater("store_unavailable", "The event store cannot be reached; retry with the same key."))


def key_reused() -> Contradiction:
    """422 for an idempotency key that came with another body before."""
    return Contradiction(
        "idempotency_key_reused",
        "This Idempotency-Key was used with a different body; take a new key for a new request.",
    )


def _parts(waiting: Iterable[_Waiting]) -> list[Part]:
    return [part for one in waiting for part in one.submission.parts if isinstance(part, Part)]


def _parameters(draft: Draft) -> list[Sequence[object]]:
    """The arrays of the append statement, heads in sorted order."""
    moved: list[tuple[object, ...]] = []
    made: list[tuple[object, ...]] = []
    for stream in sorted(draft.moved, key=str):
        before, after = draft.before[stream], draft.moved[stream]
        if before.seq:
            moved.append((stream.type, stream.id, before.seq, after.seq, after.hash))
        else:
            made.append((stream.type, stream.id, draft.workspaces[stream], after.seq, after.hash))
    kept = sorted(
        (*key.identity, key.fingerprint, event_id, answer.status, answer.body) for key, answer, event_id in draft.keys
    )
    return [
        *_columns(moved, 5),
        *_columns(made, 5),
        *_columns(kept, 7),
        draft.events,
        [event.stream_type for event in draft.events],
        [event.stream_id for event in draft.events],
        [event.stream_seq for event in draft.events],
        draft.traceparents,
    ]


def _columns(rows: Sequence[Sequence[object]], width: int) -> Sequence[Sequence[object]]:
    return list(zip(*rows, strict=True)) if rows else [()] * width


def _fail(batch: list[_Waiting], error: Exception) -> None:
    for waiting in batch:
        if not waiting.future.done():
            waiting.future.set_exception(error)
