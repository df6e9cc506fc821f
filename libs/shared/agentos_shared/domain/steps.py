"""Steps: what a run does, one thing after or beside the other.

::

    queued -- tool.invoked --> running -- tool.succeeded --> succeeded
       |                         |      -- tool.failed ----> failed
       +-- step.completed, step.failed --+                     for good

The outcome of a tool call ends its step: it can then not be completed or failed by hand any more. Only another tool
call opens it again. A step that was ended by hand stays so, and takes no further tool calls; the outcome of one that
runs still comes, and changes nothing about the step.
"""

from dataclasses import dataclass, replace
from typing import Any, Final

from pydantic import Field

from agentos_shared.domain import runs
from agentos_shared.domain.decider import Command, LeasedBody, View, expect_version
from agentos_shared.domain.envelope import Event, NewEvent
from agentos_shared.domain.errors import Conflict, NotFound
from agentos_shared.domain.runs import Run, ShortText, Text

#: Outcomes of tool calls.
TOOL_ENDS: Final = frozenset({"tool.succeeded", "tool.failed"})


class CreateStep(LeasedBody):
    """Begins a step of a running run."""

    kind: str = Field(min_length=1, max_length=200)
    title: ShortText | None = None
    input: dict[str, Any] = Field(default_factory=dict)


class CompleteStep(LeasedBody):
    """Ends a step with success, unless the outcome of its last tool call has ended it."""

    output: dict[str, Any] | None = None


class FailStep(LeasedBody):
    """Ends a step with failure, unless the outcome of its last tool call has ended it.

    ``message`` without ``error`` is kept as ``{message}``.
    """

    message: Text | None = None
    error: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """What decisions read of a step. ``ended``: by a command of its own; of its tool calls tells ``command.loaded``."""

    run_id: str
    ended: bool = False


def create(command: Command[CreateStep], view: View) -> list[NewEvent]:
    """``step.created``.

    Raises:
        NotFound: ``run_not_found``. Conflict: ``run_not_running``, ``lease_token_mismatch``.
    """
    run_id = command.parent_id or ""
    run = runs.known(view, run_id)
    runs.require_running(command, run)
    expect_version(command, view)
    body = command.body
    data = {"step_id": command.entity_id, "kind": body.kind, "title": body.title, "input": body.input}
    return [runs.inside(command, run_id, run, "step.created", "step", data, step_id=command.entity_id)]


def complete(command: Command[CompleteStep], view: View) -> list[NewEvent]:
    """``step.completed``. ``command.loaded`` is the type of the last event of a tool call in the step, or None.

    Raises:
        NotFound: ``step_not_found``, ``run_not_found``.
        Conflict: ``run_not_running``, ``lease_token_mismatch``, ``step_already_ended``.
    """
    step, run = _open(command, view)
    return [_event(command, step, run, "step.completed", {"output": command.body.output})]


def fail(command: Command[FailStep], view: View) -> list[NewEvent]:
    """``step.failed``. Raises: as :func:`complete`."""
    step, run = _open(command, view)
    body = command.body
    data = {"message": body.message, "error": runs.error_of(body.message, body.error)}
    return [_event(command, step, run, "step.failed", data)]


def evolve(state: Step | None, event: Event) -> Step | None:
    """Fold one event of a step."""
    if event.event_type == "step.created" and event.run_id is not None:
        return Step(event.run_id)
    if event.event_type in ("step.completed", "step.failed") and state is not None:
        return replace(state, ended=True)
    return state


def known(view: View, step_id: str | None) -> tuple[Step, Run]:
    """A step and its run. Raises NotFound: ``step_not_found``, ``run_not_found``."""
    step = view.get(Step, step_id) if step_id else None
    if step is None:
        raise NotFound("step_not_found", "There is no such step in this workspace.")
    return step, runs.known(view, step.run_id)


def require_open(step: Step) -> None:
    """Raises Conflict: ``step_already_ended``."""
    if step.ended:
        raise Conflict("step_already_ended", "The step has ended before.")


def _open(command: Command[LeasedBody], view: View) -> tuple[Step, Run]:
    step, run = known(view, command.entity_id)
    runs.require_running(command, run)
    require_open(step)
    if command.loaded in TOOL_ENDS:
        raise Conflict("step_already_ended", "The outcome of its last tool call has ended the step.")
    expect_version(command, view)
    return step, run


def _event(command: Command[Any], step: Step, run: Run, event_type: str, data: dict[str, Any]) -> NewEvent:
    told = {"step_id": command.entity_id, **data}
    return runs.inside(command, step.run_id, run, event_type, "step", told, step_id=command.entity_id)
