"""Incidents as ``GET /v1/incidents`` lists them."""

from typing import Final

from agentos_projector.projections.projection import load

INCIDENTS: Final = load(
    "proj_incidents",
    "incidents.sql",
    {
        "opened": {"incident.opened"},
        "changed": {
            "incident.acknowledged",
            "incident.rca.updated",
            "incident.learning.logged",
            "incident.closed",
        },
    },
)
