"""Cases beside policies: what a case says, and when it is met."""

from pathlib import Path
from typing import Any

import pytest

from agentos_policy.cases import FILE, BrokenCases, Case, cases, run, texts
from agentos_policy.cedar import Bundle
from agentos_shared.domain.egress_rules import RuleBody, rule_id_of, rule_of

RULES = """
permit (principal, action, resource);
@id("no-shell") forbid (principal, action in Action::"tool_call", resource == Tool::"shell")
when { context.zone == "high_stakes" };
@id("ask") @effect("require_approval") forbid (principal is Agent, action == Action::"note.add", resource);
@id("calm") forbid (principal is Agent, action, resource) when { principal.quarantined };
@id("ours") forbid (principal, action in Action::"egress", resource)
unless { context has host && context.host like "*.example.org" };
@id("pii") forbid (principal, action == Action::"data.read", resource) when { context.label == "sensitive_pii" };
"""
BUNDLE = Bundle({"a.cedar": RULES.replace("{ context.label", "{ context has label && context.label")}, "sha256:x")
CALL = {"action": "tool.call", "tool": "shell"}
BOT = {"actor_type": "agent", "actor_id": "agt_1"}


@pytest.mark.parametrize(
    ("members", "expect", "rule"),
    [
        (CALL, "allow", "default_allow"),
        ({**CALL, "zone": "high_stakes"}, "deny", "no-shell"),
        ({"action": "note.add"}, "allow", None),
        ({"action": "note.add", **BOT}, "require_approval", "ask"),
        ({"action": "note.read", **BOT, "quarantined": True}, "deny", "calm"),
        ({"action": "note.add", **BOT, "quarantined": True}, "deny", "agent_quarantined"),
        ({"action": "http.get", "host": "evil.test"}, "deny", "ours"),
        ({"action": "http.get", "host": "a.example.org"}, "require_approval", "external_write_requires_approval"),
        ({"action": "data.read", "resource": "file/a.csv", "label": "sensitive_pii"}, "deny", "pii"),
        ({"action": "data.read", "resource": "file/a.csv"}, "allow", None),
        ({"action": "email.send"}, "require_approval", "action_pre_approval_required"),
    ],
)
def test_a_case_is_met(members: dict[str, Any], expect: Any, rule: str | None) -> None:
    (met,) = run([Case(name="it", expect=expect, rule=rule, **members)], BUNDLE)
    assert met.met, met.decision
    others = [verdict for verdict in ("allow", "deny", "require_approval") if verdict != expect]
    assert not any(result.met for result in run([met.case.model_copy(update={"expect": o}) for o in others], BUNDLE))
    (other_rule,) = run([met.case.model_copy(update={"rule": "another"})], BUNDLE)
    assert not other_rule.met


def test_files_of_a_directory(tmp_path: Path) -> None:
    assert cases(tmp_path).cases == ()
    (tmp_path / "a.cedar").write_text(RULES)
    (tmp_path / ".hidden.cedar").write_text("nonsense")
    (tmp_path / FILE).write_text('[[case]]\nname = "n"\nexpect = "allow"\naction = "note.add"\n')
    assert list(texts(tmp_path)) == ["a.cedar"]
    assert [case.name for case in cases(tmp_path).cases] == ["n"]


FORMS = """
permit (principal, action, resource);
@id("no-forms") forbid (principal, action in Action::"egress", resource)
when { context has method && context.method == "POST" && context has path && context.path like "/forms/*" };
"""
WITH_RULES = """
[[egress_rule]]
host = "*.example.org"
methods = ["GET", "POST"]
[[case]]
name = "read"
expect = "allow"
rule = "RULE"
action = "external.write"
host = "a.example.org"
method = "GET"
port = 443
path = "/x"
[[case]]
name = "form"
expect = "deny"
rule = "no-forms"
action = "external.write"
host = "a.example.org"
method = "POST"
path = "/forms/1"
"""


def test_egress_rules_beside_the_cases_are_in_force(tmp_path: Path) -> None:
    rule_id = rule_id_of("ws_test", rule_of(RuleBody(host="*.example.org", methods=["GET", "POST"])))
    (tmp_path / FILE).write_text(WITH_RULES.replace("RULE", rule_id))
    found = cases(tmp_path)
    results = run(found.cases, Bundle({"a.cedar": FORMS}, "sha256:x"), found.rules)
    assert [result.met for result in results] == [True, True], results
    (tmp_path / FILE).write_text('[[egress_rule]]\nhost = "a b"\n')
    with pytest.raises(BrokenCases, match="egress_rule"):
        cases(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "[[case]",
        '[[case]]\nname = "n"\nexpect = "maybe"\naction = "x"',
        '[[case]]\nname = "n"\nexpect = "deny"',
        '[[case]]\nname = "n"\nexpect = "deny"\naction = "x"\ncolour = "red"',
        "[[cases]]\n",
    ],
)
def test_what_is_no_file_of_cases(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(BrokenCases, match=FILE):
        cases(tmp_path)


def test_the_text_of_each_rule() -> None:
    rules = Bundle({"a.cedar": '@id("one") permit (principal, action,\n resource);'}, "").rules()
    assert rules == {"one": '@id("one")\npermit(principal, action, resource);'}
