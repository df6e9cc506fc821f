"""Attempts at runs, one for each claim, as ``GET /v1/runs/{id}/attempts`` lists them."""

from typing import Final

from agentos_projector.projections.projection import load

RUN_ATTEMPTS: Final = load(
    "proj_run_attempts",
    "run_attempts.sql",
    {
        "claimed": {"run.claimed"},
        "ended": {"run.lease_released", "run.lease_expired", "run.completed", "run.failed", "run.cancelled"},
    },
)
