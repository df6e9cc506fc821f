"""Artifacts as ``GET /v1/artifacts`` lists them."""

from typing import Final

from agentos_projector.projections.projection import load

ARTIFACTS: Final = load("proj_artifacts", "artifacts.sql", {"created": {"artifact.created"}})
