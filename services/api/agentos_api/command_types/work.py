"""Commands of runs, steps, tool calls and artifacts."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from agentos_api.append.locator import Location
from agentos_api.artifact_contents import keep
from agentos_api.command_type import CommandType, Reader, Reference
from agentos_api.command_types import policy
from agentos_api.failures import failing
from agentos_shared.domain import artifacts, ids, leases, runs, steps, tool_calls
from agentos_shared.domain.decider import Command, View
from agentos_shared.domain.envelope import Event
from agentos_shared.domain.leases import ClaimRun
from agentos_shared.domain.runs import CreateRun, Run


def _room(body: CreateRun) -> Reference:
    return "room", body.room_id


def _named(body: CreateRun) -> tuple[Reference, ...]:
    named = (("thread", body.thread_id), ("experiment", body.experiment_id))
    return tuple((kind, entity_id) for kind, entity_id in named if entity_id is not None)


def _named_ids(body: CreateRun, _room: Location) -> tuple[str, ...]:
    return tuple(entity_id for _, entity_id in _named(body))


def _run(_body: Any, location: Location) -> tuple[str, ...]:
    """The run that a step or a tool call belongs to."""
    return () if location.run_id is None else (location.run_id,)


async def _draw_attempt(_reader: Reader, _location: Location, _body: ClaimRun) -> str:
    return ids.new_id(ids.ATTEMPT)


#: $1: step.
LAST_OF_TOOLS: Final = """
select event_type from evt_events
where step_id = $1 and event_type in ('tool.invoked', 'tool.succeeded', 'tool.failed')
order by stream_seq desc limit 1
"""


async def _last_of_tools(reader: Reader, location: Location, _body: Any) -> Any:
    """How the tool calls of a step stand: the type of their last event, or None."""
    return await reader.pool.fetchval(LAST_OF_TOOLS, location.step_id)


def _lease(command: Command[ClaimRun], _events: Sequence[Event], view: View) -> Mapping[str, Any]:
    """The lease that the claim got, now or when it was asked for before."""
    run = view.get(Run, command.entity_id)
    return {} if run is None or run.lease is None else {"data": run.lease.told(command.entity_id)}


def _released(_command: Command[Any], events: Sequence[Event], _view: View) -> Mapping[str, Any]:
    return {"released": bool(events)}


WORK: Final = (
    CommandType(
        name="run.create",
        path="/v1/runs",
        body=runs.CreateRun,
        decide=runs.create,
        prefix=ids.RUN,
        answers="run_id",
        home=_room,
        refs=_named,
        reads=_named_ids,
    ),
    CommandType(
        name="run.start",
        path="/v1/runs/{run_id}/start",
        body=runs.StartRun,
        decide=leases.start,
        parent="run",
        acts=True,
        status=200,
    ),
    CommandType(
        name="run.complete",
        path="/v1/runs/{run_id}/complete",
        body=runs.CompleteRun,
        decide=runs.complete,
        parent="run",
        status=200,
    ),
    CommandType(
        name="run.fail",
        path="/v1/runs/{run_id}/fail",
        body=runs.FailRun,
        decide=runs.fail,
        parent="run",
        status=200,
    ),
    CommandType(
        name="run.cancel",
        path="/v1/runs/{run_id}/cancel",
        body=runs.CancelRun,
        decide=runs.cancel,
        parent="run",
        status=200,
    ),
    CommandType(
        name="step.create",
        path="/v1/runs/{run_id}/steps",
        body=steps.CreateStep,
        decide=steps.create,
        prefix=ids.STEP,
        answers="step_id",
        parent="run",
    ),
    CommandType(
        name="step.complete",
        path="/v1/steps/{step_id}/complete",
        body=steps.CompleteStep,
        decide=steps.complete,
        parent="step",
        reads=_run,
        load=_last_of_tools,
        status=200,
    ),
    CommandType(
        name="step.fail",
        path="/v1/steps/{step_id}/fail",
        body=steps.FailStep,
        decide=steps.fail,
        parent="step",
        reads=_run,
        load=_last_of_tools,
        status=200,
    ),
    CommandType(
        name="tool.invoke",
        path="/v1/steps/{step_id}/toolcalls",
        body=tool_calls.InvokeTool,
        decide=tool_calls.invoke,
        prefix=ids.TOOL_CALL,
        answers="tool_call_id",
        parent="step",
        reads=_run,
        gate=policy.tool,
        acts=True,
    ),
    CommandType(
        name="tool.succeed",
        path="/v1/toolcalls/{tool_call_id}/succeed",
        body=tool_calls.SucceedTool,
        decide=tool_calls.succeed,
        parent="tool_call",
        reads=_run,
        status=200,
    ),
    CommandType(
        name="tool.fail",
        path="/v1/toolcalls/{tool_call_id}/fail",
        body=tool_calls.FailTool,
        decide=tool_calls.fail,
        parent="tool_call",
        reads=_run,
        load=failing,
        status=200,
    ),
    CommandType(
        name="artifact.create",
        path="/v1/steps/{step_id}/artifacts",
        body=artifacts.CreateArtifact,
        decide=artifacts.create,
        prefix=ids.ARTIFACT,
        answers="artifact_id",
        parent="step",
        reads=_run,
        load=keep,
    ),
    CommandType(
        name="run.claim",
        path="",
        body=leases.ClaimRun,
        decide=leases.claim,
        parent="run",
        load=_draw_attempt,
        acts=True,
        extra=_lease,
        status=200,
        internal=True,
    ),
    CommandType(
        name="run.acknowledge_stop",
        path="",
        body=leases.AcknowledgeStop,
        decide=leases.acknowledge_stop,
        parent="run",
        acts=True,
        status=200,
        internal=True,
    ),
    CommandType(
        name="run.release",
        path="",
        body=leases.ReleaseRun,
        decide=leases.release,
        parent="run",
        extra=_released,
        status=200,
        internal=True,
    ),
    CommandType(
        name="run.expire",
        path="",
        body=leases.ExpireRun,
        decide=leases.expire,
        parent="run",
        status=200,
        internal=True,
    ),
    CommandType(
        name="run.timeout",
        path="",
        body=leases.TimeOutRun,
        decide=leases.time_out,
        parent="run",
        status=200,
        internal=True,
    ),
)
