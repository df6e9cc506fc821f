"""What the gate decides on requests that leave the machine, written down as a table: rules against situations."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from agentos_shared.domain import principals
from agentos_shared.domain.approvals import Approval
from agentos_shared.domain.capabilities import Capability
from agentos_shared.domain.egress_match import EgressRule, RateLimit, RuleBook
from agentos_shared.domain.policy.basis import basis_of
from agentos_shared.domain.policy.decision import Decision
from agentos_shared.domain.policy.evaluate import Judgement, basis, evaluate, settled
from agentos_shared.domain.policy.facts import AgentFact, Constraint, Facts, KillSwitch, Request

NOW: Final = datetime(2026, 11, 24, 5, 30, tzinfo=UTC)
BOT: Final = principals.actor("ws_1", "agent", "agt_1")
DIGEST: Final = "sha256:" + "1" * 64
HOST: Final = "api.example.org"

CODES: Final = {
    "A": ("allow", "egress.rule_allows"),
    "G": ("allow", "approval_allows_action"),
    "X": ("require_approval", "external_write_requires_approval"),
    "R": ("require_approval", "egress.rule_requires_approval"),
    "L": ("require_approval", "constraint.learned"),
    "F": ("require_approval", "policy.rule_matched"),
    "D": ("deny", "egress.host_not_allowed"),
    "K": ("deny", "kill_switch_active"),
    "Q": ("deny", "agent_quarantined"),
    "C": ("deny", "capability_scope_domain_not_allowed"),
    "S": ("deny", "constraint.learned"),
    "P": ("deny", "policy.rule_matched"),
    "E": ("deny", "policy.error_fail_closed"),
}


def rule(effect: str, **members: Any) -> EgressRule:
    """Named by what it does, so that a failure tells which."""
    name = "_".join([effect, *(f"{key}={value}" for key, value in members.items())])
    return EgressRule(**{"rule_id": name, "effect": effect, "host": HOST, **members})


RULES: Final[dict[str, tuple[EgressRule, ...]]] = {
    "none": (),
    "allow": (rule("allow"),),
    "allow_under": (rule("allow", host="*.example.org"),),
    "allow_all": (rule("allow", host="*"),),
    "allow_writes": (rule("allow", methods=("DELETE", "GET", "POST")),),
    "allow_tunnel": (rule("allow", methods=("CONNECT", "GET")),),
    "allow_path": (rule("allow", path="/v1/**"),),
    "allow_other_path": (rule("allow", path="/v2/**"),),
    "allow_port": (rule("allow", port=443),),
    "allow_other_port": (rule("allow", port=8443),),
    "allow_agent": (rule("allow", principal="agt_1"),),
    "allow_principal": (rule("allow", principal=BOT.principal_id),),
    "allow_other": (rule("allow", principal="agt_2"),),
    "allow_room": (rule("allow", room_id="room_1"),),
    "allow_other_room": (rule("allow", room_id="room_2"),),
    "allow_supervised": (rule("allow", zones=("sandbox", "supervised")),),
    "allow_over": (rule("allow", expires_at=NOW),),
    "allow_for_now": (rule("allow", expires_at=NOW + timedelta(seconds=1)),),
    "allow_shadow": (rule("allow", mode="shadow"),),
    "deny": (rule("deny"),),
    "deny_all": (rule("deny", host="*"), rule("allow", methods=("CONNECT", "GET", "POST"))),
    "deny_writes": (rule("deny", methods=("POST",)), rule("allow", methods=("CONNECT", "GET", "POST"))),
    "deny_path": (rule("deny", path="/v1/admin"), rule("allow", methods=("CONNECT", "GET", "POST"))),
    "deny_shadow": (rule("deny", mode="shadow"), rule("allow")),
    "ask": (rule("require_approval"),),
    "ask_and_allow": (rule("require_approval", host="*"), rule("allow")),
    "ask_writes": (rule("require_approval", methods=("POST",)), rule("allow", methods=("GET", "POST"))),
    "ask_and_deny": (rule("require_approval"), rule("deny"), rule("allow")),
}

# What is asked for, from left to right:
# - GET, POST, a tunnel, and a method that nobody knows, in the zone supervised; GET and POST in high_stakes;
# - GET of a path that can be read in two ways;
# - GET with the kill switch of all writes, one of the host, one of another host;
# - GET while the agent is in quarantine; with a capability of this host, of another host;
# - GET with a constraint that denies, one that asks; with a policy that denies, one that asks, one that fails;
# - POST with an approval of exactly this.
SITUATIONS: Final = (
    *("get", "post", "tunnel", "unknown", "high_get", "high_post", "odd_path"),
    *("stopped", "host_stopped", "other_stopped", "quarantine", "capability", "other_capability"),
    *("learned_no", "learned_ask", "policy_no", "policy_ask", "policy_fails", "approved_post"),
)
# fmt: off
TABLE: Final = {
    #                   get post tunnel unknown high_get high_post odd | stops  Q cap | learned policies | approved
    "none":             "X  X  X  X  X  X  X  K  K  X  Q  X  C  S  X  P  X  E  G",
    "allow":            "A  X  X  X  A  X  A  K  K  A  Q  A  C  S  L  P  F  E  G",
    "allow_under":      "A  X  X  X  A  X  A  K  K  A  Q  A  C  S  L  P  F  E  G",
    "allow_all":        "A  X  X  X  A  X  A  K  K  A  Q  A  C  S  L  P  F  E  G",
    "allow_writes":     "A  A  X  X  A  X  A  K  K  A  Q  A  C  S  L  P  F  E  A",
    "allow_tunnel":     "A  X  A  A  A  X  A  K  K  A  Q  A  C  S  L  P  F  E  G",
    "allow_path":       "A  X  X  X  A  X  X  K  K  A  Q  A  C  S  L  P  F  E  G",
    "allow_other_path": "X  X  X  X  X  X  X  K  K  X  Q  X  C  S  X  P  X  E  G",
    "allow_port":       "A  X  X  X  A  X  A  K  K  A  Q  A  C  S  L  P  F  E  G",
    "allow_other_port": "X  X  X  X  X  X  X  K  K  X  Q  X  C  S  X  P  X  E  G",
    "allow_agent":      "A  X  X  X  A  X  A  K  K  A  Q  A  C  S  L  P  F  E  G",
    "allow_principal":  "A  X  X  X  A  X  A  K  K  A  Q  A  C  S  L  P  F  E  G",
    "allow_other":      "X  X  X  X  X  X  X  K  K  X  Q  X  C  S  X  P  X  E  G",
    "allow_room":       "A  X  X  X  A  X  A  K  K  A  Q  A  C  S  L  P  F  E  G",
    "allow_other_room": "X  X  X  X  X  X  X  K  K  X  Q  X  C  S  X  P  X  E  G",
    "allow_supervised": "A  X  X  X  X  X  A  K  K  A  Q  A  C  S  L  P  F  E  G",
    "allow_over":       "X  X  X  X  X  X  X  K  K  X  Q  X  C  S  X  P  X  E  G",
    "allow_for_now":    "A  X  X  X  A  X  A  K  K  A  Q  A  C  S  L  P  F  E  G",
    "allow_shadow":     "X  X  X  X  X  X  X  K  K  X  Q  X  C  S  X  P  X  E  G",
    "deny":             "D  D  D  D  D  D  D  K  K  D  Q  D  C  D  D  D  D  E  D",
    "deny_all":         "D  D  D  D  D  D  D  K  K  D  Q  D  C  D  D  D  D  E  D",
    "deny_writes":      "A  D  D  D  A  D  A  K  K  A  Q  A  C  S  L  P  F  E  D",
    "deny_path":        "A  A  D  D  A  X  D  K  K  A  Q  A  C  S  L  P  F  E  A",
    "deny_shadow":      "A  X  X  X  A  X  A  K  K  A  Q  A  C  S  L  P  F  E  G",
    "ask":              "X  X  X  X  X  X  X  K  K  X  Q  X  C  S  X  P  X  E  G",
    "ask_and_allow":    "R  X  X  X  R  X  R  K  K  R  Q  R  C  S  R  P  R  E  G",
    "ask_writes":       "A  R  X  X  A  X  A  K  K  A  Q  A  C  S  L  P  F  E  G",
    "ask_and_deny":     "D  D  D  D  D  D  D  K  K  D  Q  D  C  D  D  D  D  E  D",
}
# fmt: on


class Says:
    """Policies that say one thing."""

    hash = "sha256:one"

    def __init__(self, judgement: Judgement) -> None:
        self.judgement = judgement

    def judge(self, request: Request, facts: Facts) -> Judgement:
        return self.judgement


POLICIES: Final = {
    "policy_no": Judgement(denies=("no",)),
    "policy_ask": Judgement(requires=("ask",)),
    "policy_fails": Judgement(permitted=False, errors=("bad",)),
}
STOPS: Final = {
    "stopped": KillSwitch("external_write"),
    "host_stopped": KillSwitch("egress_host", "*.example.org"),
    "other_stopped": KillSwitch("egress_host", "example.com"),
}


def asked(situation: str) -> Request:
    kind = situation.rpartition("_")[2]
    method = {"post": "POST", "tunnel": "CONNECT", "unknown": None}.get(kind, "GET")
    return Request(
        "ws_1",
        "egress",
        "external.write",
        BOT,
        DIGEST,
        zone="high_stakes" if situation.startswith("high") else "supervised",
        principal_id=BOT.principal_id,
        capability_token_id="token" if situation.endswith("capability") else None,
        room_id="room_1",
        egress_host=HOST,
        egress_method=method,
        egress_port=443,
        egress_path="/v1/%2e%2e/x" if situation == "odd_path" else None if method in (None, "CONNECT") else "/v1/x",
    )


def known(situation: str, rules: tuple[EgressRule, ...]) -> Facts:
    domains = ["example.com"] if situation == "other_capability" else ["*.example.org"]
    facts = Facts(
        NOW,
        agent=AgentFact("agt_1", BOT.principal_id, situation == "quarantine"),
        capability=Capability("ws_1", BOT.principal_id, {"egress_domains": domains}, None),
        kill_switches=(STOPS[situation],) if situation in STOPS else (),
        egress_rules=RuleBook(rules).on(HOST),
    )
    if situation.startswith("learned"):
        effect: Any = "deny" if situation == "learned_no" else "require_approval"
        return replace(facts, constraints=(Constraint("cst_1", effect),))
    return replace(facts, approvals={"appr_1": approval()}) if situation == "approved_post" else facts


def approval() -> Approval:
    return Approval(
        "ws_1",
        "external.write",
        DIGEST,
        BOT,
        NOW,
        "room_1",
        None,
        None,
        None,
        None,
        "supervised",
        "c-1",
        status="approved",
        scope={"type": "once"},
    )


def decided(situation: str, rules: tuple[EgressRule, ...]) -> Decision:
    policies = Says(POLICIES.get(situation, Judgement()))
    return evaluate(asked(situation), known(situation, rules), policies)


def test_the_table_is_complete() -> None:
    assert TABLE.keys() == RULES.keys()
    assert {len(line.split()) for line in TABLE.values()} == {len(SITUATIONS)}


@pytest.mark.parametrize("name", RULES)
def test_every_rule_in_every_situation(name: str) -> None:
    found = {one: decided(one, RULES[name]) for one in SITUATIONS}
    told = {one: (decision.decision, decision.reason_code) for one, decision in found.items()}
    assert told == {one: CODES[code] for one, code in zip(SITUATIONS, TABLE[name].split(), strict=True)}


@pytest.mark.parametrize("name", RULES)
def test_it_is_decided_alike_from_what_was_recorded(name: str) -> None:
    for situation in SITUATIONS:
        request, facts = asked(situation), known(situation, RULES[name])
        judgement = POLICIES.get(situation, Judgement())
        recorded = basis_of(basis(request, facts).told())
        assert settled(request, recorded, "sha256:one", judgement) == evaluate(request, facts, Says(judgement))


@pytest.mark.parametrize("name", RULES)
def test_no_rule_turns_what_is_denied_without_it(name: str) -> None:
    for situation in SITUATIONS:
        if decided(situation, ()).decision == "deny":
            assert decided(situation, RULES[name]).decision == "deny", situation


def test_what_a_watched_rule_would_have_done_is_told() -> None:
    decision = decided("get", RULES["deny_shadow"])
    assert (decision.decision, decision.would_deny) == ("allow", True)
    assert decision.shadow == ({"rule_id": "deny_mode=shadow", "effect": "deny"},)
    assert not decided("get", RULES["allow_shadow"]).would_deny
    assert not decided("get", RULES["deny"]).would_deny


def test_limits_and_openings_of_all_rules_that_cover_it_go_along() -> None:
    rules = (
        rule("allow", rate=RateLimit(60, 60, 10), request_bytes=1000, response_bytes=50),
        rule("allow", methods=("GET",), port=443, private=True, networks=("10.0.0.0/8",), request_bytes=500),
        rule("allow", mode="shadow", rate=RateLimit(1, 1, 1), request_bytes=1),
        rule("allow", methods=("POST",), request_bytes=2),
    )
    decision = decided("get", rules)
    assert [dict(one) for one in decision.obligations] == [
        {"type": "rate_limit", "rule_id": rules[0].rule_id}
        | {"subject": BOT.principal_id, "requests": 60, "per_s": 60, "burst": 10},
        {"type": "max_bytes", "request_bytes": 500, "response_bytes": 50},
        {"type": "open_address", "rule_id": rules[1].rule_id}
        | {"host": HOST, "port": 443, "opening": "api.example.org:443=10.0.0.0/8"},
    ]
    assert decided("stopped", rules).obligations == ()
    assert len(decided("approved_post", rules).obligations) == 1


def test_an_answer_tells_when_what_it_rests_on_ends() -> None:
    assert decided("get", RULES["allow_for_now"]).valid_until == "2026-11-24T05:30:01.000Z"
    assert decided("get", RULES["allow"]).valid_until is None
    facts = known("capability", RULES["allow"])
    assert facts.capability is not None
    ending = replace(facts.capability, valid_until=NOW + timedelta(seconds=2))
    decision = evaluate(asked("capability"), replace(facts, capability=ending))
    assert decision.valid_until == "2026-11-24T05:30:02.000Z"
