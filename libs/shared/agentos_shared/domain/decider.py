"""The decider: ``decide(command, view) -> events`` and ``evolve(state, event) -> state``.

Both are plain, pure functions: no I/O, no clock, no randomness. New ids and the time arrive in the command; states of
other entities of the same stream are read through the view. ``decide`` raises a
:class:`~agentos_shared.domain.errors.DomainError` before it builds any event; ``evolve`` never raises and ignores what
it does not know (J. Chassaing, "Functional Event Sourcing Decider").
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, NamedTuple, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from agentos_shared.domain.envelope import Actor, ActorType, Event, NewEvent
from agentos_shared.domain.errors import Conflict

if TYPE_CHECKING:
    from agentos_shared.domain.capability_checks import VerifiedCapability
    from agentos_shared.domain.engine_checks import VerifiedEngine

State = TypeVar("State")
Body = TypeVar("Body", bound="CommandBody", covariant=True)

#: Entity types of a run and of what is inside it: one line of causation, told by the run's last event.
RUN_FAMILY: Final = frozenset({"run", "step", "tool_call", "artifact"})


class CommandBody(BaseModel):
    """What every command body may carry; a member nobody declared is refused.

    In open mode the actor is the caller's own claim. ``expected_version`` is the ``entity_version`` that the entity
    must have now (0: it must not exist yet), so the next event gets ``expected_version + 1``.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    #: Whether ``actor_type`` and ``actor_id`` name whom the command is about, and say nothing of who asks.
    names_subject: ClassVar[bool] = False
    #: Whether it is a :class:`LeasedBody`.
    under_lease: ClassVar[bool] = False

    actor_type: ActorType | None = None
    actor_id: str | None = Field(None, min_length=1, max_length=200)
    correlation_id: str | None = Field(None, min_length=1, max_length=128)
    expected_version: int | None = Field(None, ge=0)

    def speaker(self) -> tuple[ActorType, str] | None:
        """(type, id) of the actor that the body's own members name, where it has such; used when nothing else says."""
        return None


class LeasedBody(CommandBody):
    """What every write under a run may carry besides: proof of the lease that it is done under.

    ``claim_token`` is the one that the claim answered. ``force`` lets a user write without it.
    """

    under_lease: ClassVar[bool] = True

    claim_token: str | None = Field(None, min_length=1, max_length=64)
    force: bool = False


class Meta(NamedTuple):
    """Who asks, where, and in which context.

    Args:
        claim_token: of the lease that the caller says it holds, or None.
        engine: the engine whose credentials came with the request and were checked, or None.
        capability: the capability token that came with it and was checked, or None.
    """

    workspace_id: str
    actor: Actor
    correlation_id: str
    idempotency_key: str | None = None
    claim_token: str | None = None
    engine: "VerifiedEngine | None" = None
    capability: "VerifiedCapability | None" = None


class Command(NamedTuple, Generic[Body]):
    """One wish, with every id that it needs.

    Args:
        entity_id: the entity that it creates or changes.
        parent_id: the entity that the path names above it (a thread for a message), or None.
        room_id: the room whose stream takes the events, or None for the workspace's stream.
        loaded: what was read or drawn for it beforehand; its command type says what.
    """

    body: Body
    meta: Meta
    entity_id: str
    parent_id: str | None = None
    room_id: str | None = None
    loaded: Any = None


class View(Protocol):
    """States as the events before this command leave them."""

    @property
    def now(self) -> datetime:
        """The time that the command's events will carry."""

    def get(self, kind: type[State], entity_id: str) -> State | None:
        """The state of an entity, or None when it does not exist or is of another kind."""

    def version(self, entity_id: str) -> int:
        """``entity_version`` of an entity's last event; 0 when it has none."""

    def last_event_id(self, entity_id: str) -> str | None:
        """The entity's last event: the ``causation_id`` of its next."""


Decide = Callable[[Command[Any], View], Sequence[NewEvent]]


@dataclass(frozen=True, slots=True)
class Aggregate(Generic[State]):
    """How one kind of entity is folded.

    Args:
        kind: class of its state.
        evolve: fold step; the state before is None for the first event.
        kept: whether its state is worth keeping in the writer's memory (something decides on it later).
    """

    kind: type[State]
    evolve: Callable[[State | None, Event], State | None]
    kept: bool = True


def expect_version(command: Command[CommandBody], view: View) -> None:
    """Raise ``version_conflict`` unless the entity has the version that the caller expects."""
    expected = command.body.expected_version
    if expected is None:
        return
    current = view.version(command.entity_id)
    if current != expected:
        raise Conflict(
            "version_conflict",
            f"Expected version {expected}, but {command.entity_id} has version {current}. Read it again and retry.",
            current_version=current,
        )
