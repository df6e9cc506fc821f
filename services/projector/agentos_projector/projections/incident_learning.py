"""What was learnt from incidents, as ``GET /v1/incidents/{id}`` lists it."""

from typing import Final

from agentos_projector.projections.projection import load

INCIDENT_LEARNING: Final = load(
    "proj_incident_learning", "incident_learning.sql", {"logged": {"incident.learning.logged"}}
)
