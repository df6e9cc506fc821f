"""Capabilities as ``GET /v1/capabilities`` lists them. An engine token's capability ends with the token."""

from typing import Final

from agentos_projector.projections.projection import load

CAPABILITIES: Final = load(
    "proj_capabilities",
    "capabilities.sql",
    {
        "granted": {"agent.capability.granted"},
        "revoked": {"agent.capability.revoked", "engine.token.revoked", "engine.deactivated"},
    },
)
