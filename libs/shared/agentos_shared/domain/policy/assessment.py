"""What is told of a decision besides the decision: how much is at stake, for whom it was asked, and how long it lasts.

Nothing here decides. The risk is a sum, so that every number can be explained: the points of each factor that applies,
100 at most.
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Any, Final, Literal

from agentos_shared.domain.canonical import canonical
from agentos_shared.domain.egress_match import READS
from agentos_shared.domain.envelope import ZONES, timestamp
from agentos_shared.domain.policy.decision import Decision
from agentos_shared.domain.policy.evaluate import leaves_the_machine, reads_only
from agentos_shared.domain.policy.facts import Facts, Request

#: Who sees to it that the decision holds: our own code that does the act, whatever stands on the wire, the program that
#: asked, or nobody.
Grade = Literal["structural", "network", "host_enforced", "observe_only"]

#: Points of each factor. docs/security.md lists them.
POINTS: Final[Mapping[str, int]] = {
    "zone_supervised": 10,
    "zone_high_stakes": 25,
    "leaves_the_machine": 25,
    "changes_something": 5,
    "cannot_be_undone": 20,
    "unregistered_action": 5,
    "asked_by_an_agent": 5,
    "in_quarantine": 30,
    "delegated": 5,
    "label_restricted": 10,
    "label_confidential": 15,
    "label_sensitive_pii": 20,
    "allowed_by_a_grant": 5,
}
MOST: Final = 100
#: What is at stake that makes an act one of another class.
_CLASSES: Final = frozenset(
    {"leaves_the_machine", "cannot_be_undone", "label_restricted", "label_confidential", "label_sensitive_pii"}
)


def assessment(request: Request, facts: Facts, decision: Decision) -> dict[str, Any]:
    """``risk`` and its ``risk_factors``, ``on_behalf_of``, ``delegation`` and ``valid_until``, as they are recorded."""
    factors = {name: POINTS[name] for name in _factors(request, facts, decision)}
    return {
        "risk": min(MOST, sum(factors.values())),
        "risk_factors": factors,
        "on_behalf_of": facts.on_behalf_of,
        "delegation": list(facts.delegation),
        "valid_until": _valid_until(facts, decision),
    }


def widened(asked: Request, edited: Request, before: Collection[str], after: Collection[str]) -> tuple[str, ...]:
    """In what an edit is more than what was asked for: another kind of act, another tool, a higher zone, or more at
    stake. Nobody asked for that, so that it is asked for anew.

    Args:
        before, after: names of what is at stake, as the gate sees it (``risk_factors``).
    """
    found = []
    if edited.category != asked.category:
        found.append("category")
    if edited.tool_name != asked.tool_name:
        found.append("tool_name")
    if edited.egress_method != asked.egress_method and edited.egress_method not in READS:
        found.append("method")
    if ZONES.index(edited.zone) > ZONES.index(asked.zone):
        found.append("zone")
    return (*found, *(name for name in after if name in _CLASSES and name not in before))


def context_digest(inputs: Mapping[str, Any] | None) -> str | None:
    """``sha256:`` and the digest of all that a decision was made on besides policies; None: that is not known."""
    return None if inputs is None else "sha256:" + hashlib.sha256(canonical(inputs)).hexdigest()


def _factors(request: Request, facts: Facts, decision: Decision) -> Iterator[str]:
    rule = facts.action
    if request.zone != "sandbox":
        yield f"zone_{request.zone}"
    if leaves_the_machine(request, facts):
        yield "leaves_the_machine"
    if not reads_only(request.action):
        yield "changes_something"
        if rule is not None and not rule.reversible:
            yield "cannot_be_undone"
        if rule is None and request.category == "action":
            yield "unregistered_action"
    if request.actor.type == "agent":
        yield "asked_by_an_agent"
    if facts.agent is not None and facts.agent.quarantined:
        yield "in_quarantine"
    if len(facts.delegation) > 1:
        yield "delegated"
    if request.category == "data_access" and f"label_{facts.label.label}" in POINTS:
        yield f"label_{facts.label.label}"
    if decision.allowed and decision.approval_id is not None:
        approval = facts.approvals.get(decision.approval_id)
        if approval is not None and approval.scope.get("type") != "once":
            yield "allowed_by_a_grant"


def _valid_until(facts: Facts, decision: Decision) -> str | None:
    """Until when the same is allowed, as far as that is known: the end of the approval or of the capability."""
    if not decision.allowed:
        return None
    approval = facts.approvals.get(decision.approval_id or "")
    ends: datetime | None = None if approval is None else approval.expires_at
    known = (decision.valid_until, None if ends is None else timestamp(ends))
    return min((end for end in known if end is not None), default=None)
