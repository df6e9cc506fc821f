"""A decision, with all that explains it: the rule that was decisive, in words, and what can be done about it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from agentos_shared.domain.envelope import Zone

Verdict = Literal["allow", "deny", "require_approval"]
Source = Literal["built_in", "file", "learned", "grant", "rule"]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that had a part in a decision.

    Args:
        rule_id: its reason code where it is built in, the policy's id of a file, the id of a constraint, an approval or
            an egress rule.
        effect: what it says by itself.
    """

    rule_id: str
    effect: Verdict
    source: Source

    def told(self) -> dict[str, Any]:
        """As it is recorded."""
        return {"rule_id": self.rule_id, "effect": self.effect, "source": self.source}


@dataclass(frozen=True, slots=True)
class Decision:
    """What the gate says.

    Args:
        reason_code: the decisive reason; ``reason_codes``: all of them, that one first.
        reason: for people. next_steps: what can be done about it.
        obligations: what whoever acts must do besides; one that it does not understand is a denial.
        action_digest: of exactly this wish; an approval ``once`` is bound to it.
        policy_bundle_hash: of the policies that were in force.
        approval_id: the approval that allows it.
        shadow: rules that are only watched, and what they would have said.
        valid_until: when what it rests on ends; None: it has no end of its own.
    """

    decision: Verdict
    reason_code: str
    reason: str
    reason_codes: tuple[str, ...]
    next_steps: tuple[str, ...]
    determining_rules: tuple[Rule, ...]
    action_digest: str
    policy_bundle_hash: str
    zone: Zone
    obligations: tuple[Mapping[str, Any], ...] = ()
    approval_id: str | None = None
    shadow: tuple[Mapping[str, Any], ...] = ()
    valid_until: str | None = None

    @property
    def would_deny(self) -> bool:
        """Whether it would be a denial if the rules that are only watched were in force."""
        return self.decision != "deny" and any(one["effect"] == "deny" for one in self.shadow)

    @property
    def allowed(self) -> bool:
        """Whether it may be done now."""
        return self.decision == "allow"

    def told(self) -> dict[str, Any]:
        """As it is sent between processes, and recorded."""
        return {
            "decision": self.decision,
            "reason_code": self.reason_code,
            "reason": self.reason,
            "reason_codes": list(self.reason_codes),
            "next_steps": list(self.next_steps),
            "determining_rules": [rule.told() for rule in self.determining_rules],
            "obligations": [dict(obligation) for obligation in self.obligations],
            "action_digest": self.action_digest,
            "policy_bundle_hash": self.policy_bundle_hash,
            "zone": self.zone,
            "approval_id": self.approval_id,
            "shadow": [dict(one) for one in self.shadow],
            "valid_until": self.valid_until,
        }
