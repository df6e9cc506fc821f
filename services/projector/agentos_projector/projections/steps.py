"""Steps of runs as ``GET /v1/runs/{id}/steps`` lists them; the tool calls in a step move it as well."""

from typing import Final

from agentos_projector.projections.projection import load

STEPS: Final = load(
    "proj_steps",
    "steps.sql",
    {
        "created": {"step.created"},
        "changed": {"step.completed", "step.failed", "tool.invoked", "tool.succeeded", "tool.failed"},
    },
)
