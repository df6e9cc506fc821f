"""``evaluate(request, facts, policies) -> Decision``: pure, and in one fixed order.

Kill switch, then who asks and with which capability, then whatever denies, then whatever asks for an approval, then the
approvals that are there, then allow. A denial is never lifted by anything that comes later. Policies of a file and
constraints that were learned take part as two more sources of denials and requirements: they narrow, and never widen.
So do egress rules, except that one which allows lifts the requirement that is there for whatever leaves the machine.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, Protocol

from agentos_shared.domain.approval_scopes import Wish
from agentos_shared.domain.capabilities import EVERYTHING, Capability
from agentos_shared.domain.egress_match import host_fits
from agentos_shared.domain.envelope import ZONES, timestamp
from agentos_shared.domain.policy.basis import Basis
from agentos_shared.domain.policy.decision import Decision, Rule, Source, Verdict
from agentos_shared.domain.policy.egress import NO_RULINGS, Rulings, rulings
from agentos_shared.domain.policy.facts import ActionRule, Constraint, Facts, KillSwitch, Request
from agentos_shared.domain.policy.reasons import REASONS

EXTERNAL_WRITE: Final = "external.write"
DATA_ACTIONS: Final = frozenset({"data.read", "data.write"})
_SENSITIVE: Final = frozenset({"confidential", "sensitive_pii"})
#: Which approval meets a requirement: any that covers the wish, or only one of exactly this wish.
Lift = Literal["grant", "once"]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the policies of a file say of a request.

    Args:
        permitted: whether one permits it and none could not be evaluated.
        denies, requires: ids of policies that forbid it, and of those that ask for an approval.
        errors: ids of policies, or messages, where evaluation failed.
    """

    permitted: bool = True
    denies: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()


class Policies(Protocol):
    """A bundle of policies that is in force."""

    @property
    def hash(self) -> str:
        """``sha256:`` and the digest of its text."""

    def judge(self, request: Request, facts: Facts) -> Judgement:
        """What it says of a request. Never raises."""


class _NoPolicies:
    hash = "none"

    def judge(self, request: Request, facts: Facts) -> Judgement:
        return Judgement()


NO_POLICIES: Final[Policies] = _NoPolicies()
_SILENT: Final = Judgement()


@dataclass(frozen=True, slots=True)
class _Finding:
    code: str
    effect: Verdict
    source: Source = "built_in"
    rule_id: str | None = None
    lift: Lift = "grant"

    @property
    def rule(self) -> Rule:
        return Rule(self.rule_id or self.code, self.effect, self.source)


def evaluate(request: Request, facts: Facts, policies: Policies = NO_POLICIES) -> Decision:
    """The decision on a request. The same arguments give the same decision, for ever."""
    denials = [_Finding(code, "deny") for code in bars(request, facts)]
    judged = policies.judge(request, facts)
    ruled = rulings(request, facts)
    denials += _denied(request, facts, judged, ruled)
    requirements = list(_required(request, facts, judged, ruled))
    exactly = any(finding.lift == "once" for finding in requirements)
    approval_id = _approval(request, facts, exactly) if requirements and not denials else None
    outcome = _Outcome(denials, requirements, approval_id, ruled, _ends(request, facts))
    return outcome.decision(request, policies.hash)


def basis(request: Request, facts: Facts) -> Basis:
    """All that :func:`evaluate` looks at besides policies of files."""
    ruled = rulings(request, facts)
    denials = list(_denied(request, facts, _SILENT, NO_RULINGS))
    requirements = list(_required(request, facts, _SILENT, replace(ruled, asking=())))
    return Basis(
        bars=bars(request, facts),
        denials=tuple(finding.code for finding in denials if finding.source == "built_in"),
        forbidding=tuple(finding.rule.rule_id for finding in denials if finding.source == "learned"),
        requirements=tuple(finding.code for finding in requirements if finding.source == "built_in"),
        asking=tuple(finding.rule.rule_id for finding in requirements if finding.source == "learned"),
        exactly=any(finding.lift == "once" for finding in requirements),
        approval_id=_approval(request, facts, exactly=False),
        exact_approval_id=_approval(request, facts, exactly=True),
        external=leaves_the_machine(request, facts),
        quarantined=facts.agent is not None and facts.agent.quarantined,
        label=facts.label.label,
        egress=ruled,
        valid_until=_ends(request, facts),
    )


