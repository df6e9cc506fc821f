"""Commands that ask the gate, and what commands that pass through it want."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from agentos_api.append.locator import Location
from agentos_api.command_type import CommandType, Reference, Wanted
from agentos_shared.domain import ids
from agentos_shared.domain.actions import action_digest, normalised
from agentos_shared.domain.decider import Command, View
from agentos_shared.domain.envelope import Event
from agentos_shared.domain.errors import Invalid
from agentos_shared.domain.policy import records
from agentos_shared.domain.policy.evaluate import DATA_ACTIONS
from agentos_shared.domain.policy.facts import Request
from agentos_shared.domain.policy.records import EvaluatePolicy
from agentos_shared.domain.tool_calls import InvokeTool

#: What calling a tool is called, in policies and in approvals.
TOOL_CALL: Final = "tool.call"


def home_of(body: EvaluatePolicy) -> Reference | None:
    """Where the wish is recorded."""
    for kind, entity_id in (("run", body.run_id), ("room", body.room_id), ("thread", body.thread_id)):
        if entity_id is not None:
            return kind, entity_id
    return None


def named_of(body: EvaluatePolicy) -> tuple[Reference, ...]:
    """What the body names and must be there."""
    named = (("room", body.room_id), ("thread", body.thread_id), ("step", body.step_id))
    return tuple((kind, entity_id) for kind, entity_id in named if entity_id is not None)


def room_of(_body: EvaluatePolicy, home: Location) -> tuple[str, ...]:
    """The room, which the record is made of."""
    return (home.stream.id,) if home.stream.type == "room" else ()


def _action(command: Command[EvaluatePolicy], _home: Location) -> Wanted:
    body, meta = command.body, command.meta
    if body.action is None:
        raise Invalid("missing_action", "action is required: what is to be done.")
    if None not in (body.room_id, command.room_id) and body.room_id != command.room_id:
        raise Invalid("run_room_mismatch", "The run or thread is of another room than room_id.")
    action = normalised(body.action)
    return _wish(
        command,
        category="data_access" if action in DATA_ACTIONS else "action",
        action=action,
        digest=action_digest(meta.workspace_id, action, meta.actor, command.room_id, body.run_id, body.done_with),
        thread_id=body.thread_id,
        run_id=body.run_id,
        step_id=body.step_id,
        resource=body.resource,
        context=body.done_with,
    )


def tool(command: Command[InvokeTool], step: Location) -> Wanted:
    """The wish to call a tool."""
    body, meta = command.body, command.meta
    parameters = {"tool_name": body.tool_name, "input": body.input}
    return _wish(
        command,
        category="tool_call",
        action=TOOL_CALL,
        digest=action_digest(meta.workspace_id, TOOL_CALL, meta.actor, command.room_id, step.run_id, parameters),
        run_id=step.run_id,
        step_id=command.parent_id,
        tool_name=body.tool_name,
        resource=body.tool_name,
        context=parameters,
    )


def _wish(command: Command[EvaluatePolicy] | Command[InvokeTool], **members: Any) -> Wanted:
    body, meta = command.body, command.meta
    request = Request(
        workspace_id=meta.workspace_id,
        actor=meta.actor,
        room_id=command.room_id,
        principal_id=body.principal_id,
        capability_token_id=body.capability_token_id,
        **members,
    )
    return request, body.zone


def answer_of(command: Command[EvaluatePolicy], _events: Sequence[Event], _view: View) -> Mapping[str, Any]:
    """What whoever asked is told."""
    told: Mapping[str, Any] = command.loaded.answer()
    return told


POLICY: Final = (
    CommandType(
        name="policy.evaluate",
        path="/v1/policy/evaluate",
        body=EvaluatePolicy,
        decide=records.evaluate,
        prefix=ids.DECISION,
        answers="decision_id",
        home=home_of,
        refs=named_of,
        reads=room_of,
        gate=_action,
        extra=answer_of,
        status=200,
    ),
)
