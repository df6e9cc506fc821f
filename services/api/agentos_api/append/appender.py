"""Group commit: the one place where events enter the store.

Concurrent submissions share transactions. One task drains a bounded queue without lingering: while the database writes
one batch, the next is already decided on top of it, so a lone caller waits for nothing and a hot stream is limited by
batches, not by its row lock.

Invariants, and what keeps each:

- Numbers have no gaps, hashes chain: both are given in memory from the head that the append statement then proves.
- One writer wins: the statement moves only heads that are as they were seen, else it aborts as a whole; the batch is
  then decided anew on heads that are locked.
- A failing submission fails alone: deciders raise before anything is numbered; if the database refuses a batch for what
  is in it, its submissions are tried one by one.
- An answer under an idempotency key is stored by the same transaction as its events.
- Nothing is acknowledged that was not committed. When the connection is lost in between, the outcome is unknown:
  callers get 503 and may retry under the same key.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple

import structlog

from agentos_api.append.draft import Draft
from agentos_api.append.store import Locked, Stale, Store, Unavailable
from agentos_api.append.stream_cache import Entry, StreamCache, fold
from agentos_api.append.submission import Answer, Part, Submission
from agentos_shared.domain.envelope import Event, Stream
from agentos_shared.domain.errors import Contradiction, TryLater
from agentos_shared.domain.ids import new_event_id
from agentos_shared.host import metrics, telemetry
from agentos_shared.host.failpoints import failpoint
from agentos_shared.host.lifecycle import CLOCK, RNG, Clock, Rng
from agentos_shared.store.reader import Head

log = structlog.get_logger()

#: Commands and bytes that may wait. At a thousand commands a second the last of them would wait for ten seconds.
MAX_WAITING: Final = 10_000
MAX_WAITING_BYTES: Final = 64 * 1024 * 1024
MAX_BATCH: Final = 256
MIN_SPLIT: Final = 16
MAX_BATCH_BYTES: Final = 4 * 1024 * 1024
MAX_TRIES: Final = 8

SECONDS: Final = metrics.histogram("append_seconds", "From submission to commit: the longest of each batch.")
BATCH: Final = metrics.histogram("append_batch_events", "Events of a group commit.", buckets=metrics.BATCH_BUCKETS)
APPENDED: Final = metrics.counter("append_events", "Events committed to the store.")
RETRIED: Final = metrics.counter("append_retries", "Batches that were decided anew on locked heads.")


class Committed:
    """An event that has just been committed, as the relay and the live hub take it.

    Args:
        position: the row of the outbox that it shares with all of its batch.
        traceparent: W3C, of the request that caused it.
    """

    __slots__ = ("_json", "event", "position", "traceparent")

    def __init__(self, event: Event, position: int, traceparent: str | None) -> None:
        self.event = event
        self.position = position
        self.traceparent = traceparent
        self._json: bytes | None = None

    @property
    def json(self) -> bytes:
        """The event's envelope: encoded once for everybody, when the first one asks."""
        if self._json is None:
            self._json = self.event.envelope_json()
        return self._json


Listener = Callable[[Sequence[Committed]], None]


class _Waiting(NamedTuple):
    submission: Submission
    future: asyncio.Future[Answer]
    size: int
    since: float
    span: telemetry.Span | None


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
            log.exception("decider_broke")
            _fail([waiting], error)
            return
        self.waiting.append(waiting)
        self.answers.append(answer)
        self.size += waiting.size