def settled(request: Request, known: Basis, policies_hash: str, judged: Judgement) -> Decision:
    """The decision that :func:`evaluate` makes on what ``known`` is the basis of, where policies say ``judged``."""
    denials = [
        *(_Finding(code, "deny") for code in known.bars),
        *_errors(judged),
        *(_Finding(code, "deny") for code in known.denials),
        *_denied_by_rules(known.egress),
        *_forbidden(judged),
        *(_Finding("constraint.learned", "deny", "learned", name) for name in known.forbidding),
    ]
    requirements = [
        *(_ask(code) for code in known.requirements),
        *_asked_by_rules(known.egress),
        *_asked_for(judged),
        *(_Finding("constraint.learned", "require_approval", "learned", name) for name in known.asking),
    ]
    approval_id = known.exact_approval_id if known.exactly else known.approval_id
    outcome = _Outcome(denials, requirements, approval_id, known.egress, known.valid_until)
    return outcome.decision(request, policies_hash)


def bars(request: Request, facts: Facts) -> tuple[str, ...]:
    """Codes of what stops a request before anything else: kill switches, who asks, with which capability."""
    return (*_stopped(request, facts), *_unproven(request, facts))


def reads_only(action: str) -> bool:
    """Whether an action does nothing but read: all that is left to an agent in quarantine."""
    return action.endswith(".read")


def leaves_the_machine(request: Request, facts: Facts) -> bool:
    """Whether something gets out: then it counts as ``external.write``, whatever it is called."""
    rule = facts.action
    return request.category == "egress" or request.action == EXTERNAL_WRITE or (rule is not None and rule.external)


# --- denials, in the order in which they are told --------------------------------------------------------------------


def _stopped(request: Request, facts: Facts) -> Iterator[str]:
    external = leaves_the_machine(request, facts)
    if any(_stops(switch, request, facts, external) for switch in facts.kill_switches):
        yield "kill_switch_active"
    if external and not facts.kill_switch_known:
        yield "kill_switch_unknown"


def _stops(switch: KillSwitch, request: Request, facts: Facts, external: bool) -> bool:
    target = switch.target
    match switch.scope:
        case "workspace":
            return True
        case "external_write":
            return external
        case "room":
            return target is not None and target == request.room_id
        case "agent":
            agent = facts.agent
            named = {request.actor.id, request.actor.principal_id, request.principal_id}
            return target is not None and (target in named or (agent is not None and target == agent.agent_id))
        case "tool":
            return target is not None and target == request.tool_name
        case "egress_host":
            return target is not None and request.egress_host is not None and host_fits(request.egress_host, target)


def _unproven(request: Request, facts: Facts) -> Iterator[str]:
    agent = facts.agent
    if request.actor.type == "agent":
        if request.principal_id is None:
            yield "agent_principal_required"
        elif agent is None:
            yield "agent_principal_not_found"
        elif agent.agent_id != request.actor.id:
            yield "agent_actor_id_mismatch"
    if agent is not None and agent.quarantined and not reads_only(request.action):
        yield "agent_quarantined"
    if request.capability_token_id is not None:
        refusal = _capability(request, facts)
        if refusal is not None:
            yield refusal


def _capability(request: Request, facts: Facts) -> str | None:
    """Why the capability that came with a request does not cover it, or None."""
    capability = facts.capability
    if capability is None or capability.workspace_id != request.workspace_id:
        return "capability_token_not_found"
    if capability.revoked or facts.capability_revoked:
        return "capability_token_revoked"
    if capability.valid_until is not None and capability.valid_until <= facts.now:
        return "capability_token_expired"
    if capability.principal_id != (request.principal_id or request.actor.principal_id):
        return "capability_token_principal_mismatch"
    if capability.scopes.get("max_uses") and request.capability_scopes is None:
        return "capability_bearer_required"
    if request.capability_scopes is not None:
        capability = replace(capability, scopes=request.capability_scopes)
    highest = capability.scopes.get("zone_max")
    if highest is not None and ZONES.index(request.zone) > ZONES.index(highest):
        return "capability_scope_zone_exceeded"
    if capability.scopes.get("rooms"):
        if request.room_id is None:
            return "capability_scope_room_required"
        if not capability.allows("rooms", request.room_id):
            return "capability_scope_room_not_allowed"
    refusal = _scope(request, facts, capability)
    return None if refusal is None else f"capability_scope_{refusal}"


