"""Acts that the gate allows by an approval: the approval is used in the act's own append, or nothing is appended."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from agentos_shared.domain import (
    agents,
    approvals,
    capabilities,
    grants,
    kill_switches,
    principals,
    rooms,
    runs,
    steps,
    tool_calls,
)
from agentos_shared.domain import approval_decisions as decisions
from agentos_shared.domain.actions import action_digest
from agentos_shared.domain.approval_bodies import ConsumeApproval, CreateApproval, DecideApproval, RevokeGrant
from agentos_shared.domain.approvals import Approval
from agentos_shared.domain.capabilities import Capability
from agentos_shared.domain.decider import Command, Meta
from agentos_shared.domain.envelope import NewEvent, Zone, timestamp
from agentos_shared.domain.errors import Conflict, NotFound, TryLater
from agentos_shared.domain.grants import Moment
from agentos_shared.domain.policy.evaluate import basis, evaluate, unavailable
from agentos_shared.domain.policy.facts import ActionRule, AgentFact, Facts, KillScope, Request, ZoneRule
from agentos_shared.domain.policy.records import Gated
from agentos_shared.domain.policy.standing import Outdated
from agentos_shared.domain.tool_calls import InvokeTool
from tests.fixtures.given import MOMENT, Given

ADA = Meta("ws_1", principals.actor("ws_1", "user", "ada"), "c-1")
INPUT = {"to": "ada"}
PARAMETERS = {"tool_name": "mail", "input": INPUT}
DIGEST = action_digest("ws_1", "mail.send", ADA.actor, "room_1", "run_1", PARAMETERS)


def on(body: Any, entity_id: str, parent_id: str | None = None, loaded: Any = MOMENT) -> Command[Any]:
    return Command(body, ADA, entity_id, parent_id, "room_1", loaded)


DENYING: dict[Zone, ZoneRule] = {"supervised": ZoneRule("deny")}
RUN = (
    Given((rooms.create, on(rooms.CreateRoom(title="Ops"), "room_1")))
    .and_then(runs.create, on(runs.CreateRun(room_id="room_1"), "run_1"))
    .and_then(runs.start, on(runs.StartRun(), "run_1"))
    .and_then(steps.create, on(steps.CreateStep(kind="work"), "step_1", "run_1"))
)
ASKED = RUN.and_then(
    approvals.create, on(CreateApproval(action="mail.send", action_digest=DIGEST, run_id="run_1"), "appr_1")
)
APPROVED = ASKED.and_then(decisions.decide, on(DecideApproval(decision="approve"), "appr_1"))


def gated(history: Given) -> Gated:
    """What the gate says of the call, with the approvals that there are, where the action needs one of its own."""
    request = Request(
        workspace_id="ws_1",
        category="action",
        action="mail.send",
        actor=ADA.actor,
        digest=DIGEST,
        room_id="room_1",
        run_id="run_1",
        context=PARAMETERS,
    )
    approval = history.get(Approval, "appr_1")
    rule = ActionRule("mail.send", True, "supervised", requires_pre_approval=True)
    known = {"appr_1": approval} if approval is not None and approval.status == "approved" else {}
    facts = Facts(MOMENT, approvals=known, action=rule)
    return Gated(request, evaluate(request, facts))


def calling(of: Gated, call_id: str = "tc_1") -> Command[InvokeTool]:
    return on(InvokeTool(tool_name="mail", input=INPUT), call_id, "step_1", of)


def using(of: Gated) -> Command[ConsumeApproval]:
    return on(ConsumeApproval(action_digest=DIGEST), "appr_1", loaded=Moment(MOMENT, gated=of))


def test_an_approval_is_not_used_for_what_the_gate_denies_now() -> None:
    allowed = gated(APPROVED)
    assert [event.event_type for event in APPROVED.when(grants.consume, using(allowed))] == ["approval.consumed"]
    away = replace(allowed, decision=unavailable(allowed.request))
    with pytest.raises(TryLater, match="policy_unavailable"):
        APPROVED.when(grants.consume, using(away))
    sandbox = ActionRule("mail.send", True, "high_stakes", requires_pre_approval=True, by_zone=DENYING)
    denied = evaluate(allowed.request, Facts(MOMENT, action=sandbox))
    with pytest.raises(Conflict, match="approval_policy_denies") as refusal:
        APPROVED.when(grants.consume, using(replace(allowed, decision=denied)))
    assert refusal.value.extra["denied_by"] == ["zone.action_not_allowed"]


def types(history: Given, of: Gated, call_id: str = "tc_1") -> list[str]:
    return [event.event_type for event in history.when(tool_calls.invoke, calling(of, call_id))]


def test_what_needs_an_approval_is_not_done_without_one() -> None:
    assert gated(ASKED).refused
    assert types(ASKED, gated(ASKED))[:2] == ["policy.decided", "policy.requires_approval"]


def test_the_act_and_the_use_of_its_approval_are_one_append() -> None:
    allowed = gated(APPROVED)
    used, invoked = APPROVED.when(tool_calls.invoke, calling(allowed))
    assert (used.event_type, used.entity_id, used.data["action_digest"]) == ("approval.consumed", "appr_1", DIGEST)
    assert (invoked.event_type, invoked.policy_context["approval_id"]) == ("tool.invoked", "appr_1")


def test_of_two_that_the_gate_allowed_one_acts() -> None:
    allowed = gated(APPROVED)
    done = APPROVED.and_then(tool_calls.invoke, calling(allowed))
    with pytest.raises(Conflict, match="approval_already_consumed"):
        done.when(tool_calls.invoke, calling(allowed, "tc_2"))
    assert gated(done).refused


def test_what_was_revoked_since_the_gate_looked_allows_nothing() -> None:
    allowed = gated(APPROVED)
    revoked = APPROVED.and_then(grants.revoke, on(RevokeGrant(), "appr_1"))
    with pytest.raises(Conflict, match="approval_not_approved"):
        revoked.when(tool_calls.invoke, calling(allowed))


def test_an_approval_that_cannot_be_found_allows_nothing() -> None:
    with pytest.raises(NotFound, match="approval_not_found"):
        RUN.when(tool_calls.invoke, calling(gated(APPROVED)))


BOT = principals.actor("ws_1", "agent", "agt_1")
HANDED = "0a0a0a0a-0000-4000-8000-000000000001"
ROOT = "0a0a0a0a-0000-4000-8000-000000000002"


def grant(token_id: str, parent: str | None = None, until: str | None = None) -> Any:
    def granting(command: Command[Any], _view: Any) -> list[NewEvent]:
        scopes = {"tools": ["*"]}
        given = capabilities.granted(command.meta, token_id, BOT.principal_id, scopes, until, parent_token_id=parent)
        return [given]

    return granting


ACTING = (
    RUN.and_then(agents.register, on(agents.RegisterAgent(display_name="Bot"), "agt_1"))
    .and_then(grant(ROOT), on(None, ROOT))
    .and_then(grant(HANDED, ROOT), on(None, HANDED))
)
SWITCHES = kill_switches.switches_id("ws_1")


def allowed() -> Gated:
    request = Request(
        "ws_1",
        "tool_call",
        "tool.call",
        BOT,
        DIGEST,
        principal_id=BOT.principal_id,
        capability_token_id=HANDED,
        room_id="room_1",
        run_id="run_1",
        tool_name="mail",
    )
    facts = Facts(
        MOMENT,
        agent=AgentFact("agt_1", BOT.principal_id),
        capability=ACTING.get(Capability, HANDED),
        rests_on=("agt_1", HANDED, ROOT),
    )
    return Gated(request, evaluate(request, facts), rests_on=facts.rests_on, basis=basis(request, facts).told())


def stopped(scope: KillScope, target: str | None = None) -> Any:
    body = kill_switches.SetKillSwitch(action="engage", scope=scope, target=target)
    return kill_switches.change, on(body, SWITCHES, loaded=False)


def test_what_the_gate_allowed_is_done_while_it_stands() -> None:
    assert types(ACTING, allowed()) == ["tool.invoked"]
    later = ACTING.and_then(*stopped("room", "room_2")).and_then(*stopped("external_write"))
    assert types(later, allowed()) == ["tool.invoked"]


@pytest.mark.parametrize(
    "since",
    [
        stopped("workspace"),
        stopped("room", "room_1"),
        stopped("tool", "mail"),
        stopped("agent", "agt_1"),
        (agents.quarantine, on(agents.QuarantineAgent(), "agt_1")),
        (capabilities.revoke, on(capabilities.RevokeCapability(token_id=HANDED), HANDED)),
        (capabilities.revoke, on(capabilities.RevokeCapability(token_id=ROOT), ROOT)),
    ],
)
def test_what_came_between_the_gate_and_the_act_stops_it(since: Any) -> None:
    with pytest.raises(Outdated):
        types(ACTING.and_then(*since), allowed())


def test_a_capability_that_ends_between_the_gate_and_the_act_allows_nothing() -> None:
    ended = RUN.and_then(agents.register, on(agents.RegisterAgent(display_name="Bot"), "agt_1"))
    ended = ended.and_then(grant(HANDED, until=timestamp(MOMENT)), on(None, HANDED))
    with pytest.raises(Outdated):
        types(ended, allowed())


def test_an_approval_that_ends_between_the_gate_and_the_act_allows_nothing() -> None:
    class Later(Given):
        tick = timedelta(days=2)

    history = Later(
        (rooms.create, on(rooms.CreateRoom(title="Ops"), "room_1")),
        (runs.create, on(runs.CreateRun(room_id="room_1"), "run_1")),
        (runs.start, on(runs.StartRun(), "run_1")),
        (steps.create, on(steps.CreateStep(kind="work"), "step_1", "run_1")),
        (approvals.create, on(CreateApproval(action="mail.send", action_digest=DIGEST, run_id="run_1"), "appr_1")),
        (decisions.decide, on(DecideApproval(decision="approve"), "appr_1")),
    )
    with pytest.raises(Conflict, match="approval_expired"):
        history.when(tool_calls.invoke, calling(gated(history)))
