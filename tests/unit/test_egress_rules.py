"""Egress rules: what may be one, what it covers, and how one comes into force."""

from datetime import timedelta
from typing import Any

import pytest

from agentos_shared.domain import approval_decisions, egress_proposals, egress_rules, principals
from agentos_shared.domain.approval_bodies import DecideApproval
from agentos_shared.domain.approvals import Approval
from agentos_shared.domain.decider import Command, Meta
from agentos_shared.domain.egress_match import EgressRule, RuleBook, host_pattern, openable, path_fits, path_pattern
from agentos_shared.domain.egress_proposals import ProposeEgressRule, applying
from agentos_shared.domain.egress_rules import (
    EgressRules,
    RemoveEgressRule,
    SetEgressRule,
    rule_id_of,
    rule_of,
    rules_id,
)
from agentos_shared.domain.errors import DomainError
from tests.fixtures.given import MOMENT, Given

ADA = Meta("ws_1", principals.actor("ws_1", "user", "ada"), "c-1")
BOT = Meta("ws_1", principals.actor("ws_1", "agent", "agt_1"), "c-2")
RULES = rules_id("ws_1")
APPROVAL = "appr_1"
decide = applying(approval_decisions.decide)


def setting(meta: Meta = ADA, **body: Any) -> Command[SetEgressRule]:
    return Command(SetEgressRule(**{"host": "example.org", **body}), meta, RULES, loaded=MOMENT)


def removing(rule_id: str, meta: Meta = ADA) -> Command[RemoveEgressRule]:
    return Command(RemoveEgressRule(rule_id=rule_id), meta, RULES)


def proposing(meta: Meta = BOT, **body: Any) -> Command[ProposeEgressRule]:
    return Command(ProposeEgressRule(**{"host": "example.org", **body}), meta, APPROVAL, loaded=MOMENT)


def deciding(decision: Any = "approve", **body: Any) -> Command[DecideApproval]:
    return Command(DecideApproval(decision=decision, **body), ADA, APPROVAL, loaded=MOMENT)


def rules_of(given: Given) -> dict[str, EgressRule]:
    state = given.get(EgressRules, RULES)
    return {} if state is None else dict(state.rules)


def test_set_again_just_so_is_nothing_and_otherwise_replaces() -> None:
    given = Given((egress_rules.set_rule, setting(methods=["POST", "GET"])))
    assert given.when(egress_rules.set_rule, setting(host="Example.org.", methods=["GET", "POST"])) == []
    changed = given.and_then(egress_rules.set_rule, setting(methods=["GET", "POST"], effect="deny"))
    (rule,) = rules_of(changed).values()
    assert (rule.effect, rule.methods) == ("deny", ("GET", "POST"))
    beside = changed.and_then(egress_rules.set_rule, setting(methods=["GET"]))
    assert len(rules_of(beside)) == 2


def test_removed_it_is_gone_and_can_come_back() -> None:
    given = Given((egress_rules.set_rule, setting()))
    (rule_id,) = rules_of(given)
    gone = given.and_then(egress_rules.remove, removing(rule_id))
    assert rules_of(gone) == {}
    with pytest.raises(DomainError, match="egress_rule_not_found"):
        gone.when(egress_rules.remove, removing(rule_id))
    assert list(rules_of(gone.and_then(egress_rules.set_rule, setting()))) == [rule_id]


def test_only_people_set_and_remove(monkeypatch: pytest.MonkeyPatch) -> None:
    given = Given((egress_rules.set_rule, setting()))
    (rule_id,) = rules_of(given)
    for wish in (setting(BOT), removing(rule_id, BOT)):
        rule = egress_rules.set_rule if isinstance(wish.body, SetEgressRule) else egress_rules.remove
        with pytest.raises(DomainError, match="rule_setter_must_be_user"):
            given.when(rule, wish)
    monkeypatch.setattr(egress_rules, "MAX_RULES", 1)
    with pytest.raises(DomainError, match="egress_rule_limit"):
        given.when(egress_rules.set_rule, setting(host="example.com"))
    assert given.when(egress_rules.set_rule, setting(effect="deny")) != []


def test_an_approved_proposal_is_in_force_and_used() -> None:
    given = Given((egress_proposals.propose, proposing(methods=["CONNECT"], rationale="pip")))
    assert [event.event_type for event in given.events] == ["approval.requested", "egress.rule.proposed"]
    assert rules_of(given) == {}
    decided = given.and_then(decide, deciding())
    kinds = [event.event_type for event in decided.events[2:]]
    assert kinds == ["approval.decided", "egress.rule.set", "approval.consumed"]
    (rule,) = rules_of(decided).values()
    assert (rule.host, rule.methods) == ("example.org", ("CONNECT",))
    approval = decided.get(Approval, APPROVAL)
    assert approval is not None
    assert approval.status == "consumed"
    with pytest.raises(DomainError, match="approval_already_decided"):
        decided.when(decide, deciding())


def test_a_proposal_that_is_not_approved_sets_nothing() -> None:
    given = Given((egress_proposals.propose, proposing()))
    for decision in ("deny", "hold"):
        assert [event.event_type for event in given.when(decide, deciding(decision))] == ["approval.decided"]


