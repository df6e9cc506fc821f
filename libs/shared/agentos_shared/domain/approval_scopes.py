"""What an approval allows beyond the one action that it was asked for.

``once`` allows exactly that action, known by its digest, and once. The others are grants: they allow an action by its
name wherever their target says, until they end. ``pattern`` narrows by the resource and by what it is done with.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from agentos_shared.domain import approval_amounts
from agentos_shared.domain.actions import normalised
from agentos_shared.domain.errors import Invalid

ScopeType = Literal["once", "run", "thread", "room", "workspace", "pattern"]
#: Scopes with a target, which is the approval's own place unless the scope names another.
TARGETS: Final[Mapping[str, str]] = {"run": "run_id", "thread": "thread_id", "room": "room_id"}
_PATTERN_ONLY: Final = ("action", "resource_glob", "arg_constraints", "max_total_amount", "amount_pointer")

Id = Annotated[str, Field(min_length=1, max_length=64)]
Glob = Annotated[str, Field(min_length=1, max_length=500)]


class Scope(BaseModel):
    """How far an approval reaches.

    ``run_id``, ``thread_id`` or ``room_id`` name the target of a scope of that type. A ``pattern`` may carry globs of
    the action and of the resource, and what arguments must be (texts are globs). ``max_uses`` bounds any grant,
    ``max_total_amount`` the sum of what uses of a pattern tell at ``amount_pointer``, a JSON pointer into arguments.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    type: ScopeType
    workspace_id: Id | None = None
    room_id: Id | None = None
    thread_id: Id | None = None
    run_id: Id | None = None
    correlation_id: str | None = Field(None, max_length=128)
    template_ref: str | None = Field(None, max_length=200)
    action: Glob | None = None
    resource_glob: Glob | None = None
    arg_constraints: dict[str, JsonValue] | None = Field(None, max_length=32)
    max_uses: int | None = Field(None, ge=1, le=1_000_000)
    max_total_amount: Annotated[str, Field(max_length=30)] | int | float | None = None
    amount_pointer: str | None = Field(None, pattern=r"^(/([^/~]|~[01])*)+$", max_length=200)

    def given(self) -> dict[str, Any]:
        """The members that were given."""
        return self.model_dump(exclude_none=True)


ONCE: Final[Mapping[str, Any]] = {"type": "once"}


@dataclass(frozen=True, slots=True)
class Wish:
    """An action that somebody is about to do, as scopes look at it.

    Args:
        digest: see :func:`agentos_shared.domain.actions.action_digest`.
        resource: what it is done to: a URL, a path, a table.
        parameters: what it is done with.
    """

    action: str
    digest: str | None = None
    room_id: str | None = None
    thread_id: str | None = None
    run_id: str | None = None
    resource: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)


def effective(scope: Scope, own: Mapping[str, str | None], workspace_id: str) -> dict[str, Any]:
    """A scope with its target filled in.

    Args:
        own: the approval's own ``room_id``, ``thread_id`` and ``run_id``.

    Raises:
        Invalid: ``invalid_scope`` when there is no target, or when the scope could never match.
    """
    given = scope.given()
    if scope.workspace_id not in (None, workspace_id):
        raise Invalid("invalid_scope", "A scope cannot reach into another workspace.")
    if scope.type != "pattern" and any(name in given for name in _PATTERN_ONLY):
        raise Invalid("invalid_scope", f"{', '.join(_PATTERN_ONLY)} belong to scopes of type pattern.")
    if scope.type == "once" and scope.max_uses not in (None, 1):
        raise Invalid("invalid_scope", "What is allowed once has one use.")
    if (scope.max_total_amount is None) != (scope.amount_pointer is None):
        raise Invalid("invalid_scope", "max_total_amount and amount_pointer go together.")
    if scope.max_total_amount is not None:
        most = approval_amounts.decimal(scope.max_total_amount)
        if most is None:
            raise Invalid("invalid_scope", "max_total_amount must be a number, as such or as a text: 250 or '250.00'.")
        given["max_total_amount"] = approval_amounts.told(most)
    member = TARGETS.get(scope.type)
    if member is not None:
        target = given.get(member) or own.get(member)
        if target is None:
            raise Invalid("invalid_scope", f"A scope of type {scope.type} needs {member}.")
        given[member] = target
    return given


def covers(scope: Mapping[str, Any], action: str, digest: str | None, wish: Wish) -> bool:
    """Whether an approval of ``action`` with this effective scope allows a wish, time and uses aside.

    Args:
        digest: of the action that was asked for.
    """
    kind = scope.get("type")
    if kind == "once":
        return digest is not None and wish.digest == digest
    if kind == "pattern":
        return _fits(scope, action, wish)
    if normalised(wish.action) != action:
        return False
    match kind:
        case "workspace":
            return True
        case "room":
            return wish.room_id is not None and wish.room_id == scope.get("room_id")
        case "thread":
            return wish.thread_id is not None and wish.thread_id == scope.get("thread_id")
        case "run":
            return wish.run_id is not None and wish.run_id == scope.get("run_id")
        case _:
            return False


def _fits(scope: Mapping[str, Any], action: str, wish: Wish) -> bool:
    if not fnmatchcase(normalised(wish.action), scope.get("action") or action):
        return False
    glob = scope.get("resource_glob")
    if glob is not None and (wish.resource is None or not fnmatchcase(wish.resource, glob)):
        return False
    for name, wanted in (scope.get("arg_constraints") or {}).items():
        if name not in wish.parameters or not _is(wish.parameters[name], wanted):
            return False
    return True


def _is(given: Any, wanted: Any) -> bool:
    if isinstance(wanted, str):
        return isinstance(given, str) and fnmatchcase(given, wanted)
    return type(given) is type(wanted) and bool(given == wanted)
