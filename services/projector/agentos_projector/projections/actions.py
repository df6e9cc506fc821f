"""Actions that users registered, as ``GET /v1/action-registry`` lists them beside those known from the start."""

from typing import Final

from agentos_projector.projections.projection import load

ACTIONS: Final = load(
    "proj_actions",
    "actions.sql",
    {"registered": {"action.registered"}, "changed": {"action.registered", "action.undo_drill.recorded"}},
)
