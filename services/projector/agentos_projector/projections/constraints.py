"""Constraints as ``GET /v1/constraints`` lists them."""

from typing import Final

from agentos_projector.projections.projection import load

CONSTRAINTS: Final = load(
    "proj_constraints",
    "constraints.sql",
    {
        "learned": {"constraint.learned"},
        "changed": {"constraint.learned", "mistake.repeated", "constraint.activated", "constraint.retired"},
    },
)
