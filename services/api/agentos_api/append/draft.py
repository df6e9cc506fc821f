"""One batch on its way into the store: decided, numbered and chained in memory, in arrival order.

A draft is pure: it reads what was loaded and draws on the ids and the time that it is given. Each command is decided on
the state that the commands before it leave; a command that fails adds nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeVar

from agentos_api.append import leaks
from agentos_api.append.stream_cache import ABSENT, Entry, StreamCache, advance, follow, leads_to
from agentos_api.append.submission import Answer, Outcome, Part, Placed, Refused, RequestKey, Submission
from agentos_shared import dlp
from agentos_shared.domain import ids
from agentos_shared.domain.catalog import AGGREGATES
from agentos_shared.domain.envelope import SALT_BYTES, Event, NewEvent, Stream, canonical_content, seal
from agentos_shared.domain.errors import DomainError, TooLarge
from agentos_shared.store.reader import Head

MAX_DATA_BYTES: Final = 512 * 1024
#: Answers that are not kept under an idempotency key: trying again may well succeed.
NOT_KEPT: Final = frozenset({401, 403, 429})
_KEPT: Final = frozenset(aggregate.kind for aggregate in AGGREGATES.values() if aggregate.kept)
#: A head is made for every event; the class's own constructor takes twice as long.
_new: Final = tuple.__new__
S = TypeVar("S")


@dataclass(slots=True)
class Draft:
    """The working set of one batch.

    Args:
        cache: what the writer remembers; only read here.
        heads: loaded heads that the cache does not hold.
        loaded: loaded entities that the cache does not hold, absent ones included.
        recorded_at: the batch's time, in whole milliseconds, UTC.
        new_event_id: draws event ids in growing order.
        base: a draft that is being written, and is read as if it already were.
    """

    cache: StreamCache
    heads: Mapping[Stream, Head]
    loaded: Mapping[str, tuple[Stream, Entry]]
    recorded_at: datetime
    new_event_id: Callable[[], str]
    base: "Draft | None" = None
    events: list[Event] = field(default_factory=list)
    traceparents: list[str | None] = field(default_factory=list)
    keys: list[tuple[RequestKey, Answer, str | None]] = field(default_factory=list)
    before: dict[Stream, Head] = field(default_factory=dict)
    workspaces: dict[Stream, str] = field(default_factory=dict)
    moved: dict[Stream, Head] = field(default_factory=dict)
    entries: dict[str, tuple[Stream, Entry]] = field(default_factory=dict)
    unproven: dict[Stream, Head] = field(default_factory=dict)
    leaned: dict[Stream, Head] = field(default_factory=dict)
    _stream: Stream | None = None
    _elsewhere: Mapping[str, Stream] = field(default_factory=dict)
    _leans: set[tuple[Stream, str]] = field(default_factory=set)

    def add(self, submission: Submission) -> Answer:
        """Decide one submission; its events and its key join the batch."""
        before = (len(self.events), dict(self.moved), dict(self.entries)) if submission.atomic else None
        outcomes: list[Outcome] = []
        for part in submission.parts:
            outcome = self._decide(part, submission.traceparent)
            outcomes.append(outcome)
            if before is not None and isinstance(outcome, DomainError):
                count, self.moved, self.entries = before
                del self.events[count:], self.traceparents[count:]
                break
        answer = submission.render(outcomes)
        if submission.key is not None and answer.status < 500 and answer.status not in NOT_KEPT and not answer.passing:
            last = outcomes[-1] if outcomes else None
            event_id = last[-1].event_id if last and not isinstance(last, DomainError) else None
            self.keys.append((submission.key, answer.to_keep(), event_id))
        return answer

    def _decide(self, part: Part | Refused, traceparent: str | None) -> Outcome:
        if isinstance(part, Refused):
            return part.error
        self._stream = part.stream
        self._elsewhere = {entity_id: stream for stream, entity_id in part.leans}
        try:
            decided = part.decide(part.command, self)
            contents = [_content(new) for new in decided]
        except DomainError as error:
            if error.recorded:
                self._append(error.recorded, [_content(new) for new in error.recorded], part, traceparent)
            for stream in part.streams:
                self._doubt(stream)
            return error
        placed = self._append(decided, contents, part, traceparent)
        if not placed:
            placed.last = self._seen(part.command.entity_id)
            for stream in part.streams:
                self._doubt(stream)
        elif part.leans:
            self._lean(part)
        if part.tell is not None:
            placed.extra = part.tell(part.command, placed, self)
        return placed

    def _doubt(self, stream: Stream) -> None:
        """What was decided on a remembered head and appends nothing there is proven by no append."""
        head = self._known_head(stream)
        if head is not None and stream not in self.heads:
            self.unproven.setdefault(stream, head)

    def _lean(self, part: Part) -> None:
        """What was appended holds only while other streams stand as they were read."""
        self._leans.update(part.leans)
        for stream in part.streams - {part.stream} - self.moved.keys():
            self.leaned[stream] = self._known_head(stream) or self.heads.get(stream) or Head(0, None)
            self.workspaces[stream] = part.command.meta.workspace_id

    def stood(self) -> dict[Stream, Head]:
        """Heads that the append must find as they are here, besides those that it moves."""
        return {stream: head for stream, head in self.leaned.items() if stream not in self.before}

    def _append(
        self,
        decided: Sequence[NewEvent],
        contents: Sequence[tuple[str, dlp.Scan | None]],
        part: Part,
        traceparent: str | None,
    ) -> Placed:
        placed = Placed()
        for new, (content, scan) in zip(decided, contents, strict=True):
            scan = scan or part.scan
            event = self._place(new, content, leaked=scan is not None)
            placed.append(event)
            if scan is not None:
                placed += [self._place(found, _content(found)[0]) for found in leaks.events_of(event, scan)]
        self.events += placed
        self.traceparents += [traceparent] * len(placed)
        return placed

    def _place(self, new: NewEvent, content: str, *, leaked: bool = False) -> Event:
        stream = new.stream
        head = self.moved.get(stream)
        if head is None:
            head = self.before[stream] = self._known_head(stream) or self.heads.get(stream) or Head(0, None)
            self.workspaces[stream] = new.workspace_id
        drafted = self.entries.get(new.entity_id)
        entry = self._entry(stream, new.entity_id) if drafted is None else drafted[1]
        leading, lead = new.entity_id, entry
        if new.run_id is not None and (leading := leads_to(new)) != new.entity_id:
            drafted = self.entries.get(leading)
            lead = self._entry(stream, leading) if drafted is None else drafted[1]
        event = seal(
            new,
            event_id=self.new_event_id(),
            recorded_at=self.recorded_at,
            stream_seq=head.seq + 1,
            entity_version=entry.version + 1,
            causation_id=lead.last_event_id,
            content=content,
            salt=ids.random_bytes(SALT_BYTES),
            prev_event_hash=head.hash,
            redaction_level="partial" if leaked else "none",
            contains_secrets=leaked,
        )
        self.moved[stream] = _new(Head, (event.stream_seq, event.event_hash))
        self.entries[new.entity_id] = (stream, advance(entry, event))
        if leading != new.entity_id:
            self.entries[leading] = (stream, follow(lead, event))
        return event

    def knows(self, submission: Submission) -> bool:
        """Whether a submission can be decided without reading anything."""
        for part in submission.parts:
            if isinstance(part, Refused):
                continue
            if self._known_head(part.stream) is None and not part.fresh_stream:
                return False
            for entity_id in part.reads:
                if self._known_entry(part.stream, entity_id) is None:
                    return False
            for stream, entity_id in part.leans:
                if self._known_head(stream) is None or self._known_entry(stream, entity_id) is None:
                    return False
        return True

    def _known_head(self, stream: Stream) -> Head | None:
        based = None if self.base is None else self.base.moved.get(stream)
        return based or self.cache.head(stream)

    def _entry(self, stream: Stream, entity_id: str) -> Entry:
        return self._known_entry(self._elsewhere.get(entity_id, stream), entity_id) or ABSENT

    def _known_entry(self, stream: Stream, entity_id: str) -> Entry | None:
        if self.base is not None and (based := self.base.entries.get(entity_id)) is not None:
            return based[1]
        entry = self.cache.entry(stream, entity_id)
        if entry is None and (found := self.loaded.get(entity_id)) is not None:
            return found[1]
        return entry

    # The view that deciders read.

    @property
    def now(self) -> datetime:
        return self.recorded_at

    def get(self, kind: type[S], entity_id: str) -> S | None:
        drafted = self.entries.get(entity_id)
        if drafted is not None:
            state = drafted[1].state
        else:
            assert self._stream is not None
            state = self._entry(self._stream, entity_id).state
        return state if isinstance(state, kind) else None

    def version(self, entity_id: str) -> int:
        return self._seen(entity_id).version

    def last_event_id(self, entity_id: str) -> str | None:
        return self._seen(entity_id).last_event_id

    def _seen(self, entity_id: str) -> Entry:
        drafted = self.entries.get(entity_id)
        if drafted is not None:
            return drafted[1]
        assert self._stream is not None
        return self._entry(self._stream, entity_id)

    def settle(self) -> None:
        """Tell the cache what is now committed: heads, and the entities that hold as of them."""
        self.base = None
        for stream, head in self.moved.items():
            self.cache.remember(stream, head)
        for stream, head in self.stood().items():
            self.cache.remember(stream, head)
        for entity_id, (stream, entry) in self.loaded.items():
            # An entity of another stream was read as it stood; nothing here would tell that it has changed.
            if stream in self.moved and entry.stream == stream and type(entry.state) in _KEPT:
                self.cache.remember_entity(stream, entity_id, entry)
            elif (stream, entity_id) in self._leans and entry.stream in (stream, None):
                self.cache.remember_entity(stream, entity_id, entry)  # that it does not exist holds as well
        for entity_id, (stream, entry) in self.entries.items():
            if stream in self.moved and type(entry.state) in _KEPT:
                self.cache.remember_entity(stream, entity_id, entry)


def _content(new: NewEvent) -> tuple[str, dlp.Scan | None]:
    """Canonical content, without the secrets that the scan found in it.

    Raises:
        TooLarge: ``event_too_large``.
    """
    content = canonical_content(new.data, new.policy_context, new.model_context, new.display)
    found = None
    raw = content.encode()
    if dlp.suspicious(raw):
        contexts = (dict(new.policy_context), dict(new.model_context), dict(new.display))
        scan = dlp.scan({"data": new.data, "contexts": contexts})
        if scan.found:
            found = scan
            content = canonical_content(scan.data["data"], *scan.data["contexts"])
    if len(raw) > MAX_DATA_BYTES:
        raise TooLarge(
            "event_too_large",
            f"One event carries at most {MAX_DATA_BYTES} bytes of canonical JSON, this one has {len(raw)}. "
            "Put larger content into an artifact and refer to it.",
        )
    return content, found
