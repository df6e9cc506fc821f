"""Reading kill switches."""

from collections.abc import Sequence
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from agentos_api.reads.queries import Row, answer, problems, reader_of
from agentos_shared.domain.kill_switches import switches_id
from agentos_shared.store import statements

router = APIRouter(tags=["kill_switches"])

SQL: Final = statements.load("agentos_api.routes", "kill_switches.sql")


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


class KillSwitchAnswer(BaseModel):
    """What is stopped in the workspace."""

    engaged: bool = Field(description="Whether anything is.", examples=[True])
    switches: list[KillSwitch]


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
    return answer({"engaged": bool(switches), "switches": switches})


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
