"""Approvals as ``GET /v1/approvals`` lists them."""

from typing import Final

from agentos_projector.projections.projection import load

APPROVALS: Final = load(
    "proj_approvals",
    "approvals.sql",
    {
        "requested": {"approval.requested"},
        "changed": {
            "approval.notified",
            "approval.notification_failed",
            "approval.seen",
            "approval.vote_recorded",
            "approval.decided",
            "approval.resumed",
            "approval.delivered",
            "approval.escalated",
            "approval.expired",
            "approval.cancelled",
            "approval.superseded",
            "approval.consumed",
            "approval.lapsed",
            "grant.used",
            "grant.revoked",
        },
    },
)
