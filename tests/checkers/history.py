"""What clients did and saw, as they can swear to it: the side of a fault test that owes nothing to the product.

As in Jepsen, an operation ends ``OK`` (acknowledged), ``FAILED`` (refused, and so without effect) or ``UNKNOWN``: a
client that heard no answer knows nothing, and may not be counted on either side.
"""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum


class Outcome(StrEnum):
    """How an operation ended, for its client."""

    OK = "ok"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """One entity that a write was told to have made."""

    entity_id: str
    event_id: str
    stream_id: str
    stream_seq: int


@dataclass(slots=True)
class Operation:
    """One wish of a client, with its one Idempotency-Key and however many requests it took.

    Attributes:
        texts: of the entities that it is to make (titles or contents), in order; all or none of them.
        tries: what each request came to: a status, or the name of an error.
        answers: all acknowledgements that were heard; more than one where the client asked again.
        began_s, ended_s: on the clock of the test.
    """

    key: str
    texts: tuple[str, ...]
    began_s: float
    ended_s: float = 0.0
    outcome: Outcome = Outcome.UNKNOWN
    tries: list[str] = field(default_factory=list)
    answers: list[tuple[Acknowledged, ...]] = field(default_factory=list)

    @property
    def smooth(self) -> bool:
        """Acknowledged, and at the first try."""
        return self.outcome is Outcome.OK and len(self.tries) == 1


@dataclass(frozen=True, slots=True)
class Frame:
    """One event as an SSE client got it: its ``id:`` and ``data:``, and on which connection."""

    connection: int
    seq: int
    data: str


@dataclass(slots=True)
class Transcript:
    """What one SSE client of a room saw over all its connections.

    ``resets`` counts how often it was told that its cursor lies beyond the head.
    """

    room_id: str
    name: str
    frames: list[Frame] = field(default_factory=list)
    connections: int = 0
    resets: int = 0

    @property
    def last(self) -> int:
        return self.frames[-1].seq if self.frames else 0


@dataclass(frozen=True, slots=True)
class Window:
    """From the injection of a fault until the stack said that it was healthy again."""

    began_s: float
    ended_s: float


@dataclass(slots=True)
class History:
    """Everything that the clients of one run did and saw, in one workspace."""

    workspace_id: str
    operations: list[Operation] = field(default_factory=list)
    transcripts: list[Transcript] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)

    def acknowledged(self) -> list[Operation]:
        return [operation for operation in self.operations if operation.outcome is Outcome.OK]

    def outside(self) -> list[Operation]:
        """Operations that no fault can excuse."""
        return [
            operation
            for operation in self.operations
            if all(operation.ended_s < w.began_s or operation.began_s > w.ended_s for w in self.windows)
        ]

    def outage_s(self) -> float:
        """The longest time in which nobody was acknowledged anything, and some fault was on."""
        times = sorted(operation.ended_s for operation in self.acknowledged())
        return max(
            (
                later - earlier
                for earlier, later in itertools.pairwise(times)
                if any(earlier < w.ended_s and later > w.began_s for w in self.windows)
            ),
            default=0.0,
        )


def by_key(operations: Iterable[Operation]) -> dict[str, Operation]:
    """Operations by Idempotency-Key. Raises ValueError when a client used one twice."""
    found: dict[str, Operation] = {}
    for operation in operations:
        if operation.key in found:
            raise ValueError(f"the test used the key {operation.key} twice")
        found[operation.key] = operation
    return found
