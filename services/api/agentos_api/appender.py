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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
MAX_BATCH_BYTES: Final = 4 * 1024 * 1024
MAX_TRIES: Final = 8
CONNECT_TIMEOUT_S: Final = 2.0
STATEMENT_TIMEOUT_S: Final = 15.0

#: Lost races: a head that moved, a serialization failure, a deadlock, a key that another writer took. Decide anew.
_RACES: Final = frozenset({"AO001", "40001", "40P01", "23505"})
#: The server is going away, or cannot take more: class 08, 53, 57, 58.
_LOST: Final = (
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


@dataclass(frozen=True, slots=True)
class _Done:
    draft: Draft
    answers: Sequence[Answer]
    positions: Sequence[int]


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
            if not self._queue:
                if self._stopping:
                    return
                self._wake.clear()
                await self._wake.wait()
                continue
            batch = self._take()
            try:
                await self._commit(batch)
            except Exception as error:
                log.exception("append failed", submissions=len(batch))
                _fail(batch, error)

    def _take(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        parts = size = 0
        while self._queue and parts < MAX_BATCH and size < MAX_BATCH_BYTES:
            waiting = self._queue.popleft()
            if waiting.future.done():  # its caller went away
                continue
            batch.append(waiting)
            parts += len(waiting.submission.parts)
            size += waiting.size
        return batch

    async def _commit(self, batch: list[_Waiting]) -> None:
        """Commit a batch: on remembered heads first, then on locked ones until it holds."""
        if not batch:
            return
        streams = {stream for waiting in batch for stream in waiting.submission.streams()}
        for attempt in range(MAX_TRIES):
            try:
                connection = await self._connected()
                if attempt == 0:
                    done = await self._attempt(connection, batch, streams, locked=False)
                else:
                    async with connection.transaction():
                        done = await self._attempt(connection, batch, streams, locked=True)
            except asyncpg.PostgresError as error:
                self._cache.forget(streams)
                if error.sqlstate in _RACES:
                    await asyncio.sleep(self._rng.uniform(0, min(0.25, 0.002 * 2**attempt)))
                    continue
                if isinstance(error, _LOST):
                    self._lose(batch, error)
                elif len(batch) > 1:
                    for waiting in batch:
                        await self._commit([waiting])
                else:
                    log.error("append refused by the database", sqlstate=error.sqlstate, error=type(error).__name__)
                    _fail(batch, error)
                return
            except (OSError, TimeoutError, asyncpg.InterfaceError) as error:
                self._cache.forget(streams)
                self._lose(batch, error)
                return
            self._finish(batch, done)
            return
        _fail(batch, TryLater("append_contention", "Other writers kept changing the same stream; try again."))

    async def _attempt(
        self, connection: Connection, batch: list[_Waiting], streams: set[Stream], *, locked: bool
    ) -> _Done:
        """Load what is missing, decide, and run the append. Changes nothing in memory."""
        replays: dict[int, Answer] = {}
        if locked:
            heads = await self._load_heads(connection, sorted(streams, key=str), lock=True)
            replays = await self._load_keys(connection, batch)
        else:
            unknown = [stream for stream in streams if self._cache.head(stream) is None]
            fresh = _fresh(batch)
            heads = {stream: Head(0, None) for stream in fresh}
            missing = [stream for stream in unknown if stream not in fresh]
            if missing:
                heads |= await self._load_heads(connection, missing, lock=False)
        loaded = await self._load_entities(connection, batch)
        draft = Draft(self._cache, heads, loaded, self._time(), new_event_id)
        answers = [
            replays[place] if place in replays else draft.add(waiting.submission) for place, waiting in enumerate(batch)
        ]
        positions: Sequence[int] = ()
        if draft.events or draft.keys:
            row = await connection.fetchrow(SQL["append"], *_parameters(draft), timeout=STATEMENT_TIMEOUT_S)
            positions = row["positions"] if row is not None else ()
        return _Done(draft, answers, positions)

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

    async def _load_entities(
        self, connection: Connection, batch: list[_Waiting]
    ) -> dict[str, tuple[Stream, Entry]]:
        """Entities that deciders read and the cache does not hold.

        Read after the heads: what is folded here may be newer than the head, which the append then refuses, never older.
        """
        missing = {
            entity_id: part.stream
            for waiting in batch
            for part in waiting.submission.parts
            if isinstance(part, Part)
            for entity_id in part.reads
            if self._cache.entry(part.stream, entity_id) is None
        }
        if not missing:
            return {}
        found = await read_entities(connection, sorted(missing))
        return {entity_id: (stream, fold(found.get(entity_id, ()))) for entity_id, stream in missing.items()}

    async def _load_keys(self, connection: Connection, batch: list[_Waiting]) -> dict[int, Answer]:
        """Answers for the submissions of a batch whose idempotency key was used before, by place in the batch."""
        keys = {place: key for place, waiting in enumerate(batch) if (key := waiting.submission.key) is not None}
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
                replays[place] = batch[place].submission.render([key_reused()])
        return replays

    def _finish(self, batch: list[_Waiting], done: _Done) -> None:
        done.draft.settle()
        for waiting, answer in zip(batch, done.answers, strict=True):
            if not waiting.future.done():
                waiting.future.set_result(answer)
        events = done.draft.events
        if not events:
            return
        APPENDED.inc(len(events))
        BATCH.observe(len(events))
        committed = [
            Committed(event, event.envelope_json(), position, traceparent)
            for event, position, traceparent in zip(events, done.positions, done.draft.traceparents, strict=True)
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

    def _lose(self, batch: list[_Waiting], error: Exception) -> None:
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


def _fresh(batch: list[_Waiting]) -> set[Stream]:
    return {
        part.stream
        for waiting in batch
        for part in waiting.submission.parts
        if isinstance(part, Part) and part.fresh_stream
    }


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
