"""Scorecards as ``GET /v1/scorecards`` lists them."""

from typing import Final

from agentos_projector.projections.projection import load

SCORECARDS: Final = load("proj_scorecards", "scorecards.sql", {"recorded": {"scorecard.recorded"}})
