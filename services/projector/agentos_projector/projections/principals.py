"""Principals as ``GET /v1/principals/{id}`` shows them."""

from typing import Final

from agentos_projector.projections.projection import load

PRINCIPALS: Final = load("proj_principals", "principals.sql", {"registered": {"principal.registered"}})
