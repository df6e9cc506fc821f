"""Verification of the hash chain over the store: does it still say what was appended?

Memory is bounded by :data:`PREFETCH` events, whatever the length of a stream; about 60,000 events a second.
"""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from agentos_shared.domain.envelope import Stream
from agentos_shared.store import statements
from agentos_shared.store.chain import ChainCheck, Mismatch, Verdict
from agentos_shared.store.reader import Connection, Head, event_of

SQL: Final = statements.load("agentos_shared.store", "audit.sql")

#: Events fetched at a time: enough to hide the round trip, few enough for events of the largest size.
PREFETCH: Final = 200
#: Streams up to this length, by their heads, are checked many at a time.
SHORT: Final = 500
#: Short streams in one statement, counted in events: few enough for Postgres to sort in memory.
BUNDLE: Final = 2_000
#: Bad streams that a report keeps with their details; all are counted.
KEPT: Final = 1_000
_NO_LIMIT: Final = 2**62

#: Called now and then with the events checked so far and the estimate of all.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class StreamHead:
    """A stream as its head tells it; without a head, ``head`` and ``workspace_id`` are None."""

    stream: Stream
    head: Head | None
    workspace_id: str | None

    @property
    def seq(self) -> int:
        return 0 if self.head is None else self.head.seq


@dataclass(slots=True)
class StoreReport:
    """What was found out about a whole store.

    Attributes:
        bad: verdicts of streams that do not hold, in order of their names; at most :data:`KEPT` of ``bad_streams``.
        weak_guards: what should keep the store append-only and does not, as sentences.
    """

    streams: int = 0
    events: int = 0
    redacted: int = 0
    bad_streams: int = 0
    bad: list[Verdict] = field(default_factory=list)
    weak_guards: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def valid(self) -> bool:
        return self.bad_streams == 0 and not self.weak_guards

    def add(self, verdict: Verdict) -> None:
        self.streams += 1
        self.events += verdict.checked
        self.redacted += verdict.redacted
        if not verdict.valid:
            self.bad_streams += 1
            if len(self.bad) < KEPT:
                self.bad.append(verdict)

    def add_unkept(self, verdict: Verdict) -> None:
        """A stream, counted already, that is not what it was at the last verification."""
        if any((bad.stream_type, bad.stream_id) == (verdict.stream_type, verdict.stream_id) for bad in self.bad):
            return
        self.bad_streams += 1
        if len(self.bad) < KEPT:
            self.bad.append(verdict)

    def json(self) -> dict[str, Any]:
        """The members as a JSON object."""
        return {
            "valid": self.valid,
            "streams": self.streams,
            "events": self.events,
            "redacted": self.redacted,
            "bad_streams": self.bad_streams,
            "bad": [verdict.json() for verdict in self.bad],
            "weak_guards": self.weak_guards,
            "seconds": round(self.seconds, 3),
        }


