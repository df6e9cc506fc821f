"""Agents as ``GET /v1/agents`` lists them."""

from typing import Final

from agentos_projector.projections.projection import load

AGENTS: Final = load(
    "proj_agents",
    "agents.sql",
    {"registered": {"agent.registered"}, "changed": {"agent.quarantined", "agent.unquarantined"}},
)
