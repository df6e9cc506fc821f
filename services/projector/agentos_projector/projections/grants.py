"""Grants: what was approved for more than one act, as ``GET /v1/grants`` lists it."""

from typing import Final

from agentos_projector.projections.projection import load

GRANTS: Final = load(
    "proj_grants",
    "grants.sql",
    {
        "granted": {"approval.decided"},
        "changed": {"grant.used", "grant.revoked", "approval.lapsed"},
    },
)
