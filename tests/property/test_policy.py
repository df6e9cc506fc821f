"""Whatever is asked, and whatever is known: the gate answers, answers alike, and what narrows never widens."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentos_shared.domain import principals
from agentos_shared.domain.approvals import Approval
from agentos_shared.domain.capabilities import Capability
from agentos_shared.domain.policy.evaluate import Judgement, evaluate
from agentos_shared.domain.policy.facts import (
    SEEDED_ACTIONS,
    AgentFact,
    Constraint,
    DataLabel,
    Facts,
    KillSwitch,
    Request,
)
from agentos_shared.domain.policy.reasons import REASONS

NOW: Final = datetime(2026, 11, 24, 5, 30, tzinfo=UTC)
ADA = principals.actor("ws_1", "user", "ada")
BOT = principals.actor("ws_1", "agent", "agt_1")
STRICTNESS: Final = {"allow": 0, "require_approval": 1, "deny": 2}
ROOMS = st.sampled_from(["room_1", "room_2"])
DIGESTS = st.sampled_from(["sha256:" + digit * 64 for digit in "12"])
ACTIONS = st.sampled_from([*SEEDED_ACTIONS, "internal.read", "data.read", "data.write", "tool.call", "x.y"])
LISTS = st.lists(st.sampled_from(["*", "x.y", "shell", "room_1", "internal"]), max_size=2)

requests = st.builds(
    Request,
    workspace_id=st.just("ws_1"),
    category=st.sampled_from(["action", "tool_call", "data_access", "egress"]),
    action=ACTIONS,
    actor=st.sampled_from([ADA, BOT]),
    digest=DIGESTS,
    zone=st.sampled_from(["sandbox", "supervised", "high_stakes"]),
    principal_id=st.sampled_from([None, BOT.principal_id, "p-2"]),
    capability_token_id=st.sampled_from([None, "cap"]),
    room_id=st.none() | ROOMS,
    thread_id=st.none(),
    run_id=st.sampled_from([None, "run_1"]),
    step_id=st.none(),
    resource=st.sampled_from([None, "x"]),
    tool_name=st.sampled_from([None, "shell"]),
    egress_host=st.sampled_from([None, "api.example.org"]),
    purpose_tags=st.sampled_from([(), ("billing",)]),
    justification=st.sampled_from([None, "asked"]),
    context=st.just({}),
)
scopes: st.SearchStrategy[Mapping[str, Any]] = st.one_of(
    st.just({"type": "workspace"}),
    st.just({"type": "once"}),
    st.just({"type": "pattern"}),
    st.builds(lambda room: {"type": "room", "room_id": room}, ROOMS),
)
approvals = st.builds(
    lambda action, digest, scope, status, left: Approval(
        "ws_1",
        action,
        digest,
        ADA,
        NOW,
        None,
        None,
        None,
        None,
        None,
        "supervised",
        "c-1",
        status=status,
        scope=dict(scope),
        expires_at=NOW + timedelta(minutes=left),
    ),
    ACTIONS,
    DIGESTS,
    scopes,
    st.sampled_from(["approved", "denied", "consumed", "pending"]),
    st.sampled_from([-1, 0, 1]),
)
capabilities = st.builds(
    lambda who, actions, tools, rooms, read, revoked: Capability(
        "ws_1",
        who,
        {"action_types": actions, "tools": tools, "rooms": rooms, "data_access": {"read": read}},
        None,
        revoked,
    ),
    st.sampled_from([ADA.principal_id, BOT.principal_id, "p-2"]),
    LISTS,
    LISTS,
    LISTS,
    LISTS,
    st.booleans(),
)
switches = st.builds(
    KillSwitch,
    st.sampled_from(["workspace", "external_write", "room", "agent", "tool", "egress_host"]),
    st.sampled_from([None, "room_1", "agt_1", "shell", "*.example.org"]),
)
constraints = st.builds(
    Constraint,
    st.just("cst_1"),
    st.sampled_from(["deny", "require_approval", "warn"]),
    st.sampled_from([None, "action", "egress"]),
    st.none() | ACTIONS,
    st.sampled_from([None, "actor:user:ada", "agent:agt_1"]),
)
facts = st.builds(
    lambda approved, agent, capability, registered, stopped, known, label, learned: Facts(
        NOW,
        approvals={f"appr_{number}": one for number, one in enumerate(approved)},
        agent=agent,
        capability=capability,
        action=SEEDED_ACTIONS["email.send"] if registered else None,
        kill_switches=tuple(stopped),
        kill_switch_known=known,
        label=label,
        constraints=tuple(learned),
    ),
    st.lists(approvals, max_size=3),
    st.sampled_from([None, AgentFact("agt_1", BOT.principal_id), AgentFact("agt_1", BOT.principal_id, True)]),
    st.none() | capabilities,
    st.booleans(),
    st.lists(switches, max_size=1),
    st.booleans(),
    st.sampled_from([DataLabel(), DataLabel("restricted", "room_1"), DataLabel("confidential", None, ("billing",))]),
    st.lists(constraints, max_size=1),
)
names = st.lists(st.sampled_from(["p1", "p2"]), max_size=1).map(tuple)
judgements = st.builds(Judgement, st.booleans(), names, names, names)


class Bundle:
    """Policies that say what they were told to say."""

    hash = "sha256:test"

    def __init__(self, judgement: Judgement) -> None:
        self._judgement = judgement

    def judge(self, request: Request, facts: Facts) -> Judgement:
        return self._judgement


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(requests, facts, judgements)
def test_every_wish_has_one_answer_that_explains_itself(asked: Request, known: Facts, judged: Judgement) -> None:
    decision = evaluate(asked, known, Bundle(judged))
    assert decision == evaluate(asked, known, Bundle(judged))
    assert decision.reason_codes[0] == decision.reason_code
    assert set(decision.reason_codes) <= REASONS.keys()
    assert decision.determining_rules
    assert decision.determining_rules[0].effect == decision.decision
    assert (decision.approval_id is not None) == (decision.reason_code == "approval_allows_action")


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(requests, facts, judgements, switches, constraints)
def test_what_narrows_never_widens(
    asked: Request, known: Facts, judged: Judgement, switch: KillSwitch, constraint: Constraint
) -> None:
    plain = STRICTNESS[evaluate(asked, known).decision]
    narrowed = [
        evaluate(asked, known, Bundle(judged)),
        evaluate(asked, replace(known, kill_switches=(*known.kill_switches, switch))),
        evaluate(asked, replace(known, kill_switch_known=False)),
        evaluate(asked, replace(known, constraints=(*known.constraints, constraint))),
        evaluate(asked, replace(known, capability_revoked=True)),
        evaluate(asked, replace(known, approvals={})),
    ]
    assert all(STRICTNESS[decision.decision] >= plain for decision in narrowed)


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(requests, facts, judgements, st.lists(approvals, min_size=1, max_size=3))
def test_approvals_turn_a_question_into_a_yes_and_nothing_else(
    asked: Request, known: Facts, judged: Judgement, more: list[Approval]
) -> None:
    bare = evaluate(asked, replace(known, approvals={}), Bundle(judged))
    approved = evaluate(
        asked, replace(known, approvals={f"appr_{n}": one for n, one in enumerate(more)}), Bundle(judged)
    )
    if bare.decision != "require_approval":
        assert (approved.decision, approved.reason_code) == (bare.decision, bare.reason_code)
    assert approved.decision in (bare.decision, "allow")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(requests, facts, judgements)
def test_nothing_is_allowed_in_quarantine_but_reading(asked: Request, known: Facts, judged: Judgement) -> None:
    held = replace(known, agent=AgentFact("agt_1", BOT.principal_id, True))
    decision = evaluate(replace(asked, principal_id=BOT.principal_id), held, Bundle(judged))
    assert decision.decision == "deny" or asked.action.endswith(".read")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(requests, facts, judgements)
def test_nothing_leaves_a_machine_that_was_stopped(asked: Request, known: Facts, judged: Judgement) -> None:
    stopped = replace(known, kill_switches=(KillSwitch("external_write"),))
    leaves = asked.category == "egress" or asked.action == "external.write" or (known.action is not None)
    decision = evaluate(asked, stopped, Bundle(judged))
    if leaves:
        assert (decision.decision, decision.reason_code) == ("deny", "kill_switch_active")
