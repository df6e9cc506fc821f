"""Cedar policies: what they say, what is refused before it is taken, and what happens when their files change."""

import os
import re
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import cedarpy
import pytest

from agentos_policy import cedar
from agentos_policy import shelf as shelves
from agentos_policy.cedar import BrokenBundle, Bundle
from agentos_policy.shelf import Shelf
from agentos_shared.domain import principals
from agentos_shared.domain.policy.evaluate import Judgement, evaluate
from agentos_shared.domain.policy.facts import AgentFact, DataLabel, Facts, Request
from agentos_shared.host.lifecycle import CLOCK

FACTS = Facts(datetime(2026, 11, 24, 5, 30, tzinfo=UTC))
ADA = principals.actor("ws_1", "user", "ada")
BOT = principals.actor("ws_1", "agent", "agt_1")
PERMIT = "permit (principal, action, resource);\n"


def request(action: str = "invoice.send", **members: Any) -> Request:
    category, _, name = action.rpartition(":")
    given: dict[str, Any] = {"actor": ADA, "room_id": "room_1"} | members
    kind: Any = category or "action"
    return Request("ws_1", kind, name, digest="sha256:" + "1" * 64, **given)


def tool(name: str, **members: Any) -> Request:
    return request("tool_call:tool.call", tool_name=name, **members)


def judged(text: str, wish: Request, facts: Facts = FACTS) -> Judgement:
    return Bundle({"test.cedar": text}, "sha256:test").judge(wish, facts)


NO_SHELL = PERMIT + '@id("no-shell") forbid (principal, action in Action::"tool_call", resource == Tool::"shell");'
ASK = PERMIT + '@id("ask") @effect("require_approval") forbid (principal, action == Action::"invoice.send", resource);'
RISKY = PERMIT + '@id("calm") forbid (principal, action, resource) when { context.zone == "high_stakes" };'
BOTS = PERMIT + '@id("bots") forbid (principal is Agent, action, resource) when { principal.quarantined };'
HOSTS = (
    PERMIT
    + '@id("host") forbid (principal, action, resource is Host) '
    + 'unless { context has host && context.host like "*.example.org" };'
)
DATA = (
    PERMIT
    + '@id("pii") forbid (principal, action == Action::"data.read", resource) '
    + 'when { context has label && context.label == "sensitive_pii" };'
)
ROOM = PERMIT + '@id("room") forbid (principal, action, resource == Room::"room_1");'
ALL = PERMIT + '@id("ws") forbid (principal, action, resource in Workspace::"ws_1");'


@pytest.mark.parametrize(
    ("text", "wish", "denies", "requires"),
    [
        (PERMIT, request(), (), ()),
        (NO_SHELL, tool("shell"), ("no-shell",), ()),
        (NO_SHELL, tool("echo"), (), ()),
        (NO_SHELL, request("shell"), (), ()),
        (ASK, request(), (), ("ask",)),
        (ASK, request("invoice.read"), (), ()),
        (RISKY, request(zone="high_stakes"), ("calm",), ()),
        (RISKY, request(), (), ()),
        (HOSTS, request("egress:external.write", egress_host="api.example.org"), (), ()),
        (HOSTS, request("egress:external.write", egress_host="example.com"), ("host",), ()),
        (HOSTS, request("external.write"), (), ()),
        (ROOM, request(), ("room",), ()),
        (ROOM, request(room_id="room_2"), (), ()),
        (ROOM, request(room_id=None), (), ()),
        (ALL, request(), ("ws",), ()),
        (ALL, request(room_id=None), ("ws",), ()),
        (ALL, tool("x"), ("ws",), ()),
        (ASK + RISKY, request(zone="high_stakes"), ("calm",), ("ask",)),
    ],
)
def test_policies_deny_and_ask(text: str, wish: Request, denies: tuple[str, ...], requires: tuple[str, ...]) -> None:
    assert judged(text, wish) == Judgement(True, denies, requires)


def test_policies_know_quarantine_and_labels() -> None:
    wish = request(actor=BOT, principal_id=BOT.principal_id)
    agent = AgentFact("agt_1", BOT.principal_id, True)
    assert judged(BOTS, wish, replace(FACTS, agent=agent)).denies == ("bots",)
    assert judged(BOTS, wish, replace(FACTS, agent=replace(agent, quarantined=False))).denies == ()
    read = request("data_access:data.read", resource="customers")
    assert judged(DATA, read, replace(FACTS, label=DataLabel("sensitive_pii"))).denies == ("pii",)
    assert judged(DATA, read).denies == ()


def test_without_a_permit_nothing_is_allowed() -> None:
    only_tools = 'permit (principal, action in Action::"tool_call", resource);'
    assert judged(only_tools, tool("x")).permitted
    assert not judged(only_tools, request()).permitted
    decision = evaluate(request(), FACTS, Bundle({"a.cedar": only_tools}, "sha256:a"))
    assert (decision.decision, decision.reason_code) == ("deny", "policy.no_match_default")


