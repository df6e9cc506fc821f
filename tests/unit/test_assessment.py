"""What is told of a decision besides it: every number can be explained."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agentos_shared.domain import principals
from agentos_shared.domain.approvals import Approval
from agentos_shared.domain.capabilities import Capability
from agentos_shared.domain.envelope import timestamp
from agentos_shared.domain.policy.assessment import assessment, context_digest
from agentos_shared.domain.policy.evaluate import evaluate
from agentos_shared.domain.policy.facts import SEEDED_ACTIONS, AgentFact, DataLabel, Facts, Request
from agentos_shared.domain.policy.records import Gated

NOW = datetime(2026, 11, 24, 5, 30, tzinfo=UTC)
ADA = principals.actor("ws_1", "user", "ada")
BOT = principals.actor("ws_1", "agent", "agt_1")
READ = Request("ws_1", "data_access", "data.read", ADA, "sha256:" + "1" * 64, "sandbox")
NOTE = replace(READ, category="action", action="note.write", zone="supervised")
AGENT = AgentFact("agt_1", BOT.principal_id)
CASES: list[tuple[Request, Facts, int, set[str]]] = [
    (READ, Facts(NOW), 0, set()),
    (READ, Facts(NOW, label=DataLabel("sensitive_pii")), 20, {"label_sensitive_pii"}),
    (NOTE, Facts(NOW), 20, {"zone_supervised", "changes_something", "unregistered_action"}),
    (
        replace(NOTE, action="email.send", zone="high_stakes"),
        Facts(NOW, action=SEEDED_ACTIONS["email.send"]),
        75,
        {"zone_high_stakes", "leaves_the_machine", "changes_something", "cannot_be_undone"},
    ),
    (
        replace(NOTE, action="email.send", zone="high_stakes", actor=BOT, principal_id=BOT.principal_id),
        Facts(
            NOW,
            action=SEEDED_ACTIONS["email.send"],
            agent=replace(AGENT, quarantined=True),
            delegation=("child", "root"),
            on_behalf_of="p-ada",
        ),
        100,
        {
            "zone_high_stakes",
            "leaves_the_machine",
            "changes_something",
            "cannot_be_undone",
            "asked_by_an_agent",
            "in_quarantine",
            "delegated",
        },
    ),
]


def told(request: Request, facts: Facts) -> dict[str, Any]:
    return assessment(request, facts, evaluate(request, facts))


@pytest.mark.parametrize(("request_", "facts", "risk", "factors"), CASES)
def test_the_risk_is_the_sum_of_its_factors(request_: Request, facts: Facts, risk: int, factors: set[str]) -> None:
    found = told(request_, facts)
    assert (found["risk"], set(found["risk_factors"])) == (risk, factors)
    assert found["risk"] == min(100, sum(found["risk_factors"].values()))
    assert found["delegation"] == list(facts.delegation)
    assert found["on_behalf_of"] == facts.on_behalf_of


def grant(ends: datetime | None) -> Approval:
    return Approval(
        "ws_1",
        "external.write",
        READ.digest,
        ADA,
        NOW,
        None,
        None,
        None,
        None,
        None,
        "supervised",
        "c-1",
        status="approved",
        scope={"type": "workspace"},
        expires_at=ends,
    )


def test_an_allow_lasts_as_long_as_what_it_rests_on() -> None:
    wish = replace(NOTE, action="external.write", capability_token_id="t")
    soon, late = NOW + timedelta(hours=1), NOW + timedelta(hours=2)
    scopes = {"action_types": ["*"]}

    def until(approval_ends: datetime | None, capability_ends: datetime | None) -> Any:
        held = Capability("ws_1", ADA.principal_id, scopes, capability_ends)
        return told(wish, Facts(NOW, approvals={"appr_1": grant(approval_ends)}, capability=held))["valid_until"]

    assert until(None, None) is None
    assert until(soon, late) == until(late, soon) == until(soon, None) == timestamp(soon)
    assert told(wish, Facts(NOW))["valid_until"] is None
    factors = told(wish, Facts(NOW, approvals={"appr_1": grant(soon)}))["risk_factors"]
    assert "allowed_by_a_grant" not in factors, "the capability is not there, so it is refused"


def test_the_digest_of_the_context_is_of_all_of_it() -> None:
    assert context_digest(None) is None
    inputs = {"zone": "sandbox", "bars": ["agent_quarantined"], "external": False}
    assert context_digest(inputs) == context_digest(dict(reversed(inputs.items())))
    assert context_digest(inputs) != context_digest({**inputs, "external": True})


def test_a_decision_says_who_sees_to_it() -> None:
    gated = Gated(NOTE, evaluate(NOTE, Facts(NOW)))
    assert gated.grade == "host_enforced"
    assert replace(gated, mode="shadow").grade == "observe_only"
    assert replace(gated, request=replace(NOTE, category="egress")).grade == "structural"
    assert gated.on_record()["risk"] is None