async def verify_stream(
    connection: Connection, stream: Stream, *, after: int = 0, limit: int = _NO_LIMIT, progress: Progress | None = None
) -> Verdict:
    """Check one stream in one snapshot, from the event behind position ``after``, at most ``limit`` events.

    The event at ``after`` is taken as good. The head is compared when the end is reached. A stream that nobody ever
    appended to is valid, with nothing checked.

    Args:
        connection: not in a transaction.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        row = await connection.fetchrow(SQL["head"], stream.type, stream.id)
        head = StreamHead(stream, None, None) if row is None else _stream_head(row)
        return await _check_long(connection, head, after, limit, progress)


async def verify_store(
    connection: Connection,
    *,
    workspace_id: str | None = None,
    progress: Progress | None = None,
    checkpoints: bool = False,
) -> StoreReport:
    """Check every stream, as the store stands at one moment.

    Args:
        checkpoints: also hold the store against the ends that the last such call found good, and note the present ones
            when everything holds (``evt_checkpoints``; the owner may).
        connection: not in a transaction; of the owner, or of any role that may read ``evt_*``.
        workspace_id: only the streams whose head names it.
    """
    started = time.monotonic()
    report = StoreReport()
    async with connection.transaction(isolation="repeatable_read", readonly=not checkpoints):
        report.weak_guards = [row["problem"] for row in await connection.fetch(SQL["weak_guards"])]
        total = await connection.fetchval(SQL["size"], workspace_id)

        def tell(checked: int, _total: int) -> None:
            if progress is not None:
                progress(report.events + checked, total)

        async for bundle in _bundles(connection, workspace_id):
            if len(bundle) == 1:
                verdicts = [await _check_long(connection, bundle[0], 0, _NO_LIMIT, tell)]
            else:
                verdicts = await _check_short(connection, bundle)
            for verdict in verdicts:
                report.add(verdict)
            tell(0, total)
        if checkpoints:
            await _hold_against_checkpoints(connection, report)
    report.seconds = time.monotonic() - started
    return report


async def _hold_against_checkpoints(connection: Connection, report: StoreReport) -> None:
    for row in await connection.fetch(SQL["unkept_checkpoints"]):
        report.add_unkept(_unkept(row))
    if report.valid:
        await connection.execute(SQL["keep_checkpoints"])


def _unkept(row: Any) -> Verdict:
    gone = row["event_id"] is None
    mismatch = Mismatch(
        row["seq"],
        None if gone else str(row["event_id"]),
        row["event_type"],
        "checkpoint_mismatch",
        "was verified before, and is gone" if gone else "was verified before, with another hash",
        expected_event_hash=row["hash"],
        actual_event_hash=row["event_hash"],
    )
    return Verdict(row["stream_type"], row["stream_id"], 0, False, mismatch, row["event_hash"])


async def owners(connection: Connection, stream: Stream) -> set[str]:
    """The workspaces that a stream is of: none when it is unknown, several only when somebody tampered."""
    return {row["workspace_id"] for row in await connection.fetch(SQL["owner"], stream.type, stream.id)}


async def _bundles(connection: Connection, workspace_id: str | None) -> AsyncIterator[list[StreamHead]]:
    """All streams in order of their names: long ones alone, short ones together."""
    bundle: list[StreamHead] = []
    events = 0
    async for row in connection.cursor(SQL["heads"], workspace_id, prefetch=1000):
        head = _stream_head(row)
        if bundle and (events + head.seq > BUNDLE or head.seq > SHORT or len(bundle) >= BUNDLE):
            yield bundle
            bundle, events = [], 0
        bundle.append(head)
        events += head.seq
        if head.seq > SHORT:
            yield bundle
            bundle, events = [], 0
    if bundle:
        yield bundle


def _stream_head(row: Any) -> StreamHead:
    head = None if row["seq"] is None else Head(row["seq"], row["hash"])
    return StreamHead(Stream(row["stream_type"], row["stream_id"]), head, row["workspace_id"])


async def _check_long(
    connection: Connection, of: StreamHead, after: int, limit: int, progress: Progress | None
) -> Verdict:
    check = await _start(connection, of, after)
    arguments = (of.stream.type, of.stream.id, after, limit)
    async for row in connection.cursor(SQL["stream"], *arguments, prefetch=min(PREFETCH, limit)):
        if not check.feed(event_of(row)):
            break
        if progress is not None and check.checked % 1000 == 0:
            progress(check.checked, of.seq)
    return await _finish(connection, of, check, after, ended=check.checked < limit)


async def _check_short(connection: Connection, bundle: Sequence[StreamHead]) -> list[Verdict]:
    checks = [ChainCheck(of.stream, workspace_id=of.workspace_id) for of in bundle]
    types, ids = [of.stream.type for of in bundle], [of.stream.id for of in bundle]
    async for row in connection.cursor(SQL["streams"], types, ids, prefetch=PREFETCH):
        check = checks[row["ordinal"] - 1]
        if check.mismatch is None:
            check.feed(event_of(row))
    return [await _finish(connection, of, check, 0, ended=True) for of, check in zip(bundle, checks, strict=True)]


async def _start(connection: Connection, of: StreamHead, after: int) -> ChainCheck:
    seq, previous = 0, None
    if after > 0:
        anchor = await connection.fetchrow(SQL["anchor"], of.stream.type, of.stream.id, after)
        if anchor is not None:
            seq, previous = anchor["stream_seq"], anchor["event_hash"]
    return ChainCheck(of.stream, after=seq, previous=previous, workspace_id=of.workspace_id)


async def _finish(connection: Connection, of: StreamHead, check: ChainCheck, after: int, *, ended: bool) -> Verdict:
    stream = of.stream
    if check.unrecorded:
        rows = await connection.fetch(SQL["recorded_redactions"], stream.type, stream.id, check.unrecorded)
        check.settle([row["event_id"] for row in rows])
    if check.redactions:
        row = await connection.fetchrow(SQL["unflagged_redaction"], stream.type, stream.id, after, check.seq)
        if row is not None:
            check.unflagged(row["stream_seq"], str(row["event_id"]), row["event_type"], row["event_hash"])
    if ended or (of.head is not None and check.seq >= of.head.seq):
        check.close(of.head)
    return check.verdict(of.head)
