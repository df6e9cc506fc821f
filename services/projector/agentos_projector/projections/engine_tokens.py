"""Tokens of engines as ``GET /v1/engines/{id}/tokens`` lists them: never the secret, nor its digest."""

from typing import Final

from agentos_projector.projections.projection import load

ENGINE_TOKENS: Final = load(
    "proj_engine_tokens",
    "engine_tokens.sql",
    {
        "issued": {"engine.registered", "engine.token.issued"},
        "revoked": {"engine.token.revoked", "engine.deactivated"},
    },
)
