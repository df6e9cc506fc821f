"""Reads what is learned from when a tool fails, or when a person denies or rewrites what was asked for."""

from typing import Final

import asyncpg

from agentos_api.append.locator import Location
from agentos_api.command_type import Reader
from agentos_shared.domain.actions import action_digest
from agentos_shared.domain.envelope import Actor
from agentos_shared.domain.policy.facts import Request
from agentos_shared.domain.policy.failures import Failure
from agentos_shared.domain.policy.learning import Counts
from agentos_shared.domain.tool_calls import FailTool
from agentos_shared.store import statements
from agentos_shared.store.reader import event_of

SQL: Final = statements.load("agentos_api", "failures.sql")
_TOOL_CALL: Final = "tool.call"


async def failing(reader: Reader, call: Location, _body: FailTool) -> Failure | None:
    """What a tool was called for that fails now."""
    row = await reader.pool.fetchrow(SQL["invoked"], call.workspace_id, call.entity_id)
    if row is None:
        return None
    invoked = event_of(row)
    content = invoked.parsed_content()
    data, claims = content["data"], content["policy_context"]
    if "tool_name" not in data or "input" not in data:  # redacted
        return None
    actor = Actor(invoked.actor_type, invoked.actor_id, invoked.actor_principal_id)
    parameters = {"tool_name": data["tool_name"], "input": data["input"]}
    place = invoked.room_id, invoked.run_id
    request = Request(
        workspace_id=invoked.workspace_id,
        category="tool_call",
        action=_TOOL_CALL,
        actor=actor,
        digest=action_digest(invoked.workspace_id, _TOOL_CALL, actor, *place, parameters),
        zone=invoked.zone,
        principal_id=claims.get("principal_id"),
        capability_token_id=claims.get("capability_token_id"),
        room_id=invoked.room_id,
        thread_id=invoked.thread_id,
        run_id=invoked.run_id,
        step_id=invoked.step_id,
        resource=data["tool_name"],
        tool_name=data["tool_name"],
        context=parameters,
    )
    return await counted(reader, Failure("tool_failed", request))


async def counted(reader: Reader, failure: Failure) -> Failure:
    """With how often the same went wrong in other streams, as far as the projection has come."""
    try:
        row = await reader.pool.fetchrow(SQL["counted"], failure.request.workspace_id, *failure.counted_by)
    except asyncpg.UndefinedTableError:
        return failure
    return failure if row is None else failure._replace(elsewhere=Counts(row["seen"], row["repeats"]))
