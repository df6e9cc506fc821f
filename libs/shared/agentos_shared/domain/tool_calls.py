"""Tool calls: what a step asks of the world, and what it got."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import Field

from agentos_shared.domain import grants, ids, runs, steps
from agentos_shared.domain.decider import Command, LeasedBody, View, expect_version
from agentos_shared.domain.envelope import Event, NewEvent, Zone
from agentos_shared.domain.errors import Conflict, Invalid, NotFound
from agentos_shared.domain.policy.failures import Failure
from agentos_shared.domain.policy.records import Gated, recorded
from agentos_shared.domain.policy.standing import require_standing
from agentos_shared.domain.runs import Id, Run, ShortText, Text


class InvokeTool(LeasedBody):
    """Calls a tool in a step of a running run. ``tool_name`` is required."""

    tool_name: str | None = Field(None, max_length=200)
    title: ShortText | None = None
    input: dict[str, Any] = Field(default_factory=dict)
    agent_id: Id | None = None
    principal_id: Id | None = None
    capability_token_id: Id | None = None
    zone: Zone | None = None


class SucceedTool(LeasedBody):
    """Ends a tool call with success."""

    output: dict[str, Any] | None = None


class FailTool(LeasedBody):
    """Ends a tool call with failure. ``message`` without ``error`` is kept as ``{message}``."""

    message: Text | None = None
    error: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ToolCall:
    """What decisions read of a tool call."""

    run_id: str
    step_id: str
    status: Literal["running", "succeeded", "failed"] = "running"


def invoke(command: Command[InvokeTool], view: View) -> list[NewEvent]:
    """``tool.invoked``, with the use of the approval that allows it; or, where the gate (``command.loaded``) does not
    allow it, ``policy.decided`` and no call.

    Raises:
        NotFound: ``step_not_found``, ``run_not_found``.
        Conflict: ``run_not_running``, ``lease_token_mismatch``, ``step_already_ended``; as :func:`grants.used` where
            the approval was used up or revoked since the gate looked at it. Outdated: something else stops it since.
        Invalid: ``missing_tool_name``.
    """
    body, step_id = command.body, command.parent_id or ""
    step, run = steps.known(view, step_id)
    runs.require_running(command, run)
    steps.require_open(step)
    if not body.tool_name:
        raise Invalid("missing_tool_name", "tool_name is required and must not be empty.")
    expect_version(command, view)
    data = {
        "tool_call_id": command.entity_id,
        "tool_name": body.tool_name,
        "title": body.title,
        "input": body.input,
        "agent_id": body.agent_id,
    }
    gated = command.loaded if isinstance(command.loaded, Gated) else None
    if gated is not None and gated.refused:
        decision_id = ids.derived_id(ids.DECISION, command.entity_id)
        return recorded(decision_id, gated, command.meta, view)
    if gated is not None:
        require_standing(gated, view)
    claims = {"principal_id": body.principal_id, "capability_token_id": body.capability_token_id}
    context = {name: value for name, value in claims.items() if value is not None}
    uses = [] if gated is None else grants.used_by_act(gated, command.meta, view)
    return [
        *uses,
        runs.inside(
            command,
            step.run_id,
            run,
            "tool.invoked",
            "tool_call",
            data,
            step_id=step_id,
            zone=runs.highest(run.zone, body.zone),
            policy_context=context if gated is None else context | gated.context(),
        ),
    ]


def succeed(command: Command[SucceedTool], view: View) -> list[NewEvent]:
    """``tool.succeeded``; the run may have ended meanwhile.

    Raises:
        NotFound: ``tool_call_not_found``, ``run_not_found``.
        Conflict: ``lease_token_mismatch``, ``tool_call_not_running``.
    """
    call, run = _running(command, view)
    return [_event(command, call, run, "tool.succeeded", {"output": command.body.output})]


def fail(command: Command[FailTool], view: View) -> list[NewEvent]:
    """``tool.failed``, after what is learned from it (``command.loaded``). Raises: as :func:`succeed`."""
    call, run = _running(command, view)
    body = command.body
    data = {"message": body.message, "error": runs.error_of(body.message, body.error)}
    failed = _event(command, call, run, "tool.failed", data)
    lessons = command.loaded.lessons(failed, view, body.message) if isinstance(command.loaded, Failure) else []
    return [*lessons, failed]


def evolve(state: ToolCall | None, event: Event) -> ToolCall | None:
    """Fold one event of a tool call."""
    match event.event_type:
        case "tool.invoked" if event.run_id is not None and event.step_id is not None:
            return ToolCall(event.run_id, event.step_id)
        case "tool.succeeded" if state is not None:
            return replace(state, status="succeeded")
        case "tool.failed" if state is not None:
            return replace(state, status="failed")
    return state


def _running(command: Command[LeasedBody], view: View) -> tuple[ToolCall, Run]:
    call = view.get(ToolCall, command.entity_id)
    if call is None:
        raise NotFound("tool_call_not_found", "There is no such tool call in this workspace.")
    run = runs.known(view, call.run_id)
    runs.require_lease_or_end(command, run)
    if call.status != "running":
        raise Conflict("tool_call_not_running", f"The tool call has {call.status} before.")
    expect_version(command, view)
    return call, run


def _event(command: Command[Any], call: ToolCall, run: Run, event_type: str, data: dict[str, Any]) -> NewEvent:
    told = {"tool_call_id": command.entity_id, **data}
    return runs.inside(command, call.run_id, run, event_type, "tool_call", told, step_id=call.step_id)
