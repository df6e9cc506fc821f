"""The checkers: each compares what clients can swear to with what the stack holds, and says in sentences what is wrong.

Pure, so that each can be shown to bite: ``tests/faults/test_checkers.py`` feeds them doctored histories.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import orjson

from agentos_shared.domain.envelope import Event
from tests.checkers.history import History, Operation, Outcome, Transcript, by_key
from tests.checkers.observed import Observed
from tests.fixtures.projecting import expected_rows

#: Outside of faults so many of all operations must go through at the first try.
LEAST_SMOOTH: Final = 0.95
#: A run with fewer acknowledgements outside of faults proves nothing.
LEAST_OK: Final = 20
#: Violations told of each kind.
TOLD: Final = 5

Check = Callable[[History, Observed], Iterable[str]]


def violations(history: History, observed: Observed, which: Sequence[Check] = ()) -> list[str]:
    """What all checkers (or those given) found, a few of each kind."""
    found: list[str] = []
    for check in which or CHECKS:
        own = list(check(history, observed))
        found += [f"{check.__name__}: {text}" for text in own[:TOLD]]
        if len(own) > TOLD:
            found.append(f"{check.__name__}: and {len(own) - TOLD} more")
    return found


def acknowledged_writes_are_there_once(history: History, observed: Observed) -> Iterable[str]:
    """Each acknowledged write is in the store exactly once, as it was acknowledged; no other one is there twice."""
    events: defaultdict[str | None, list[Event]] = defaultdict(list)
    for event in observed.events:
        events[event.idempotency_key].append(event)
    operations = by_key(history.operations)
    for key in events.keys() - operations.keys():
        yield f"an event with a key that nobody sent: {key}"
    ids = [event.event_id for event in observed.events]
    if len(set(ids)) != len(ids):
        yield "two events have the same event_id"
    for key, operation in operations.items():
        yield from _operation(operation, events.get(key, []))


def _operation(operation: Operation, events: Sequence[Event]) -> Iterable[str]:
    name = f"{operation.outcome} write {operation.key}"
    if operation.outcome is Outcome.FAILED and events:
        yield f"{name} was refused ({operation.tries[-1]}), and is there"
    if operation.outcome is not Outcome.OK:
        if events and len(events) != len(operation.texts):
            yield f"{name} should be there wholly or not at all: {len(events)} of {len(operation.texts)} events"
        return
    if len(events) != len(operation.texts):
        yield f"{name} should have {len(operation.texts)} events, has {len(events)} (tries: {operation.tries})"
        return
    held = [(e.entity_id, e.event_id, e.stream_id, e.stream_seq) for e in events]
    for answer in operation.answers:
        told = [(a.entity_id, a.event_id, a.stream_id, a.stream_seq) for a in answer]
        if told != held:
            yield f"{name} was acknowledged as {told}, but is there as {held}"
    texts = tuple(event.data.get("content_md", event.data.get("title")) for event in events)
    if texts != operation.texts:
        yield f"{name} holds {texts}, not {operation.texts}"


def sequences_have_no_gap(_: History, observed: Observed) -> Iterable[str]:
    """In each stream of the store stands 1..n, and the head says n."""
    for stream_id, seqs in _seqs(observed.events).items():
        if seqs != list(range(1, len(seqs) + 1)):
            yield f"{stream_id} in the store: {_first_break(seqs)}"
        head = observed.heads.get(stream_id, (0, None))[0]
        if head != len(seqs):
            yield f"{stream_id} has {len(seqs)} events, its head says {head}"
    known = {event.stream_id for event in observed.events}
    for stream_id, (said, _hash) in observed.heads.items():
        if said != 0 and stream_id not in known:  # 0: an append leant on that the stream had no event yet
            yield f"{stream_id} has no events, its head says {said}"


def order_is_that_of_time(history: History, _: Observed) -> Iterable[str]:
    """A write that was acknowledged before another one was sent stands before it in their stream."""
    writes: defaultdict[str, list[tuple[float, float, int]]] = defaultdict(list)
    for operation in history.acknowledged():
        for acknowledged in operation.answers[0]:
            writes[acknowledged.stream_id].append((operation.began_s, operation.ended_s, acknowledged.stream_seq))
    for stream_id, own in writes.items():
        ended = sorted((ended_s, seq) for _, ended_s, seq in own)
        highest, place = 0, 0
        for began_s, _ended_s, seq in sorted(own):
            while place < len(ended) and ended[place][0] < began_s:
                highest = max(highest, ended[place][1])
                place += 1
            if seq < highest:
                yield f"{stream_id}: {seq} was sent after {highest} had been acknowledged"


def jetstream_holds_all_in_order(_: History, observed: Observed) -> Iterable[str]:
    """An integration that reads from the start and drops what it knows gets every event, each stream in order."""
    held = {(event.stream_id, event.stream_seq): event for event in observed.events}
    seen: set[tuple[str, int]] = set()
    first: defaultdict[str, list[int]] = defaultdict(list)
    for message in observed.messages:
        place = (message.stream_id, message.stream_seq)
        event = held.get(place)
        if event is None:
            yield f"JetStream has {place}, the store has not"
            continue
        if message.event_id != event.event_id or not _same(message.body, event):
            yield f"JetStream has another event at {place} than the store"
        if place not in seen:
            seen.add(place)
            first[message.stream_id].append(message.stream_seq)
    for stream_id, seqs in first.items():
        if seqs != sorted(seqs):
            yield f"{stream_id} in JetStream: {_first_break(seqs)}"
    missing = held.keys() - seen
    if missing:
        yield f"JetStream lacks {len(missing)} of {len(held)} events, such as {sorted(missing)[:3]}"


def viewers_saw_all_once_in_order(history: History, observed: Observed) -> Iterable[str]:
    """Each SSE client saw every event of its room once, in order, over all its connections."""
    held = {(event.stream_id, event.stream_seq): event for event in observed.events}
    for transcript in history.transcripts:
        yield from _transcript(transcript, observed, held)


def _transcript(transcript: Transcript, observed: Observed, held: dict[tuple[str, int], Event]) -> Iterable[str]:
    name = f"{transcript.name} of {transcript.room_id}"
    if transcript.resets:
        yield f"{name} was told {transcript.resets} times that its cursor lies beyond the head"
    seqs = [frame.seq for frame in transcript.frames]
    head = observed.heads.get(transcript.room_id, (0, None))[0]
    if seqs != list(range(1, head + 1)):
        yield f"{name} ({transcript.connections} connections, head {head}): {_first_break(seqs)}"
    for frame in transcript.frames:
        event = held.get((transcript.room_id, frame.seq))
        if event is None or not _same(frame.data.encode(), event):
            yield f"{name} saw something else at {frame.seq} than the store holds"


def projections_are_the_fold(_: History, observed: Observed) -> Iterable[str]:
    """The read models are what a second, plain implementation makes of the events, and the checkpoints say so."""
    expected = expected_rows(observed.events)
    for table, rows in expected.items():
        if rows != observed.rows[table]:
            yield f"{table}: {_difference(rows, observed.rows[table])}"
    for stream_id, (seq, _hash) in observed.heads.items():
        if observed.checkpoints.get(stream_id, 0) != seq:
            yield f"{stream_id}: checkpoint {observed.checkpoints.get(stream_id)}, head {seq}"
    if observed.parked:
        yield f"parked: {observed.parked}"


def the_chain_holds(_: History, observed: Observed) -> Iterable[str]:
    """Every stream verifies from its first event to its head, and nothing has weakened the store's guards."""
    for verdict in observed.bad_chains:
        yield f"{verdict.stream_type}/{verdict.stream_id}: {verdict.first_mismatch}"
    yield from observed.weak_guards


