"""Runs as ``GET /v1/runs`` lists them."""

from typing import Final

from agentos_projector.projections.projection import load

RUNS: Final = load(
    "proj_runs",
    "runs.sql",
    {
        "created": {"run.created"},
        "changed": {
            "run.claimed",
            "run.started",
            "run.lease_released",
            "run.lease_expired",
            "run.stop_acknowledged",
            "run.completed",
            "run.failed",
            "run.cancelled",
        },
    },
)
