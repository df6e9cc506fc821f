"""Reading kill switches, and what they would have stopped."""

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any, Final, get_args

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field, WithJsonSchema

from agentos_api.reads.queries import MinPosition, Row, answer, members, position_of, problems, reader_of
from agentos_shared.domain import kill_switches
from agentos_shared.domain.envelope import Event, timestamp
from agentos_shared.domain.errors import Invalid
from agentos_shared.domain.kill_switches import switches_id
from agentos_shared.domain.policy import facts
from agentos_shared.domain.policy.drill import ACTS, request_of, would_stop
from agentos_shared.host.lifecycle import CLOCK
from agentos_shared.store import statements
from agentos_shared.store.reader import event_of

router = APIRouter(tags=["kill_switches"])

SQL: Final = statements.load("agentos_api.routes", "kill_switches.sql")
SCOPES: Final = get_args(facts.KillScope)
MAX_MINUTES: Final = 1440
#: Acts of each kind that a drill looks at.
MAX_ACTS: Final = 1_000
MAX_RUNS: Final = 500
_DIGITS: Final = re.compile(r"[0-9]{1,9}")
_TEXT: Final = WithJsonSchema({"type": "string", "maxLength": kill_switches.MAX_TARGET})


class KillSwitch(BaseModel):
    """A switch that is engaged."""

    scope: str = Field(
        description="workspace, external_write, room, agent, tool or egress_host.", examples=["external_write"]
    )
    target: str | None = Field(description="Which room, agent, tool or host.", examples=[None])
    reason: str | None = Field(examples=["letters to the wrong people"])
    engaged_by_type: str | None = Field(description="Null: the environment.", examples=["user"])
    engaged_by_id: str | None = Field(examples=["ada"])
    engaged_at: str | None = Field(examples=["2026-11-24T05:30:00.123Z"])
    forced: bool = Field(description="Engaged by the environment: no call releases it.", examples=[False])


class StoppedRun(BaseModel):
    """A run that is asked to stop, and whether it was seen to."""

    run_id: str = Field(examples=["run_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    room_id: str | None = Field(examples=["room_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    status: str = Field(examples=["running"])
    actor_id: str | None = Field(description="Who claimed it last.", examples=["summariser"])
    stop_requested_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])
    stop_observed_at: str | None = Field(
        description="When it ended, its lease did, its holder said so, or the call of the tool came back. Null: "
        "nothing shows that it has stopped.",
        examples=[None],
    )


class StoppedRunsAnswer(BaseModel):
    """Runs that switches of a workspace, a room, an agent or a tool ask to stop; the others stop acts, not runs."""

    requested: int = Field(examples=[5])
    observed: int = Field(examples=[3])
    complete: bool = Field(description=f"False: there are over {MAX_RUNS}.", examples=[True])
    runs: list[StoppedRun]


class KillSwitchAnswer(BaseModel):
    """What is stopped in the workspace."""

    engaged: bool = Field(description="Whether anything is.", examples=[True])
    switches: list[KillSwitch]
    stops: StoppedRunsAnswer = Field(description="As far as runs are known now; `/runs` waits for a position.")


@router.get(
    "/v1/policy/kill-switch",
    response_model=KillSwitchAnswer,
    responses=problems(malformed=None),
    summary="Read what is stopped",
)
async def get_kill_switch(request: Request) -> Response:
    """Switches that are engaged, as new as the store is; those of the environment first."""
    reader = reader_of(request)

    async def look() -> Sequence[Row] | None:
        rows = await reader.fetch(SQL["get_switches"], reader.workspace_id, switches_id(reader.workspace_id))
        return rows if rows[0]["entity_version"] >= rows[0]["store_version"] else None

    rows = await reader.projected.until(look)
    switches = [_switch(row) for row in rows if row["scope"] is not None]
    if request.app.state.services.settings.kill_switch_external_write:
        switches.insert(0, _FORCED)
    stops = (
        _stops(await reader.page(SQL["stopped_runs"], "run_id", *_ANYWHERE, MAX_RUNS + 1)) if switches else _NO_STOPS
    )
    return answer({"engaged": bool(switches), "switches": switches, "stops": stops})


_FORCED: Final = {
    "scope": "external_write",
    "target": None,
    "reason": "POLICY_KILL_SWITCH_EXTERNAL_WRITE is set",
    "engaged_by_type": None,
    "engaged_by_id": None,
    "engaged_at": None,
    "forced": True,
}


def _switch(row: Row) -> dict[str, Any]:
    return {
        "scope": row["scope"],
        "target": row["target"],
        "reason": row["reason"],
        "engaged_by_type": row["actor_type"],
        "engaged_by_id": row["actor_id"],
        "engaged_at": row["changed_at"],
        "forced": False,
    }


