"""What the egress rules of a workspace say of a request: pure, and always narrower than the rest of the gate.

Of all rules that cover a request, one that denies wins over one that asks for an approval, and that one over one that
allows: no rule is an exception from a stricter one, however specific it is. A rule that allows lifts one thing only,
the approval that whatever leaves the machine needs; no kill switch, quarantine, capability, policy or constraint.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from agentos_shared.domain.capabilities import moment
from agentos_shared.domain.egress_match import READS, EgressRule, Wanted, covers, opening
from agentos_shared.domain.envelope import timestamp
from agentos_shared.domain.policy.facts import Facts, Request


@dataclass(frozen=True, slots=True)
class Rulings:
    """What rules say of one request.

    Args:
        denying, asking, allowing: ids of the rules in force that say so; allowing: only where that counts.
        obligations: limits and openings that go with being allowed.
        shadow: rules that are only watched, and what they would have said.
        valid_until: when one of those in force ends.
    """

    denying: tuple[str, ...] = ()
    asking: tuple[str, ...] = ()
    allowing: tuple[str, ...] = ()
    obligations: tuple[Mapping[str, Any], ...] = ()
    shadow: tuple[Mapping[str, Any], ...] = ()
    valid_until: str | None = None

    def told(self) -> dict[str, Any]:
        """As it is recorded."""
        return {
            "denying": list(self.denying),
            "asking": list(self.asking),
            "allowing": list(self.allowing),
            "obligations": [dict(obligation) for obligation in self.obligations],
            "shadow": [dict(one) for one in self.shadow],
            "valid_until": self.valid_until,
        }


NO_RULINGS: Final = Rulings()


def rulings_of(told: Mapping[str, Any]) -> Rulings:
    """Rulings from :meth:`Rulings.told`.

    Raises:
        KeyError, TypeError, ValueError: they are none.
    """
    ids = {name: tuple(told[name]) for name in ("denying", "asking", "allowing")}
    if not all(type(one) is str for listed in ids.values() for one in listed):
        raise ValueError("an id of a rule is no text")
    valid_until = told["valid_until"]
    if valid_until is not None:
        moment(valid_until)
    obligations, shadow = (tuple(dict(one) for one in told[name]) for name in ("obligations", "shadow"))
    return Rulings(**ids, obligations=obligations, shadow=shadow, valid_until=valid_until)


def rulings(request: Request, facts: Facts) -> Rulings:
    """What the rules say of a request; nothing of what does not leave the machine."""
    if request.category != "egress" or request.egress_host is None or not facts.egress_rules:
        return NO_RULINGS
    wanted = wanted_of(request, facts)
    found = [rule for rule in facts.egress_rules if covers(rule, wanted, facts.now)]
    held = [rule for rule in found if rule.mode == "enforce"]
    ends = [rule.expires_at for rule in held if rule.expires_at is not None]
    return Rulings(
        denying=_ids(held, "deny"),
        asking=_ids(held, "require_approval"),
        allowing=_ids(held, "allow") if _may_be_allowed(wanted) else (),
        obligations=(*_rates(held, principal_of(request)), *_sizes(held), *_openings(held)),
        shadow=tuple({"rule_id": rule.rule_id, "effect": rule.effect} for rule in found if rule.mode == "shadow"),
        valid_until=timestamp(min(ends)) if ends else None,
    )


def wanted_of(request: Request, facts: Facts) -> Wanted:
    """A request of the gate as rules look at it."""
    agent, principal = facts.agent, principal_of(request)
    named = {principal} if agent is None else {principal, agent.agent_id}
    if request.actor.type == "agent":
        named.add(request.actor.id)
    return Wanted(
        request.egress_host or "",
        request.egress_method,
        request.egress_port,
        request.egress_path,
        request.zone,
        request.room_id,
        frozenset(named),
    )


def principal_of(request: Request) -> str:
    """Whose request it is, for limits that each principal has for itself."""
    return request.principal_id or request.actor.principal_id


def _may_be_allowed(wanted: Wanted) -> bool:
    """In the zone ``high_stakes`` rules allow reads; whatever may write still needs an approval."""
    return wanted.zone != "high_stakes" or wanted.method in READS


def _ids(rules: Iterable[EgressRule], effect: str) -> tuple[str, ...]:
    return tuple(rule.rule_id for rule in rules if rule.effect == effect)


def _rates(rules: Iterable[EgressRule], principal: str) -> Iterable[dict[str, Any]]:
    """Limits, each with whose it is: a principal's, or None for that of the whole workspace."""
    for rule in rules:
        if rule.rate is not None:
            told = rule.rate._asdict()
            subject = principal if told.pop("per") == "principal" else None
            yield {"type": "rate_limit", "rule_id": rule.rule_id, "subject": subject, **told}


def _sizes(rules: Iterable[EgressRule]) -> Iterable[dict[str, Any]]:
    sizes = {
        "request_bytes": [rule.request_bytes for rule in rules if rule.request_bytes is not None],
        "response_bytes": [rule.response_bytes for rule in rules if rule.response_bytes is not None],
    }
    if any(sizes.values()):
        yield {"type": "max_bytes", **{name: min(listed, default=None) for name, listed in sizes.items()}}


def _openings(rules: Iterable[EgressRule]) -> Iterable[dict[str, Any]]:
    for rule in rules:
        if rule.private and rule.effect == "allow":
            place = {"host": rule.host, "port": rule.port, "opening": opening(rule)}
            yield {"type": "open_address", "rule_id": rule.rule_id, **place}
