"""Engines as ``GET /v1/engines`` lists them."""

from typing import Final

from agentos_projector.projections.projection import load

ENGINES: Final = load(
    "proj_engines",
    "engines.sql",
    {
        "registered": {"engine.registered"},
        "changed": {"engine.registered", "engine.token.issued", "engine.token.revoked", "engine.deactivated"},
    },
)
