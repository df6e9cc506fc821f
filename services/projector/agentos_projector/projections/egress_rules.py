"""Egress rules as ``GET /v1/egress/rules`` lists them; removed ones stay as rows that say so."""

from typing import Final

from agentos_projector.projections.projection import load

EGRESS_RULES: Final = load(
    "proj_egress_rules", "egress_rules.sql", {"set": {"egress.rule.set"}, "removed": {"egress.rule.removed"}}
)