class Appender:
    """Appends to the event store for this process. It is the only user of its store.

    Args:
        max_waiting: commands that may wait; more are refused with 503.
    """

    def __init__(self, store: Store, *, clock: Clock = CLOCK, rng: Rng = RNG, max_waiting: int = MAX_WAITING) -> None:
        self._store = store
        self._clock = clock
        self._rng = rng
        self._max_waiting = max_waiting
        self._queue: deque[_Waiting] = deque()
        self._waiting = self._waiting_bytes = 0
        self._wake = asyncio.Event()
        self._drained = asyncio.Event()
        self._stopping = False
        self._cache = StreamCache()
        self._last_time: datetime | None = None
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        """Call ``listener`` after each commit, in the event loop, in commit order. It must neither block nor raise."""
        self._listeners.append(listener)

    @property
    def waiting(self) -> int:
        """Commands that wait for their batch."""
        return self._waiting

    async def run(self) -> None:
        """Drain the queue until :meth:`stop`."""
        self._drained.clear()
        try:
            while True:
                if self._queue:
                    await self._round()
                elif self._stopping:
                    return
                else:
                    self._wake.clear()
                    await self._wake.wait()
        finally:
            self._stopping = True
            _fail(self._take_all(), _stopping())
            self._drained.set()

    async def stop(self) -> None:
        """Refuse new submissions, commit what waits, and close the store."""
        self._stopping = True
        self._wake.set()
        await self._drained.wait()
        await self._store.close()

    def submit(self, submission: Submission, size: int = 0) -> "asyncio.Future[Answer]":
        """Queue a submission; the future gives its answer once it is committed (or refused).

        Args:
            size: bytes of the request, to bound a batch.

        Raises:
            TryLater: ``append_queue_full`` (back-pressure) or ``shutting_down``.
        """
        if self._stopping:
            raise _stopping()
        if self._waiting >= self._max_waiting or self._waiting_bytes >= MAX_WAITING_BYTES:
            raise TryLater("append_queue_full", "Too many writes are waiting; try again in a moment.")
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        span = telemetry.open_span("append", submission.traceparent) if telemetry.enabled() else None
        if span is not None:
            submission = submission._replace(traceparent=span.traceparent)
        self._queue.append(_Waiting(submission, future, size, time.perf_counter(), span))
        self._waiting += len(submission.parts)
        self._waiting_bytes += size
        self._wake.set()
        return future

    async def _round(self) -> None:
        """Commit what waits; while the database works, decide what comes meanwhile on top of it."""
        waiting = self._take()
        batch: _Batch | None
        try:
            batch = await self._decide(waiting)
        except Exception as refused:
            await self._recover(waiting, refused)
            return
        committed: tuple[_Batch, int | None] | None = None
        while batch is not None:
            try:
                stale: BaseException | None = await self._has_moved(batch.draft)
            except Exception as refused:
                stale = refused
            if stale is not None:
                if committed is not None:
                    self._finish(*committed)
                await self._recover(batch.waiting, stale)
                return
            failpoint("api.before_commit")
            statement = asyncio.create_task(self._store.append(batch.draft))
            statement.add_done_callback(lambda _: self._wake.set())
            if committed is not None:
                await self._clock.sleep(0)  # the database gets its next work before those who waited get theirs
                self._finish(*committed)
            ahead: _Batch | None = None
            while not statement.done():
                ahead = self._decide_ahead(batch, ahead)
                self._wake.clear()
                if not statement.done():
                    await self._wake.wait()
            error = statement.exception()
            if error is not None:
                if ahead is not None:  # it was decided on what did not happen
                    self._put_back(ahead.waiting)
                await self._recover(batch.waiting, error)
                return
            failpoint("api.after_commit")
            committed = batch, statement.result()
            batch = ahead
        if committed is not None:
            self._finish(*committed)

    async def _has_moved(self, draft: Draft) -> Stale | None:
        """Another process may have moved a stream since its head was remembered. An append would notice; a refusal, and
        a command that finds nothing to do, must look."""
        seen = {stream: head for stream, head in draft.unproven.items() if stream not in draft.before}
        if not seen:
            return None
        heads = await self._store.heads(set(seen))
        return None if all(heads.get(stream) == head for stream, head in seen.items()) else Stale()

    def _take(self) -> list[_Waiting]:
        """The next batch: half of a long queue, so that the other half is decided while the first is written."""
        limit = min(MAX_BATCH, max(MIN_SPLIT, len(self._queue) // 2))
        taken: list[_Waiting] = []
        parts = size = 0
        while self._queue and parts < limit and size < MAX_BATCH_BYTES:
            waiting = self._next()
            if not waiting.future.done():  # else its caller went away
                taken.append(waiting)
                parts += len(waiting.submission.parts)
                size += waiting.size
        return taken

    def _next(self) -> _Waiting:
        waiting = self._queue.popleft()
        self._waiting -= len(waiting.submission.parts)
        self._waiting_bytes -= waiting.size
        return waiting

    def _put_back(self, waiting: list[_Waiting]) -> None:
        self._queue.extendleft(reversed(waiting))
        self._waiting += sum(len(one.submission.parts) for one in waiting)
        self._waiting_bytes += sum(one.size for one in waiting)

    def _take_all(self) -> list[_Waiting]:
        return [self._next() for _ in range(len(self._queue))]

    async def _decide(self, waiting: list[_Waiting]) -> _Batch:
        """Decide on remembered heads, loading what nothing is remembered of."""
        parts = _parts(waiting)
        fresh = {part.stream for part in parts if part.fresh_stream}
        unknown = {stream for stream in _streams(parts) if self._cache.head(stream) is None} - fresh
        heads = await self._store.heads(unknown) if unknown else {}
        return self._decided(waiting, heads, await self._load(self._store, parts), {})

    def _decide_ahead(self, running: _Batch, ahead: _Batch | None) -> _Batch | None:
        """Decide what waits on top of a batch that is being written, as far as nothing must be read for it."""
        while self._queue:
            if ahead is None:
                ahead = _Batch(Draft(self._cache, {}, {}, self._time(), new_event_id, base=running.draft))
            elif len(ahead.draft.events) >= MAX_BATCH or ahead.size >= MAX_BATCH_BYTES:
                break
            if not ahead.draft.knows(self._queue[0].submission):
                break
            waiting = self._next()
            if not waiting.future.done():
                ahead.add(waiting)
        return ahead if ahead is not None and ahead.waiting else None

    async def _recover(self, waiting: list[_Waiting], error: BaseException) -> None:
        """A batch did not go through: try it on locked heads, its parts alone, or not at all."""
        self._cache.forget(_streams(_parts(waiting)))
        for attempt in range(MAX_TRIES):
            if isinstance(error, Unavailable):
                log.warning("append_failed", submissions=len(waiting), error=str(error))
                away = TryLater("store_unavailable", "The event store cannot be reached; retry with the same key.")
                # Those behind have waited as long, and would each wait for the same time-out again.
                _fail([*waiting, *self._take_all()], away)
                return
            if not isinstance(error, Stale):
                await self._apart(waiting, error)
                return
            await self._clock.sleep(self._rng.random() * min(0.25, 0.002 * 2**attempt))
            RETRIED.inc()
            try:
                async with self._store.locked() as store:
                    batch = await self._decide_locked(store, waiting)
                    position = await store.append(batch.draft)
            except Exception as again:
                error = again
            else:
                self._finish(batch, position)
                return
        _fail(waiting, TryLater("append_contention", "Other writers kept changing the same stream; try again."))

    async def _apart(self, waiting: list[_Waiting], error: BaseException) -> None:
        """Something in a batch is not to the database's liking: its neighbours must not suffer for it."""
        if len(waiting) > 1:
            for one in waiting:
                await self._recover([one], Stale())
            return
        log.error("append_refused", exc_info=error)
        _fail(waiting, error)

    async def _decide_locked(self, store: Locked, waiting: list[_Waiting]) -> _Batch:
        """Decide on heads that no other writer can move meanwhile; keys that were used before are answered again."""
        parts = _parts(waiting)
        heads = await store.heads(_streams(parts))
        known = await store.known([one.submission.key for one in waiting if one.submission.key is not None])
        replays: dict[int, Answer] = {}
        for place, one in enumerate(waiting):
            key = one.submission.key
            if key is not None and (before := known.get(key.identity)) is not None:
                same = before.fingerprint == key.fingerprint
                replays[place] = before.answer if same else one.submission.render([key_reused()])
        return self._decided(waiting, heads, await self._load(store, parts), replays)

    def _decided(
        self,
        waiting: list[_Waiting],
        heads: dict[Stream, Head],
        loaded: dict[str, tuple[Stream, Entry]],
        replays: dict[int, Answer],
    ) -> _Batch:
        batch = _Batch(Draft(self._cache, heads, loaded, self._time(), new_event_id))
        for place, one in enumerate(waiting):
            batch.add(one, replays.get(place))
        return batch

    async def _load(self, store: Store | Locked, parts: list[Part]) -> dict[str, tuple[Stream, Entry]]:
        """Entities that deciders read and the cache does not hold.

        Read after the heads: what is folded here may be newer than the head, which the append then refuses, never
        older.
        """
        missing = {
            entity_id: part.stream
            for part in parts
            for entity_id in part.reads
            if self._cache.entry(part.stream, entity_id) is None
        }
        missing |= {
            entity_id: stream
            for part in parts
            for stream, entity_id in part.leans
            if self._cache.entry(stream, entity_id) is None
        }
        if not missing:
            return {}
        found = await store.entities(missing)
        return {entity_id: (stream, fold(found.get(entity_id, ()))) for entity_id, stream in missing.items()}

    def _finish(self, batch: _Batch, position: int | None) -> None:
        batch.draft.settle()
        for waiting, answer in zip(batch.waiting, batch.answers, strict=True):
            if not waiting.future.done():
                waiting.future.set_result(answer)
            if waiting.span is not None:
                waiting.span.close()
        events = batch.draft.events
        if position is None:
            return
        SECONDS.observe(time.perf_counter() - batch.waiting[0].since)
        APPENDED.inc(len(events))
        BATCH.observe(len(events))
        committed = [
            Committed(event, position, traceparent)
            for event, traceparent in zip(events, batch.draft.traceparents, strict=True)
        ]
        for listener in self._listeners:
            listener(committed)

    def _time(self) -> datetime:
        """The wall clock, in whole milliseconds, never going back within this process."""
        now = self._clock.now()
        self._last_time = now if self._last_time is None else max(now, self._last_time)
        return self._last_time


def key_reused() -> Contradiction:
    """422 for an idempotency key that came with another body before."""
    return Contradiction(
        "idempotency_key_reused",
        "This Idempotency-Key was used with a different body; take a new key for a new request.",
    )


def _stopping() -> TryLater:
    return TryLater("shutting_down", "This process is stopping; try again.")


def _parts(waiting: Iterable[_Waiting]) -> list[Part]:
    return [part for one in waiting for part in one.submission.parts if isinstance(part, Part)]


def _streams(parts: Iterable[Part]) -> set[Stream]:
    return {stream for part in parts for stream in part.streams}


def _fail(waiting: Iterable[_Waiting], error: BaseException) -> None:
    for one in waiting:
        if one.span is not None:
            one.span.close(error)
        if not one.future.done():
            one.future.set_exception(error)
