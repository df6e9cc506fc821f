"""Evidence manifests as ``GET /v1/runs/{id}/evidence`` shows them: one a run."""

from typing import Final

from agentos_projector.projections.projection import load

EVIDENCE: Final = load("proj_evidence", "evidence.sql", {"created": {"evidence.manifest.created"}})