class StoppedAct(BaseModel):
    """Something that was done or allowed, and would not have been."""

    event_id: str = Field(examples=["019ab3c4-5d6e-7f80-9123-456789abcdef"])
    event_type: str = Field(examples=["tool.invoked"])
    recorded_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])
    action: str = Field(examples=["tool.call"])
    tool_name: str | None = Field(examples=["shell"])
    actor_type: str = Field(examples=["agent"])
    actor_id: str = Field(examples=["summariser"])
    room_id: str | None = Field(examples=["room_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    run_id: str | None = Field(examples=["run_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])


class DrillAnswer(BaseModel):
    """What a switch would have stopped, the newest first. Nothing is engaged."""

    scope: str = Field(examples=["tool"])
    target: str | None = Field(examples=["shell"])
    since: str = Field(examples=["2026-11-24T04:30:00.123Z"])
    looked_at: int = Field(description="Acts and decisions of that time.", examples=[12])
    complete: bool = Field(description=f"False: of a kind there were over {MAX_ACTS}.", examples=[True])
    stopped: list[StoppedAct]


@router.get(
    "/v1/policy/kill-switch/drill",
    response_model=DrillAnswer,
    responses=problems(malformed="invalid_scope, missing_target, invalid_target, invalid_minutes"),
    summary="See what a kill switch would have stopped",
)
async def drill(
    request: Request,
    scope: Annotated[str | None, Query(), WithJsonSchema({"type": "string", "enum": list(SCOPES)})] = None,
    target: Annotated[str | None, Query(description="Which room, agent, tool or host."), _TEXT] = None,
    minutes: Annotated[
        str | None,
        Query(description="How far to look back; 60 by default."),
        WithJsonSchema({"type": "integer", "minimum": 1, "maximum": MAX_MINUTES}),
    ] = None,
) -> Response:
    """What a switch would have stopped in the last minutes, had it been engaged."""
    switch = _wanted(scope, target)
    since = CLOCK.now() - timedelta(minutes=_minutes(minutes))
    reader = reader_of(request)
    rows = await reader.fetch(SQL["acts"], reader.workspace_id, list(ACTS), since, MAX_ACTS)
    external = {row["action_type"] for row in await reader.fetch(SQL["external_actions"], reader.workspace_id)}
    acts = [event_of(row) for row in rows]
    counts = [sum(act.event_type == kind for act in acts) for kind in ACTS]
    stopped = [act for act in acts if would_stop(act, switch, external)]
    return answer(
        {
            "scope": switch.scope,
            "target": switch.target,
            "since": timestamp(since),
            "looked_at": len(acts),
            "complete": max(counts) < MAX_ACTS,
            "stopped": [_stopped(act) for act in stopped],
        }
    )


def _stopped(act: Event) -> dict[str, Any]:
    wish = request_of(act)
    return {
        "event_id": act.event_id,
        "event_type": act.event_type,
        "recorded_at": act.recorded_at,
        "action": wish.action,
        "tool_name": wish.tool_name,
        "actor_type": act.actor_type,
        "actor_id": act.actor_id,
        "room_id": act.room_id,
        "run_id": act.run_id,
    }


def _wanted(scope: str | None, target: str | None) -> facts.KillSwitch:
    """Raises Invalid: ``invalid_scope``, ``missing_target``, ``invalid_target``."""
    for known in SCOPES:
        if known == (scope or "external_write"):
            return facts.KillSwitch(known, kill_switches.target_of(known, target))
    raise Invalid("invalid_scope", f"scope must be one of {', '.join(SCOPES)}.")


def _minutes(text: str | None) -> int:
    """Raises Invalid: ``invalid_minutes``."""
    if not text:
        return 60
    if not _DIGITS.fullmatch(text) or not 1 <= int(text) <= MAX_MINUTES:
        raise Invalid("invalid_minutes", f"minutes must be a whole number from 1 to {MAX_MINUTES}.")
    return int(text)


@router.get(
    "/v1/policy/kill-switch/runs",
    response_model=StoppedRunsAnswer,
    responses=problems(malformed="invalid_min_position"),
    summary="See which runs were asked to stop, and which were seen to",
)
async def stopped_runs(request: Request, min_position: MinPosition = None) -> Response:
    """Runs that are asked to stop. Only an end that is on record counts as one."""
    position = position_of(min_position)
    place = (position.seq, position.stream_type, position.stream_id)
    rows = await reader_of(request).page(SQL["stopped_runs"], "run_id", *place, MAX_RUNS + 1)
    return answer(_stops(rows))


#: A place that is always covered.
_ANYWHERE: Final = (0, "", "")
_NO_STOPS: Final = {"requested": 0, "observed": 0, "complete": True, "runs": []}


def _stops(rows: Sequence[Row]) -> dict[str, Any]:
    runs = [members(row, tuple(StoppedRun.model_fields)) for row in rows[:MAX_RUNS]]
    return {
        "requested": len(runs),
        "observed": sum(run["stop_observed_at"] is not None for run in runs),
        "complete": len(rows) <= MAX_RUNS,
        "runs": runs,
    }