def test_a_policy_that_errs_denies_though_cedar_would_skip_it() -> None:
    errs = PERMIT + '@id("sum") forbid (principal, action, resource) when { 9223372036854775807 + 1 == 0 };'
    for effect in ("", '@effect("require_approval") '):
        text = errs.replace('@id("sum") ', f'@id("sum") {effect}')
        decision = evaluate(request(), FACTS, Bundle({"a.cedar": text}, "sha256:a"))
        assert (decision.decision, decision.reason_code) == ("deny", "policy.error_fail_closed")
        assert "sum" in decision.determining_rules[0].rule_id


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("permit (principal, action", "unexpected end of input"),
        ('permit (principal, action, resource) when { context.zoen == "x" };', "zoen"),
        ("permit (principal is Martian, action, resource);", "Martian"),
        ('permit (principal, action, resource) when { context.tool == "x" };', "optional attribute"),
        ("permit (principal, action, resource) when { context.zone == 3 };", "types"),
        ("permit (principal == ?principal, action, resource);", "templates"),
        (2 * ('@id("a")' + PERMIT), "two policies have the id a"),
        ('@effect("require_approval")' + PERMIT, "@effect"),
        ('@effect("alow") forbid (principal, action, resource);', "@effect"),
    ],
)
def test_a_bundle_that_is_not_right_is_refused(text: str, why: str) -> None:
    with pytest.raises(BrokenBundle, match=why):
        Bundle({"test.cedar": text}, "sha256:test")


def test_only_what_can_match_is_looked_at() -> None:
    rules = "".join(f'forbid (principal, action == Action::"a.{n}", resource);\n' for n in range(300))
    bundle = Bundle({"many.cedar": PERMIT + rules}, "sha256:many")
    assert len(bundle) == 301
    assert bundle.judge(request("a.7"), FACTS).denies == ("many.cedar:9",)
    assert bundle.judge(request("a.301"), FACTS) == Judgement()


def rewrite(path: Path, text: str) -> None:
    """As an editor does it; the clock of the file system may not have moved on."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_text(text, encoding="utf-8")
    os.utime(path, ns=(before + 1_000_000, before + 1_000_000))


def verdict(shelf: Shelf) -> str:
    return evaluate(request(), FACTS, shelf.policies).reason_code


def test_changed_files_are_taken_and_broken_ones_leave_the_old_in_force(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "policies", CLOCK)
    assert verdict(shelf) == "policy.error_fail_closed"  # nothing was looked at yet
    shelf.look()
    empty = shelf.policies.hash
    assert (verdict(shelf), empty[:7]) == ("default_allow", "sha256:")
    (tmp_path / "policies").mkdir()
    file = tmp_path / "policies" / "mine.cedar"
    rewrite(file, ASK)
    shelf.look()
    asking = shelf.policies.hash
    assert verdict(shelf) == "policy.rule_matched"
    rewrite(file, "permit (")
    shelf.look()
    assert (verdict(shelf), shelf.policies.hash) == ("policy.rule_matched", asking)
    assert "unexpected end of input" in shelf.fault
    assert shelves.BROKEN._value.get() == 1
    rewrite(file, ASK)
    shelf.look()
    assert (shelf.policies.hash, shelf.fault, shelves.BROKEN._value.get()) == (asking, "", 0)
    file.unlink()
    shelf.look()
    assert (verdict(shelf), shelf.policies.hash) == ("default_allow", empty)


def test_a_bundle_that_was_never_right_denies_everything(tmp_path: Path) -> None:
    rewrite(tmp_path / "mine.cedar", "permit (")
    shelf = Shelf(tmp_path, CLOCK)
    shelf.look()
    decision = evaluate(request(), FACTS, shelf.policies)
    assert (decision.decision, decision.reason_code) == ("deny", "policy.error_fail_closed")
    assert "mine.cedar" in decision.determining_rules[0].rule_id


OTHERS = (
    'context.zone == "high_stakes"',
    'context has run && context.run like "run_x*"',
    'context has tool && [context.tool].contains("shell")',
    'context.purposes.contains("billing")',
    'principal.principal == "p-1"',
    "context == context && context.external",
    "context has resource && (if context has host then context.host == context.resource else context.external)",
)


@pytest.mark.parametrize(("first", "second"), list(pairwise((*OTHERS, OTHERS[0]))))
def test_what_is_remembered_is_what_would_be_said_anew(first: str, second: str) -> None:
    text = PERMIT + f'@id("1") forbid (principal, action, resource) when {{ {first} }};\n'
    text += f'@id("2") @effect("require_approval") forbid (principal, action, resource) when {{ {second} }};'
    bundle = Bundle({"test.cedar": text}, "sha256:test")
    tried: dict[str, tuple[Any, ...]] = {
        "zone": ("sandbox", "high_stakes"),
        "run_id": (None, "run_1", "run_x1"),
        "resource": (None, "thing"),
        "purpose_tags": ((), ("billing",)),
        "principal_id": (None, "p-1"),
        "room_id": (None, "room_2"),
    }
    for member, values in tried.items():
        for value in values:
            for wish in (request(**{member: value}), tool("shell", **{member: value})):
                assert bundle.judge(wish, FACTS) == judged(text, wish)


def test_another_run_is_no_other_request_where_no_policy_looks_at_it(monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = Bundle({"test.cedar": RISKY}, "sha256:test")
    first = bundle.judge(request(run_id="run_1"), FACTS)

    def asked(*_: object) -> None:
        raise RuntimeError("asked anew")

    monkeypatch.setattr(cedarpy, "is_authorized", asked)
    assert bundle.judge(request(run_id="run_2", resource="thing"), FACTS) is first
    assert bundle.judge(request(zone="high_stakes"), FACTS).errors


def test_policies_are_told_all_that_the_schema_promises() -> None:
    described = cedar.SCHEMA.split("type Context = {")[1].split("};")[0]
    assert set(re.findall(r"^ +(\w+)\??:", described, re.MULTILINE)) == set(cedar.SEEN)
