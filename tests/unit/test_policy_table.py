"""What the gate decides, written down as tables: every action in every zone, in every situation."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from agentos_shared.domain import principals
from agentos_shared.domain.approvals import Approval
from agentos_shared.domain.capabilities import Capability
from agentos_shared.domain.envelope import Zone
from agentos_shared.domain.policy.evaluate import Judgement, evaluate, unavailable
from agentos_shared.domain.policy.facts import (
    SEEDED_ACTIONS,
    AgentFact,
    Category,
    Constraint,
    DataLabel,
    Facts,
    KillScope,
    KillSwitch,
    Label,
    Request,
)
from agentos_shared.domain.policy.reasons import REASONS

NOW: Final = datetime(2026, 11, 24, 5, 30, tzinfo=UTC)
ADA: Final = principals.actor("ws_1", "user", "ada")
BOT: Final = principals.actor("ws_1", "agent", "agt_1")
DIGEST: Final = "sha256:" + "1" * 64
OTHER_DIGEST: Final = "sha256:" + "2" * 64
ZONES: Final[tuple[Zone, ...]] = ("sandbox", "supervised", "high_stakes")

CODES: Final[Mapping[str, tuple[str, str]]] = {
    "A": ("allow", "default_allow"),
    "G": ("allow", "approval_allows_action"),
    "X": ("require_approval", "external_write_requires_approval"),
    "Z": ("require_approval", "action_zone_requires_high_stakes"),
    "P": ("require_approval", "action_pre_approval_required"),
    "U": ("require_approval", "zone.unregistered_requires_approval"),
    "M": ("deny", "action_zone_mismatch"),
    "K": ("deny", "kill_switch_active"),
    "Q": ("deny", "agent_quarantined"),
}

# What there is, from left to right:
# - approvals of the action: none; for this room, another room, the workspace, this run, another run, this thread, once
#   and for exactly this, once and for something else, over, denied, used up, for a pattern, of another workspace;
# - kill switches: external_write, the same with an approval for the workspace, workspace, this room, another, a tool;
# - quarantine of whoever asks; the same with an approval for the workspace.
SITUATIONS: Final = (
    *("none", "room", "other_room", "workspace", "run", "other_run", "thread"),
    *("once", "other_once", "over", "denied", "used", "pattern", "foreign"),
    *("external", "external+workspace", "all", "room_stopped", "other_room_stopped", "tool_stopped"),
    *("quarantine", "quarantine+workspace"),
)
# fmt: off
TABLE: Final = (
    ("external.write egress:external.write", ZONES,                     "X G X G G X G G X X X X G X K K K K X X Q Q"),
    ("email.send payment.execute api.call.mutating", ZONES[:2],         "Z Z Z Z Z Z Z G Z Z Z Z Z Z K K K K Z Z Q Q"),
    ("email.send payment.execute api.call.mutating", ZONES[2:],         "P P P P P P P G P P P P P P K K K K P P Q Q"),
    ("artifact.create artifact.update", ("sandbox", "high_stakes"),     "M M M M M M M M M M M M M M M M K K M M Q Q"),
    ("artifact.create artifact.update", ("supervised",),                "A A A A A A A A A A A A A A A A K K A A Q Q"),
    ("api.call.idempotent", ("sandbox", "high_stakes"),                 "M M M M M M M M M M M M M M K K K K M M Q Q"),
    ("api.call.idempotent", ("supervised",),                            "A A A A A A A A A A A A A A K K K K A A Q Q"),
    ("internal.read", ZONES[:2],                                        "A A A A A A A A A A A A A A A A K K A A A A"),
    ("internal.read", ZONES[2:],                                        "U G U G G U G G U U U U G U U G K K U U U G"),
    ("invoice.file", ZONES[:2],                                         "A A A A A A A A A A A A A A A A K K A A Q Q"),
    ("invoice.file", ZONES[2:],                                         "U G U G G U G G U U U U G U U G K K U U Q Q"),
    ("tool_call:tool.call", ZONES,                                      "A A A A A A A A A A A A A A A A K K A K Q Q"),
    ("data_access:data.read", ZONES,                                    "A A A A A A A A A A A A A A A A K K A A A A"),
    ("data_access:data.write", ZONES,                                   "A A A A A A A A A A A A A A A A K K A A Q Q"),
)
# fmt: on


def request(action: str, zone: Zone = "supervised", **members: Any) -> Request:
    """A wish in a room, a thread and a run; ``category:action`` where it is no plain action."""
    category, _, name = action.rpartition(":")
    given: dict[str, Any] = {
        "actor": ADA,
        "room_id": "room_1",
        "thread_id": "th_1",
        "run_id": "run_1",
        "tool_name": "shell" if category == "tool_call" else None,
        "egress_host": "api.example.org" if category == "egress" else None,
    }
    kind: Any = category or "action"
    return Request("ws_1", kind, name, digest=DIGEST, zone=zone, **(given | members))


def approval(action: str, scope: Mapping[str, Any], **members: Any) -> Approval:
    """One that was approved."""
    given: dict[str, Any] = {"status": "approved", "digest": DIGEST, "workspace_id": "ws_1"} | members
    return Approval(
        workspace_id=given.pop("workspace_id"),
        action=action,
        digest=given.pop("digest"),
        requester=ADA,
        requested_at=NOW - timedelta(hours=1),
        room_id="room_1",
        thread_id=None,
        run_id=None,
        step_id=None,
        mission_id=None,
        zone="supervised",
        correlation_id="c-1",
        scope=dict(scope),
        expires_at=given.pop("expires_at", NOW + timedelta(hours=1)),
        **given,
    )


WORKSPACE: Final = {"type": "workspace"}
SCOPES: Final[Mapping[str, Mapping[str, Any]]] = {
    "room": {"type": "room", "room_id": "room_1"},
    "other_room": {"type": "room", "room_id": "room_2"},
    "workspace": WORKSPACE,
    "run": {"type": "run", "run_id": "run_1"},
    "other_run": {"type": "run", "run_id": "run_2"},
    "thread": {"type": "thread", "thread_id": "th_1"},
    "once": {"type": "once"},
    "pattern": {"type": "pattern"},
}
SWITCHES: Final[Mapping[str, tuple[KillScope, str | None]]] = {
    "external": ("external_write", None),
    "all": ("workspace", None),
    "room_stopped": ("room", "room_1"),
    "other_room_stopped": ("room", "room_2"),
    "tool_stopped": ("tool", "shell"),
}


def approvals_of(situation: str, action: str) -> dict[str, Approval]:
    match situation:
        case "other_once":
            return {"appr_1": approval(action, {"type": "once"}, digest=OTHER_DIGEST)}
        case "over":
            return {"appr_1": approval(action, WORKSPACE, expires_at=NOW)}
        case "denied":
            return {"appr_1": approval(action, WORKSPACE, status="denied")}
        case "used":
            return {"appr_1": approval(action, {"type": "once"}, status="consumed", uses=1)}
        case "foreign":
            return {"appr_1": approval(action, WORKSPACE, workspace_id="ws_2")}
        case _:
            return {"appr_1": approval(action, SCOPES[situation])} if situation in SCOPES else {}


def decided(situation: str, action: str, zone: Zone, token: str = "none") -> tuple[str, str]:
    wish = request(action, zone)
    facts = Facts(NOW, action=SEEDED_ACTIONS.get(wish.action))
    for part in situation.split("+"):
        if part in SWITCHES:
            facts = replace(facts, kill_switches=(KillSwitch(*SWITCHES[part]),))
        elif part == "quarantine":
            wish = replace(wish, actor=BOT, principal_id=BOT.principal_id)
            facts = replace(facts, agent=AgentFact("agt_1", BOT.principal_id, True, "test"))
        else:
            facts = replace(facts, approvals=approvals_of(part, wish.action))
    if token != "none":
        wish, facts = with_token(token, wish, facts)
    decision = evaluate(wish, facts)
    return decision.decision, decision.reason_code


WHOLE: Final = {
    "action_types": ["*"],
    "tools": ["*"],
    "egress_domains": ["*"],
    "data_access": {"read": ["*"], "write": ["*"]},
}


def with_token(token: str, wish: Request, facts: Facts) -> tuple[Request, Facts]:
    """A wish that comes with a capability in some state."""
    held = Capability("ws_1", wish.principal_id or wish.actor.principal_id, WHOLE, NOW + timedelta(seconds=1))
    changes: dict[str, Any] = {
        "expired": {"valid_until": NOW},
        "revoked": {"revoked": True},
        "anothers": {"principal_id": "p-other"},
        "foreign": {"workspace_id": "ws_2"},
        "other_room": {"scopes": {**WHOLE, "rooms": ["room_2"]}},
        "counted": {"scopes": {**WHOLE, "max_uses": 3}},
    }
    capability = None if token == "unknown" else replace(held, **changes.get(token, {}))
    facts = replace(facts, capability=capability, capability_revoked=token == "revoked_above")
    return replace(wish, capability_token_id="t-1"), facts


def rows() -> Iterator[tuple[str, str, Zone, str]]:
    for actions, zones, codes in TABLE:
        for action in actions.split():
            for zone in zones:
                for situation, code in zip(SITUATIONS, codes.split(), strict=True):
                    yield situation, action, zone, code


def test_every_action_in_every_zone_and_situation() -> None:
    table = list(rows())
    wrong = [row for row in table if decided(*row[:3]) != CODES[row[3]]]
    assert wrong == []
    assert len(table) == len({row[:3] for row in table}) == 13 * 3 * 22


# What a capability in some state makes of what would be decided without one, from left to right as in CODES: = leaves
# it so. Kill switches and quarantine are told first.
# fmt: off
TOKENS: Final = (
    #                A G X Z P U M K Q
    ("live",         "= = = = = = = = ="),
    ("unknown",      "N N N N N N N = ="),
    ("foreign",      "N N N N N N N = ="),
    ("revoked",      "R R R R R R R = ="),
    ("revoked_above","R R R R R R R = ="),
    ("expired",      "E E E E E E E = ="),
    ("anothers",     "O O O O O O O = ="),
    ("other_room",   "L L L L L L L = ="),
    ("counted",      "B B B B B B B = ="),
)
# fmt: on
TOKEN_CODES: Final[Mapping[str, str]] = {
    "N": "capability_token_not_found",
    "R": "capability_token_revoked",
    "E": "capability_token_expired",
    "O": "capability_token_principal_mismatch",
    "L": "capability_scope_room_not_allowed",
    "B": "capability_bearer_required",
}


def test_every_state_of_a_capability_in_all_of_them() -> None:
    count, wrong = 0, []
    for token, makes in TOKENS:
        told = dict(zip(CODES, makes.split(), strict=True))
        for situation, action, zone, code in rows():
            expected = CODES[code] if told[code] == "=" else ("deny", TOKEN_CODES[told[code]])
            count += 1
            if decided(situation, action, zone, token) != expected:
                wrong.append((token, situation, action, zone, code))
    assert wrong == []
    assert count == 9 * 13 * 3 * 22


# fmt: off
CAPABILITIES: Final[tuple[tuple[str, dict[str, Any], str | None], ...]] = (
    ("internal.read", {}, "scope_action_type_required"),
    ("internal.read", {"action_types": []}, "scope_action_type_required"),
    ("internal.read", {"action_types": ["internal.read"]}, None),
    ("internal.read", {"action_types": ["*"]}, None),
    ("internal.read", {"action_types": ["internal.*"]}, "scope_action_not_allowed"),
    ("internal.read", {"action_types": ["invoice.file"]}, "scope_action_not_allowed"),
    ("internal.read", {"tools": ["*"]}, "scope_action_type_required"),
    ("internal.read", {"action_types": ["*"], "rooms": ["room_1"]}, None),
    ("internal.read", {"action_types": ["*"], "rooms": ["*"]}, None),
    ("internal.read", {"action_types": ["*"], "rooms": ["room_2"]}, "scope_room_not_allowed"),
    ("internal.read", {"action_types": ["*"], "rooms": []}, None),
    ("nowhere internal.read", {"action_types": ["*"], "rooms": ["room_1"]}, "scope_room_required"),
    ("nowhere internal.read", {"action_types": ["*"], "rooms": ["*"]}, "scope_room_required"),
    ("nowhere internal.read", {"action_types": ["*"]}, None),
    ("tool_call:tool.call", {}, "scope_tool_required"),
    ("tool_call:tool.call", {"action_types": ["*"]}, "scope_tool_required"),
    ("tool_call:tool.call", {"tools": ["shell"]}, None),
    ("tool_call:tool.call", {"tools": ["*"]}, None),
    ("tool_call:tool.call", {"tools": ["http.get"]}, "scope_tool_not_allowed"),
    ("tool_call:tool.call", {"tools": ["SHELL"]}, "scope_tool_not_allowed"),
    ("tool_call:tool.call", {"tools": ["shell"], "rooms": ["room_2"]}, "scope_room_not_allowed"),
    ("nameless tool_call:tool.call", {"tools": ["*"]}, "scope_context_missing_tool_name"),
    ("nameless tool_call:tool.call", {}, "scope_tool_required"),
    ("data_access:data.read", {}, "scope_data_access_required"),
    ("data_access:data.read", {"data_access": {"write": ["*"]}}, "scope_data_access_required"),
    ("data_access:data.read", {"data_access": {"read": ["internal"]}}, None),
    ("data_access:data.read", {"data_access": {"read": ["*"]}}, None),
    ("data_access:data.read", {"data_access": {"read": ["public"]}}, "scope_data_access_not_allowed"),
    ("data_access:data.write", {"data_access": {"read": ["*"]}}, "scope_data_access_required"),
    ("data_access:data.write", {"data_access": {"write": ["internal"]}}, None),
    ("data_access:data.write", {"data_access": {"write": ["confidential"]}}, "scope_data_access_not_allowed"),
    ("egress:external.write", {}, "scope_egress_domain_required"),
    ("egress:external.write", {"egress_domains": ["other.org"]}, "scope_domain_not_allowed"),
    ("egress:external.write", {"egress_domains": ["example.org"]}, "scope_domain_not_allowed"),
    ("egress:external.write", {"egress_domains": ["evil-api.example.org"]}, "scope_domain_not_allowed"),
    ("egress:external.write", {"egress_domains": ["*.pi.example.org"]}, "scope_domain_not_allowed"),
    ("nameless egress:external.write", {"egress_domains": ["*"]}, "scope_context_missing_egress_domain"),
)
COVERED: Final = (["api.example.org"], ["API.example.org"], ["*.example.org"], ["*.api.example.org"], ["*"], ["x", "*"])
# fmt: on


def capability(scopes: Mapping[str, Any], **members: Any) -> Capability:
    return Capability("ws_1", ADA.principal_id, scopes, NOW + timedelta(hours=1), **members)


@pytest.mark.parametrize(("asked", "scopes", "code"), CAPABILITIES)
def test_capabilities_cover_what_they_name(asked: str, scopes: dict[str, Any], code: str | None) -> None:
    how, _, action = asked.rpartition(" ")
    missing: dict[str, dict[str, Any]] = {
        "": {},
        "nowhere": {"room_id": None},
        "nameless": {"tool_name": None, "egress_host": None},
    }
    wish = request(action, capability_token_id="cap", **missing[how])
    decision = evaluate(wish, Facts(NOW, capability=capability(scopes)))
    assert decision.reason_code == ("default_allow" if code is None else f"capability_{code}")


@pytest.mark.parametrize("domains", COVERED)
def test_what_a_capability_covers_may_still_need_an_approval(domains: list[str]) -> None:
    wish = request("egress:external.write", capability_token_id="cap")
    decision = evaluate(wish, Facts(NOW, capability=capability({"egress_domains": domains})))
    assert decision.reason_code == "external_write_requires_approval"


ALL: Final = {"action_types": ["*"]}


@pytest.mark.parametrize(
    ("held", "above", "code"),
    [
        (None, False, "capability_token_not_found"),
        (capability(ALL), False, "default_allow"),
        (capability(ALL, revoked=True), False, "capability_token_revoked"),
        (capability(ALL), True, "capability_token_revoked"),
        (replace(capability(ALL), valid_until=NOW), False, "capability_token_expired"),
        (replace(capability(ALL), valid_until=NOW - timedelta(seconds=1)), False, "capability_token_expired"),
        (replace(capability(ALL), valid_until=NOW + timedelta(seconds=1)), False, "default_allow"),
        (replace(capability(ALL), valid_until=None), False, "default_allow"),
        (replace(capability(ALL), principal_id=BOT.principal_id), False, "capability_token_principal_mismatch"),
        (replace(capability(ALL), workspace_id="ws_2"), False, "capability_token_not_found"),
        (replace(capability(ALL), revoked=True, valid_until=NOW), False, "capability_token_revoked"),
    ],
)
def test_a_capability_must_be_alive_and_ones_own(held: Capability | None, above: bool, code: str) -> None:
    wish = request("internal.read", capability_token_id="cap")
    assert evaluate(wish, Facts(NOW, capability=held, capability_revoked=above)).reason_code == code


@pytest.mark.parametrize(
    ("principal", "agent", "code"),
    [
        (None, None, "agent_principal_required"),
        ("p-unknown", None, "agent_principal_not_found"),
        (BOT.principal_id, AgentFact("agt_1", BOT.principal_id), "default_allow"),
        ("p-other", AgentFact("agt_2", "p-other"), "agent_actor_id_mismatch"),
        ("p-other", AgentFact("agt_2", "p-other", True), "agent_actor_id_mismatch"),
    ],
)
def test_agents_act_under_their_own_principal(principal: str | None, agent: AgentFact | None, code: str) -> None:
    wish = request("internal.read", actor=BOT, principal_id=principal)
    assert evaluate(wish, Facts(NOW, agent=agent)).reason_code == code


def test_a_quarantined_principal_is_stopped_whoever_names_it() -> None:
    wish = request("invoice.file", principal_id=BOT.principal_id)
    facts = Facts(NOW, agent=AgentFact("agt_1", BOT.principal_id, True))
    assert evaluate(wish, facts).reason_code == "agent_quarantined"


# Label, its room, its purposes | purposes asked for, a justification -> reading and writing alike.
LABELS: Final[tuple[tuple[Label, str | None, str, str, str | None, str], ...]] = (
    ("public", None, "", "", None, "default_allow"),
    ("internal", None, "", "", None, "default_allow"),
    ("internal", "room_2", "billing", "", None, "default_allow"),
    ("restricted", "room_1", "", "", None, "default_allow"),
    ("restricted", "room_2", "", "", None, "data_access_restricted_room_mismatch"),
    ("restricted", "room_2", "", "", "audit", "data_access_restricted_room_mismatch"),
    ("restricted", None, "", "", None, "data_access_restricted_room_mismatch"),
    ("confidential", None, "", "", None, "default_allow"),
    ("confidential", None, "billing", "billing", None, "default_allow"),
    ("confidential", None, "billing audit", "audit", None, "default_allow"),
    ("confidential", None, "billing", "", None, "data_access_purpose_hint_mismatch"),
    ("confidential", None, "billing", "marketing", None, "data_access_purpose_hint_mismatch"),
    ("confidential", None, "billing", "marketing", "asked by the customer", "default_allow"),
    ("confidential", None, "billing", "marketing", "", "data_access_purpose_hint_mismatch"),
    ("sensitive_pii", None, "billing", "", None, "data_access_purpose_hint_mismatch"),
    ("sensitive_pii", None, "billing", "billing", None, "default_allow"),
    ("sensitive_pii", "room_2", "billing", "billing", None, "default_allow"),
)


@pytest.mark.parametrize("action", ["data.read", "data.write"])
@pytest.mark.parametrize("row", LABELS)
def test_data_by_label(row: tuple[Label, str | None, str, str, str | None, str], action: str) -> None:
    label, room, purposes, asked, justification, code = row
    wish = request(f"data_access:{action}", purpose_tags=tuple(asked.split()), justification=justification)
    facts = Facts(NOW, label=DataLabel(label, room, tuple(purposes.split())))
    assert evaluate(wish, facts).reason_code == code


class Bundle:
    """Policies that say what they were told to say."""

    hash = "sha256:bundle"

    def __init__(self, judgement: Judgement) -> None:
        self._judgement = judgement

    def judge(self, request: Request, facts: Facts) -> Judgement:
        return self._judgement


GRANT: Final = {"appr_1": approval("internal.read", WORKSPACE)}
DENY: Final = Constraint("cst_1", "deny")
ASK: Final = Constraint("cst_2", "require_approval")


@pytest.mark.parametrize(
    ("judgement", "facts", "decision", "codes"),
    [
        (Judgement(), Facts(NOW), "allow", ("default_allow",)),
        (Judgement(denies=("p1",)), Facts(NOW), "deny", ("policy.rule_matched",)),
        (Judgement(denies=("p1",)), Facts(NOW, approvals=GRANT), "deny", ("policy.rule_matched",)),
        (Judgement(False, denies=("p1",)), Facts(NOW), "deny", ("policy.rule_matched",)),
        (Judgement(False), Facts(NOW), "deny", ("policy.no_match_default",)),
        (Judgement(False), Facts(NOW, approvals=GRANT), "deny", ("policy.no_match_default",)),
        (Judgement(errors=("p1",)), Facts(NOW), "deny", ("policy.error_fail_closed",)),
        (Judgement(False, errors=("p1",)), Facts(NOW, approvals=GRANT), "deny", ("policy.error_fail_closed",)),
        (Judgement(requires=("p1",)), Facts(NOW), "require_approval", ("policy.rule_matched",)),
        (
            Judgement(requires=("p1",)),
            Facts(NOW, approvals=GRANT),
            "allow",
            ("approval_allows_action", "policy.rule_matched"),
        ),
        (Judgement(requires=("p1",), denies=("p2",)), Facts(NOW, approvals=GRANT), "deny", ("policy.rule_matched",)),
        (Judgement(), Facts(NOW, constraints=(DENY,)), "deny", ("constraint.learned",)),
        (Judgement(), Facts(NOW, constraints=(DENY, ASK), approvals=GRANT), "deny", ("constraint.learned",)),
        (Judgement(), Facts(NOW, constraints=(ASK,)), "require_approval", ("constraint.learned",)),
        (
            Judgement(),
            Facts(NOW, constraints=(ASK,), approvals=GRANT),
            "allow",
            ("approval_allows_action", "constraint.learned"),
        ),
        (Judgement(), Facts(NOW, constraints=(Constraint("cst_3", "warn"),)), "allow", ("default_allow",)),
        (Judgement(), Facts(NOW, constraints=(replace(DENY, action="x"),)), "allow", ("default_allow",)),
        (Judgement(), Facts(NOW, constraints=(replace(DENY, category="egress"),)), "allow", ("default_allow",)),
        (Judgement(), Facts(NOW, constraints=(replace(DENY, subject_key="agent:x"),)), "allow", ("default_allow",)),
        (
            Judgement(),
            Facts(NOW, constraints=(replace(DENY, subject_key="actor:user:ada"),)),
            "deny",
            ("constraint.learned",),
        ),
        (
            Judgement(denies=("p1",)),
            Facts(NOW, kill_switches=(KillSwitch("workspace"),)),
            "deny",
            ("kill_switch_active", "policy.rule_matched"),
        ),
        (Judgement(), Facts(NOW, kill_switch_known=False), "allow", ("default_allow",)),
    ],
)
def test_what_overrides_what(judgement: Judgement, facts: Facts, decision: str, codes: tuple[str, ...]) -> None:
    got = evaluate(request("internal.read"), facts, Bundle(judgement))
    assert (got.decision, got.reason_codes, got.policy_bundle_hash) == (decision, codes, "sha256:bundle")
    assert got.reason_code == codes[0]


@pytest.mark.parametrize("action", ["external.write", "egress:external.write", "egress:api.call.idempotent"])
def test_without_knowing_the_kill_switch_nothing_leaves_the_machine(action: str) -> None:
    grants = {"appr_1": approval("external.write", WORKSPACE)}
    got = evaluate(request(action), Facts(NOW, approvals=grants, kill_switch_known=False))
    assert (got.decision, got.reason_code) == ("deny", "kill_switch_unknown")


@pytest.mark.parametrize(
    ("host", "target", "stopped"),
    [
        ("api.example.org", "api.example.org", True),
        ("api.example.org", "*.example.org", True),
        ("example.org", "*.example.org", True),
        ("badexample.org", "*.example.org", False),
        ("api.example.org", "example.org", False),
        ("api.example.org", "*", True),
    ],
)
def test_a_host_is_stopped(host: str, target: str, stopped: bool) -> None:
    facts = Facts(NOW, kill_switches=(KillSwitch("egress_host", target),))
    got = evaluate(request("egress:external.write", egress_host=host), facts)
    assert (got.reason_code == "kill_switch_active") is stopped


@pytest.mark.parametrize("target", ["agt_1", BOT.principal_id])
@pytest.mark.parametrize("action", ["internal.read", "tool_call:tool.call"])
def test_an_agent_is_stopped_by_its_id_or_its_principal(target: str, action: str) -> None:
    facts = Facts(NOW, agent=AgentFact("agt_1", BOT.principal_id), kill_switches=(KillSwitch("agent", target),))
    mine = evaluate(request(action, actor=BOT, principal_id=BOT.principal_id), facts)
    others = evaluate(request(action), replace(facts, agent=None))
    assert (mine.reason_code, others.reason_code) == ("kill_switch_active", "default_allow")


def test_an_approval_that_is_used_up_or_for_other_parameters_allows_nothing() -> None:
    scope = {"type": "pattern", "arg_constraints": {"to": "*@example.org"}}
    inside = request("external.write", context={"to": "ada@example.org"})
    outside = request("external.write", context={"to": "eve@example.com"})
    facts = Facts(NOW, approvals={"appr_1": approval("external.write", scope)})
    assert (evaluate(inside, facts).decision, evaluate(outside, facts).decision) == ("allow", "require_approval")
    used_up = approval("external.write", WORKSPACE | {"max_uses": 2}, uses=2)
    assert evaluate(inside, Facts(NOW, approvals={"appr_1": used_up})).decision == "require_approval"


def test_a_decision_tells_its_rule_the_approval_and_what_can_be_done() -> None:
    facts = Facts(NOW, approvals={"appr_1": approval("external.write", WORKSPACE)})
    allowed, asked = evaluate(request("external.write"), facts), evaluate(request("external.write"), Facts(NOW))
    assert (allowed.approval_id, asked.approval_id) == ("appr_1", None)
    assert [rule.told() for rule in allowed.determining_rules] == [
        {"rule_id": "appr_1", "effect": "allow", "source": "grant"},
        {"rule_id": "external_write_requires_approval", "effect": "require_approval", "source": "built_in"},
    ]
    assert asked.action_digest == DIGEST
    assert asked.next_steps
    assert asked.reason


def test_without_the_service_everything_is_denied() -> None:
    categories: tuple[Category, ...] = ("action", "tool_call", "data_access", "egress")
    for category in categories:
        got = unavailable(replace(request("internal.read"), category=category))
        assert (got.decision, got.reason_code, got.action_digest) == ("deny", "policy_unavailable", DIGEST)


def test_every_reason_has_words() -> None:
    for code, reason in REASONS.items():
        assert reason.text.endswith("."), code
        assert len(reason.text) < 200, code
        assert reason.next_steps or reason.severity == "info", code