def _scope(request: Request, facts: Facts, capability: Capability) -> str | None:
    scopes = capability.scopes
    match request.category:
        case "tool_call":
            if not scopes.get("tools"):
                return "tool_required"
            if request.tool_name is None:
                return "context_missing_tool_name"
            return None if capability.allows("tools", request.tool_name) else "tool_not_allowed"
        case "data_access":
            listed = (scopes.get("data_access") or {}).get("read" if request.action == "data.read" else "write")
            if not listed:
                return "data_access_required"
            return None if facts.label.label in listed or EVERYTHING in listed else "data_access_not_allowed"
        case "egress":
            if not scopes.get("egress_domains"):
                return "egress_domain_required"
            if request.egress_host is None:
                return "context_missing_egress_domain"
            fits = any(host_fits(request.egress_host, domain) for domain in scopes["egress_domains"])
            return None if fits else "domain_not_allowed"
        case "action":
            if not scopes.get("action_types"):
                return "action_type_required"
            return None if capability.allows("action_types", request.action) else "action_not_allowed"


def _denied(request: Request, facts: Facts, judged: Judgement, ruled: Rulings) -> Iterator[_Finding]:
    yield from _errors(judged)
    rule = facts.action
    if _registered(request) and rule is not None:
        if rule.by_zone is None:
            if rule.zone_required not in (request.zone, "high_stakes"):
                yield _Finding("action_zone_mismatch", "deny")
        elif rule.by_zone[request.zone].effect == "deny":
            yield _Finding("zone.action_not_allowed", "deny")
        elif rule.by_zone[request.zone].users_only and request.actor.type != "user":
            yield _Finding("zone.users_only", "deny")
    label = facts.label
    restricted = request.action in DATA_ACTIONS and label.label == "restricted"
    if restricted and (label.room_id is None or label.room_id != request.room_id):
        yield _Finding("data_access_restricted_room_mismatch", "deny")
    yield from _denied_by_rules(ruled)
    yield from _forbidden(judged)
    yield from _constraints(request, facts, "deny")


def _errors(judged: Judgement) -> Iterator[_Finding]:
    return (_Finding("policy.error_fail_closed", "deny", "file", error) for error in judged.errors)


def _denied_by_rules(ruled: Rulings) -> Iterator[_Finding]:
    return (_Finding("egress.host_not_allowed", "deny", "rule", rule_id) for rule_id in ruled.denying)


def _forbidden(judged: Judgement) -> Iterator[_Finding]:
    yield from (_Finding("policy.rule_matched", "deny", "file", policy) for policy in judged.denies)
    if not judged.permitted and not judged.errors and not judged.denies:
        yield _Finding("policy.no_match_default", "deny", "file")


# --- requirements ----------------------------------------------------------------------------------------------------


def _registered(request: Request) -> bool:
    """Whether the action registry has a say."""
    return request.category in ("action", "egress") and request.action != EXTERNAL_WRITE


def _required(request: Request, facts: Facts, judged: Judgement, ruled: Rulings) -> Iterator[_Finding]:
    rule = facts.action
    high = request.zone == "high_stakes"
    if _registered(request):
        if rule is None:
            if high and request.category == "action" and request.action not in DATA_ACTIONS:
                yield _ask("zone.unregistered_requires_approval")
        else:
            yield from _asked_by(rule, request)
    if (request.action == EXTERNAL_WRITE or request.category == "egress") and not ruled.allowing:
        yield _ask("external_write_requires_approval")
    if request.action in DATA_ACTIONS and facts.label.label in _SENSITIVE and not request.justification:
        wanted = facts.label.purpose_tags
        if wanted and not set(wanted) & set(request.purpose_tags):
            yield _ask("data_access_purpose_hint_mismatch")
    yield from _asked_by_rules(ruled)
    yield from _asked_for(judged)
    yield from _constraints(request, facts, "require_approval")


def _asked_by_rules(ruled: Rulings) -> Iterator[_Finding]:
    code = "egress.rule_requires_approval"
    return (_Finding(code, "require_approval", "rule", rule_id) for rule_id in ruled.asking)


def _asked_for(judged: Judgement) -> Iterator[_Finding]:
    return (_Finding("policy.rule_matched", "require_approval", "file", policy) for policy in judged.requires)


