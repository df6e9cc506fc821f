"""Experiments as ``GET /v1/experiments`` lists them."""

from typing import Final

from agentos_projector.projections.projection import load

EXPERIMENTS: Final = load(
    "proj_experiments",
    "experiments.sql",
    {"created": {"experiment.created"}, "changed": {"experiment.updated", "experiment.closed"}},
)
