"""What is handed to the appender, and what comes back."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

from agentos_api.append.stream_cache import Entry
from agentos_shared import dlp
from agentos_shared.domain.decider import Command, CommandBody, Decide, View
from agentos_shared.domain.envelope import Event, Stream
from agentos_shared.domain.errors import DomainError

NOTHING: Mapping[str, Any] = MappingProxyType({})

#: Further members of a command's answer, from the command, its events and the states that they leave.
Extra: TypeAlias = Callable[[Command[Any], Sequence[Event], View], Mapping[str, Any]]


class Part(NamedTuple):
    """One command of a submission.

    Args:
        stream: the stream that its events go to.
        reads: ids of existing entities that ``decide`` asks for. Those of another stream are read as they stand at
            that moment, which the append does not prove.
        leans: entities of other streams, with these, that ``decide`` asks for and that must stand as they were read
            when the events are committed: the append proves it of the streams.
        fresh_stream: the stream's id was drawn for this command, so it cannot exist yet.
        tell: makes further members of the answer.
        scan: secrets that were found in what the command carries besides its events (a blob).
    """

    command: Command[CommandBody]
    decide: Decide
    stream: Stream
    reads: tuple[str, ...] = ()
    fresh_stream: bool = False
    tell: Extra | None = None
    scan: dlp.Scan | None = None
    leans: tuple[tuple[Stream, str], ...] = ()

    @property
    def streams(self) -> set[Stream]:
        """The streams whose heads it is decided on."""
        return {self.stream, *(stream for stream, _ in self.leans)}


class Placed(list[Event]):
    """The events of one command that was decided.

    Attributes:
        last: the entity as it stands, where nothing was to be appended.
        extra: further members of the answer.
    """

    last: Entry | None = None
    extra: Mapping[str, Any] = NOTHING


@dataclass(frozen=True, slots=True)
class Refused:
    """A request that failed before it could become a part; it still takes its place in the answer."""

    error: DomainError


Outcome: TypeAlias = Placed | DomainError


class Answer(NamedTuple):
    """An HTTP answer: status and body.

    Args:
        replayed: given before, under the same idempotency key.
        kept: the body that a key keeps instead, where this one tells a secret.
        passing: it may be another one in a moment, so that no key keeps it.
    """

    status: int
    body: bytes
    replayed: bool = False
    kept: bytes | None = None
    passing: bool = False

    def to_keep(self) -> "Answer":
        """What whoever sends the key again is answered."""
        return self if self.kept is None else Answer(self.status, self.kept)


class RequestKey(NamedTuple):
    """An idempotency key with what it is unique over.

    Args:
        scope: principal, method and path.
        fingerprint: SHA-256 over the request's canonical body.
    """

    workspace_id: str
    scope: str
    key: str
    fingerprint: bytes

    @property
    def identity(self) -> tuple[str, str, str]:
        """Primary key in ``evt_keys``: (workspace_id, kind, key)."""
        return self.workspace_id, "request", f"{self.scope}\n{self.key}"


Render: TypeAlias = Callable[[Sequence[Outcome]], Answer]


class Submission(NamedTuple):
    """What one request wants appended.

    Args:
        parts: in order; each succeeds or fails by itself, unless ``atomic``.
        render: makes the answer from the outcomes; it is stored with the key, in the same transaction.
        key: idempotency key, or None.
        traceparent: W3C trace context that the events carry on.
    """

    parts: Sequence[Part | Refused]
    render: Render
    atomic: bool = False
    key: RequestKey | None = None
    traceparent: str | None = None
