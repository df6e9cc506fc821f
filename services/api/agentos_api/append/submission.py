"""What is handed to the appender, and what comes back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from agentos_shared.domain.decider import Command, CommandBody, Decide
from agentos_shared.domain.envelope import Event, Stream
from agentos_shared.domain.errors import DomainError


class Part(NamedTuple):
    """One command of a submission.

    Args:
        stream: the stream that its events go to.
        reads: ids of existing entities that ``decide`` asks for.
        fresh_stream: the stream's id was drawn for this command, so it cannot exist yet.
    """

    command: Command[CommandBody]
    decide: Decide
    stream: Stream
    reads: tuple[str, ...] = ()
    fresh_stream: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """A request that failed before it could become a part; it still takes its place in the answer."""

    error: DomainError


Outcome: TypeAlias = Sequence[Event] | DomainError


class Answer(NamedTuple):
    """An HTTP answer: status and body. ``replayed``: given before, under the same idempotency key."""

    status: int
    body: bytes
    replayed: bool = False


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

    def streams(self) -> set[Stream]:
        return {part.stream for part in self.parts if isinstance(part, Part)}
