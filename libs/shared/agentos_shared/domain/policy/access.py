"""A question as AuthZEN puts it (subject, action, resource, context), in the members that the gate knows."""

from typing import Annotated, Any, Final

from pydantic import Field

from agentos_shared.domain.envelope import ActorType
from agentos_shared.domain.policy.records import EvaluatePolicy

#: Types of resources that say where something is done; any other is what it is done to.
PLACES: Final = frozenset({"workspace", "room", "thread", "run"})


class EvaluateAccess(EvaluatePolicy):
    """Asks whether a subject may do something.

    ``resource_type`` is ``tool``, ``host`` or anything else, and no place. ``parameters`` is what it is done with.
    """

    subject_type: ActorType
    subject_id: Annotated[str, Field(min_length=1, max_length=200)]
    resource_type: str | None = None
    resource_id: str | None = None
    purpose_tags: list[str] = Field(default_factory=list)
    justification: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
