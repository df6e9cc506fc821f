"""Decisions made again: from the event alone, and not at all where it does not carry what they were made on."""

from typing import Any

import pytest

from agentos_policy.cedar import Bundle
from agentos_shared.domain import principals
from agentos_shared.domain.decider import Command, Meta
from agentos_shared.domain.envelope import Event
from agentos_shared.domain.policy import records
from agentos_shared.domain.policy.basis import basis_of
from agentos_shared.domain.policy.evaluate import NO_POLICIES, basis, evaluate
from agentos_shared.domain.policy.facts import AgentFact, Facts, KillSwitch, Request
from agentos_shared.domain.policy.records import EvaluatePolicy, Gated
from agentos_shared.domain.policy.replay import again, recorded
from tests.fixtures.given import MOMENT, Given

ADA = principals.actor("ws_1", "user", "ada")
BOT = principals.actor("ws_1", "agent", "agt_1")
KNOWN = Facts(MOMENT, agent=AgentFact("agt_1", BOT.principal_id))
PERMIT = "permit (principal, action, resource);"


def decided(facts: Facts = KNOWN, *, captured: bool = True, **members: Any) -> Event:
    told: dict[str, Any] = {
        "actor": BOT,
        "principal_id": BOT.principal_id,
        "digest": "sha256:0",
        "zone": "high_stakes",
        "context": {"to": "ada"},
    }
    request = Request("ws_1", members.pop("category", "action"), **(told | members))
    known = basis(request, facts).told() if captured else None
    command = Command(
        EvaluatePolicy(action=request.action),
        Meta("ws_1", ADA, "c-1"),  # somebody else than whom it is about
        "dec_1",
        loaded=Gated(request, evaluate(request, facts), basis=known),
    )
    return Given((records.evaluate, command)).events[0]


@pytest.mark.parametrize(
    ("rule", "members"),
    [
        ('principal is Agent, action == Action::"note.add", resource', {"action": "note.add"}),
        ('principal == Agent::"agt_1", action, resource', {"action": "note.add"}),
        ('principal, action, resource in Workspace::"ws_1"', {"action": "note.add"}),
        (
            'principal, action in Action::"tool_call", resource == Tool::"shell"',
            {"action": "tool.call", "category": "tool_call", "tool_name": "shell", "resource": "shell"},
        ),
    ],
)
def test_what_policies_see_is_in_the_event(rule: str, members: dict[str, Any]) -> None:
    past = recorded(decided(**members))
    assert past.request.actor == BOT
    bundle = Bundle({"a.cedar": f'{PERMIT}\n@id("no") forbid ({rule});'}, "sha256:x")
    decision = again(past, bundle)
    assert "no" in {found.rule_id for found in decision.determining_rules}
    assert decision.decision == "deny"


@pytest.mark.parametrize(
    ("condition", "denied"),
    [
        ('context.zone == "high_stakes"', True),
        ("context.external", True),
        ('context has host && context.host == "example.org"', True),
        ('context.purposes.contains("audit")', True),
        ('context has resource && context.resource == "https://example.org/"', True),
        ('context.zone == "sandbox"', False),
    ],
)
def test_so_is_the_context(condition: str, denied: bool) -> None:
    event = decided(
        action="http.get",
        category="egress",
        egress_host="example.org",
        resource="https://example.org/",
        purpose_tags=("audit",),
    )
    bundle = Bundle(
        {"a.cedar": f'{PERMIT}\n@id("no") forbid (principal, action, resource) when {{ {condition} }};'}, ""
    )
    assert (again(recorded(event), bundle).decision == "deny") is denied


def test_what_stopped_it_then_still_does() -> None:
    stopped = Facts(MOMENT, agent=KNOWN.agent, kill_switches=(KillSwitch("workspace"),))
    past = recorded(decided(stopped, action="note.add"))
    assert (past.decision, past.reason_code) == ("deny", "kill_switch_active")
    assert again(past, NO_POLICIES).reason_code == "kill_switch_active"


def test_without_what_it_was_made_on_it_is_not_made_again() -> None:
    with pytest.raises(TypeError):
        recorded(decided(captured=False, action="note.add"))


@pytest.mark.parametrize(
    "change",
    [{"bars": "x"}, {"bars": [1]}, {"exactly": 1}, {"approval_id": 1}, {"label": "secret"}, {"label": []}],
)
def test_what_is_no_basis(change: dict[str, Any]) -> None:
    told = basis(Request("ws_1", "action", "x", ADA, "sha256:0"), KNOWN).told()
    assert basis_of(told).told() == told
    with pytest.raises(ValueError, match="is"):
        basis_of(told | change)
    with pytest.raises(KeyError):
        basis_of({name: told[name] for name in told if name not in change})