def nothing_waits(_: History, observed: Observed) -> Iterable[str]:
    """The outbox is empty again."""
    if observed.outbox:
        yield f"{observed.outbox} rows wait in the outbox"


def most_went_well(history: History, _: Observed) -> Iterable[str]:
    """Nothing is refused, and outside of faults all succeeds at once: a run of failures would satisfy all else."""
    for operation in history.operations:
        if operation.outcome is Outcome.FAILED:
            yield f"{operation.key} was refused: {operation.tries}"
    outside = history.outside()
    smooth = sum(operation.smooth for operation in outside)
    if smooth < LEAST_OK:
        yield f"only {smooth} operations were acknowledged outside of faults: this run proves nothing"
    elif smooth < LEAST_SMOOTH * len(outside):
        rough = [f"{o.key} {o.tries} {o.outcome}" for o in outside if not o.smooth]
        yield f"outside of faults only {smooth} of {len(outside)} operations went well at once, not {rough[:3]}"


#: What holds whoever wrote.
OF_THE_STORE: Final[Sequence[Check]] = (
    sequences_have_no_gap,
    jetstream_holds_all_in_order,
    projections_are_the_fold,
    the_chain_holds,
    nothing_waits,
)
CHECKS: Final[Sequence[Check]] = (
    acknowledged_writes_are_there_once,
    order_is_that_of_time,
    viewers_saw_all_once_in_order,
    *OF_THE_STORE,
    most_went_well,
)


def _seqs(events: Iterable[Event]) -> dict[str, list[int]]:
    found: defaultdict[str, list[int]] = defaultdict(list)
    for event in events:
        found[event.stream_id].append(event.stream_seq)
    return {stream_id: sorted(seqs) for stream_id, seqs in found.items()}


def _same(body: bytes, event: Event) -> bool:
    return body == event.envelope_json() or bool(orjson.loads(body) == event.envelope())


def _first_break(seqs: Sequence[int]) -> str:
    for place, seq in enumerate(seqs, 1):
        if seq != place:
            return f"{seq} at place {place} of {len(seqs)}, around {list(seqs[max(0, place - 4) : place + 3])}"
    return f"ends at {len(seqs)}"


def _difference(expected: list[dict[str, Any]], found: list[dict[str, Any]]) -> str:
    differing = [(e, f) for e, f in zip(expected, found, strict=False) if e != f]
    first = f", the first {differing[0][1]}, should be {differing[0][0]}" if differing else ""
    return f"{len(found)} rows, should be {len(expected)}; {len(differing)} differ{first}"