def test_whoever_approves_may_end_it() -> None:
    given = Given((egress_proposals.propose, proposing(host="*")))
    end = (MOMENT + timedelta(days=1)).isoformat()
    (rule,) = rules_of(given.and_then(decide, deciding(expires_at=end))).values()
    assert (rule.host, rule.expires_at) == ("*", MOMENT + timedelta(days=1))
    with pytest.raises(DomainError, match="invalid_scope"):
        given.when(decide, deciding(scope={"type": "workspace"}))


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("API.Example.org.", "api.example.org"),
        ("*.Example.org", "*.example.org"),
        ("*", "*"),
        ("localhost", "localhost"),
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]", "::1"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
    ],
)
def test_hosts_are_kept_in_one_form(written: str, kept: str) -> None:
    assert host_pattern(written) == kept


@pytest.mark.parametrize(
    "text",
    [
        *("https://example.org", "example.org/x", "example.org:80", "a b", "", ".", "a..b", "-a.org", "*.*.org"),
        *("a.*.org", "**", "127.1", "0x7f.1", "2130706433", "0177.0.0.1", "1.2.3", "user@example.org", "bücher.de"),
        *("*example.org", "example.org%00", "[::1", "::1%eth0", "example.0x7f", "*.10"),
    ],
)
def test_what_is_no_host_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        host_pattern(text)


@pytest.mark.parametrize("text", ["x", "/a/../b", "/a//b", "/a/%2e%2e/b", "/a%2fb", "/a;b", "/a?b", "/a**", "/a\\b"])
def test_what_is_no_path_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        path_pattern(text)


@pytest.mark.parametrize(
    ("pattern", "fits", "not_"),
    [
        ("/", "/", "/a"),
        ("/a", "/a", "/a/ /A /a/b /ab"),
        ("/a/*", "/a/b /a/", "/a /a/b/c"),
        ("/a/**", "/a /a/ /a/b /a/b/c", "/b /ab"),
        ("/**", "/ /a /a/b", ""),
        ("/a/**/z", "/a/z /a/b/z /a/b/c/z", "/a/b /a/zz"),
        ("/a/*.json", "/a/b.json /a/.json", "/a/json /a/b/c.json /a/b.jsonx"),
        ("/v*/a*b*c", "/v1/abc /v/axbxc", "/v1/acb /v1/ab"),
        ("/**/**/x", "/x /a/x /a/b/x", "/a/b"),
    ],
)
def test_paths(pattern: str, fits: str, not_: str) -> None:
    assert path_pattern(pattern) == pattern
    assert {path: path_fits(path, pattern) for path in (*fits.split(), *not_.split())} == {
        **dict.fromkeys(fits.split(), True),
        **dict.fromkeys(not_.split(), False),
    }


def test_a_path_cannot_make_matching_slow() -> None:
    pattern = "/**" * 150 + "/x"
    assert not path_fits("/a" * 4_000, pattern)
    assert not path_fits("/" + "a" * 8_000, "/" + "*a" * 400 + "b")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"private": True}, "invalid_private"),
        ({"private": True, "port": 80, "host": "*.example.org"}, "invalid_private"),
        ({"private": True, "port": 80, "effect": "deny"}, "invalid_private"),
        ({"private": True, "port": 80, "host": "169.254.169.254"}, "invalid_private"),
        ({"private": True, "port": 80}, "invalid_networks"),
        ({"private": True, "port": 80, "networks": ["0.0.0.0/0"]}, "invalid_networks"),
        ({"private": True, "port": 80, "networks": ["169.254.0.0/16"]}, "invalid_networks"),
        ({"networks": ["10.0.0.0/8"]}, "invalid_networks"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "invalid_expires_at"),
    ],
)
def test_what_may_not_be_a_rule(body: dict[str, Any], code: str) -> None:
    with pytest.raises(DomainError, match=code):
        Given().when(egress_rules.set_rule, setting(**body))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1", "10.1.2.3"])
def test_this_machine_and_private_addresses_are_opened_by_their_port(host: str) -> None:
    assert Given().when(egress_rules.set_rule, setting(host=host, port=8080, private=True)) != []


def test_a_name_is_opened_with_its_networks() -> None:
    (event,) = Given().when(egress_rules.set_rule, setting(port=443, private=True, networks=["10.0.0.0/8", "fd00::/8"]))
    assert event.data["networks"] == ["10.0.0.0/8", "fd00::/8"]
    assert openable("192.168.1.0/24") == "192.168.1.0/24"


def test_ids_follow_from_what_a_rule_covers_alone() -> None:
    def name(workspace_id: str = "ws_1", **body: Any) -> str:
        return rule_id_of(workspace_id, rule_of(SetEgressRule(**{"host": "example.org", **body})))

    assert name() == name(effect="deny", mode="shadow", note="x", request_bytes=1)
    others = (name("ws_2"), name(path="/a"), name(port=80), name(methods=["GET"]), name(zones=["sandbox"]))
    assert len({name(), *others}) == 6


def test_rules_are_found_by_host() -> None:
    hosts = ("example.org", "*.example.org", "*.org", "*", "api.example.org", "example.com")
    book = RuleBook(EgressRule(host, "allow", host) for host in hosts)
    assert {rule.host for rule in book.on("API.example.org")} == {"*.example.org", "*.org", "*", "api.example.org"}
    assert {rule.host for rule in book.on("example.org")} == {"example.org", "*.example.org", "*.org", "*"}
    assert [rule.host for rule in book.on("::1")] == ["*"]
    assert book.on(None) == ()