def _asked_by(rule: ActionRule, request: Request) -> Iterator[_Finding]:
    """What the registry asks an approval for."""
    if rule.by_zone is not None:
        zoned = rule.by_zone[request.zone]
        if zoned.effect == "require_approval":
            yield _ask("zone.action_requires_approval", "once" if zoned.once else "grant")
    elif request.zone != "high_stakes":
        if rule.zone_required == "high_stakes":
            yield _ask("action_zone_requires_high_stakes", "once")
        if not rule.reversible:
            yield _ask("action_irreversible_requires_high_stakes", "once")
    if rule.requires_pre_approval:
        yield _ask("action_pre_approval_required", "once")


def _ask(code: str, lift: Lift = "grant") -> _Finding:
    return _Finding(code, "require_approval", lift=lift)


def _constraints(request: Request, facts: Facts, effect: Verdict) -> Iterator[_Finding]:
    for constraint in facts.constraints:
        if constraint.effect == effect and _concerns(constraint, request, facts):
            yield _Finding("constraint.learned", effect, "learned", constraint.constraint_id)


def _concerns(constraint: Constraint, request: Request, facts: Facts) -> bool:
    if constraint.category not in (None, request.category) or constraint.action not in (None, request.action):
        return False
    return constraint.subject_key is None or constraint.subject_key in subjects(request, facts)


def subjects(request: Request, facts: Facts) -> tuple[str, ...]:
    """The names under which whoever asks is remembered, the most telling first."""
    actor, agent = request.actor, facts.agent
    agent_id = agent.agent_id if agent is not None else actor.id if actor.type == "agent" else None
    principal = request.principal_id or actor.principal_id
    own = f"actor:{actor.type}:{actor.id}"
    return (*((f"agent:{agent_id}",) if agent_id else ()), f"principal:{principal}", own)


def _approval(request: Request, facts: Facts, exactly: bool) -> str | None:
    """The newest approval that covers a request, or None.

    Args:
        exactly: only one of exactly this request will do.
    """
    if not facts.approvals:
        return None
    wish = Wish(
        request.action,
        request.digest,
        request.room_id,
        request.thread_id,
        request.run_id,
        request.resource,
        request.context,
    )
    for approval_id, approval in facts.approvals.items():
        if exactly and approval.scope.get("type") != "once":
            continue
        if approval.workspace_id == request.workspace_id and approval.allows(wish, facts.now):
            return approval_id
    return None


def _ends(request: Request, facts: Facts) -> str | None:
    """When the capability of a request ends."""
    capability = None if request.capability_token_id is None else facts.capability
    return None if capability is None or capability.valid_until is None else timestamp(capability.valid_until)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """All that was found about a request, in the order in which it counts."""

    denials: Sequence[_Finding]
    requirements: Sequence[_Finding]
    approval_id: str | None
    ruled: Rulings
    valid_until: str | None

    def decision(self, request: Request, policies_hash: str) -> Decision:
        """What follows from it."""
        shadow = self.ruled.shadow
        if self.denials:
            return _decision(request, policies_hash, self.denials, shadow=shadow)
        approval_id = self.approval_id if self.requirements else None
        found = self.requirements
        if approval_id is not None:
            found = [_Finding("approval_allows_action", "allow", "grant", approval_id), *self.requirements]
        elif not self.requirements:
            rules = [_Finding("egress.rule_allows", "allow", "rule", rule_id) for rule_id in self.ruled.allowing]
            found = rules or [_Finding("default_allow", "allow")]
        return _decision(
            request,
            policies_hash,
            found,
            approval_id,
            obligations=self.ruled.obligations,
            shadow=shadow,
            valid_until=min(filter(None, (self.valid_until, self.ruled.valid_until)), default=None),
        )


def _decision(
    request: Request, policies_hash: str, findings: Sequence[_Finding], approval_id: str | None = None, **more: Any
) -> Decision:
    first = findings[0]
    reason = REASONS[first.code]
    return Decision(
        decision=first.effect,
        reason_code=first.code,
        reason=reason.text,
        reason_codes=tuple(dict.fromkeys(finding.code for finding in findings)),
        next_steps=reason.next_steps,
        determining_rules=tuple(finding.rule for finding in findings),
        action_digest=request.digest,
        policy_bundle_hash=policies_hash,
        zone=request.zone,
        approval_id=approval_id,
        **more,
    )


def unavailable(request: Request) -> Decision:
    """The decision where none can be made: no."""
    return _decision(request, NO_POLICIES.hash, [_Finding("policy_unavailable", "deny")])
