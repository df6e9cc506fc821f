"""Tool calls as ``GET /v1/toolcalls`` lists them."""

from typing import Final

from agentos_projector.projections.projection import load

TOOL_CALLS: Final = load(
    "proj_tool_calls", "tool_calls.sql", {"invoked": {"tool.invoked"}, "ended": {"tool.succeeded", "tool.failed"}}
)
