"""Requests that leave the machine, as ``GET /v1/egress/requests`` lists them."""

from typing import Final

from agentos_projector.projections.projection import load

EGRESS_REQUESTS: Final = load(
    "proj_egress_requests",
    "egress_requests.sql",
    {
        "requested": {"egress.requested"},
        "changed": {
            "egress.allowed",
            "egress.blocked",
            "egress.sent",
            "egress.succeeded",
            "egress.failed",
            "egress.outcome_unknown",
            "egress.reconciled",
        },
    },
)
