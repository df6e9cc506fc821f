"""The life of a request to the world outside: what follows what, and whose word is taken."""

import hashlib
from typing import Any, Literal

import pytest

from agentos_shared.domain import approval_decisions, egress, kill_switches, principals
from agentos_shared.domain.actions import action_digest
from agentos_shared.domain.approval_bodies import DecideApproval
from agentos_shared.domain.approvals import Approval
from agentos_shared.domain.decider import Command, Meta
from agentos_shared.domain.egress import EgressRequest
from agentos_shared.domain.egress_bodies import (
    FinishEgress,
    Method,
    ReconcileEgress,
    RefuseEgress,
    RequestEgress,
    SendEgress,
)
from agentos_shared.domain.egress_match import EgressRule
from agentos_shared.domain.errors import Conflict, Forbidden
from agentos_shared.domain.kill_switches import SetKillSwitch, switches_id
from agentos_shared.domain.policy.evaluate import evaluate
from agentos_shared.domain.policy.facts import Facts
from agentos_shared.domain.policy.records import Gated
from agentos_shared.domain.policy.standing import Outdated
from agentos_shared.domain.targets import parse
from tests.fixtures.given import MOMENT, Given

Result = Literal["succeeded", "failed", "outcome_unknown"]
ADA = Meta("ws_1", principals.actor("ws_1", "user", "ada"), "corr")
GATEWAY = Meta("ws_1", principals.actor("ws_1", "service", "gateway"), "corr")
PAGE = parse("https://example.org/prices")


def gated(method: str, approvals: Given | None = None) -> Gated:
    """What the gate says where a rule lists the host for reading, with the approvals that a history has."""
    parameters = {"method": method, "url": PAGE.url, "body_sha256": hashlib.sha256(b"").hexdigest()}
    digest = action_digest("ws_1", "external.write", ADA.actor, None, None, parameters)
    wish = egress.wish_of(
        "ws_1",
        ADA.actor,
        action="external.write",
        **parameters,
        host=PAGE.host,
        port=PAGE.port,
        path=PAGE.path,
        digest=digest,
        context={},
    )
    known: dict[str, Approval] = {}
    if approvals is not None:
        asked = (event.entity_id for event in approvals.events if event.event_type == "approval.requested")
        found = {name: approvals.get(Approval, name) for name in asked}
        known = {name: one for name, one in found.items() if one is not None and one.status == "approved"}
    facts = Facts(MOMENT, approvals=known, egress_rules=(EgressRule("egrl_1", "allow", PAGE.host),))
    return Gated(wish, evaluate(wish, facts), basis={"external": True})


def on(body: Any, meta: Meta = GATEWAY, loaded: Any = None) -> Command[Any]:
    return Command(body, meta, "egr_1", None, None, loaded)


def asked(method: Method = "GET") -> Given:
    body = RequestEgress(target_url=PAGE.url, method=method)
    return Given((egress.request, on(body, ADA, gated(method))))


def sending(sender: str, method: str = "GET", *, again: bool = False, history: Given | None = None) -> Command[Any]:
    return on(SendEgress(sender=sender, again=again), loaded=gated(method, history))


def ending(sender: str | None, result: Result, *, unsent: bool = False) -> Command[Any]:
    return on(FinishEgress(sender=sender, result=result, unsent=unsent))


def names(history: Given) -> list[str]:
    return [event.event_type for event in history.events if event.entity_type == "egress_request"]


def status(history: Given) -> str:
    state = history.get(EgressRequest, "egr_1")
    assert state is not None
    return state.status


SENT = asked().and_then(egress.send, sending("a"))


def test_a_read_of_a_listed_host() -> None:
    done = SENT.and_then(egress.finish, ending("a", "succeeded"))
    assert names(done) == ["egress.requested", "egress.allowed", "egress.sent", "egress.succeeded"]
    assert not done.when(egress.finish, ending("a", "succeeded"))  # it is on record


def test_a_write_is_blocked_and_asks_for_an_approval_of_exactly_this() -> None:
    history = asked("POST")
    assert (names(history), status(history)) == (["egress.requested", "egress.blocked"], "blocked")
    (approval,) = [event for event in history.events if event.event_type == "approval.requested"]
    blocked = history.events[-1].data
    assert blocked["approval_id"] == approval.entity_id
    assert approval.data["action_digest"] == blocked["action_digest"]


def test_an_approval_is_used_in_the_append_that_announces() -> None:
    history = asked("POST")
    approval_id = history.events[-1].data["approval_id"]
    decided = Command(DecideApproval(decision="approve"), ADA, approval_id, None, None, MOMENT)
    history = history.and_then(approval_decisions.decide, decided)
    events = history.when(egress.send, sending("a", "POST", history=history))
    assert [event.event_type for event in events] == ["egress.allowed", "approval.consumed", "egress.sent"]


def test_without_the_approval_nothing_is_announced() -> None:
    history = asked("POST").and_then(egress.send, sending("a", "POST"))
    assert (status(history), names(history)[-1]) == ("blocked", "egress.blocked")


def test_a_kill_switch_that_comes_in_between_stops_it() -> None:
    body = SetKillSwitch(action="engage", scope="external_write", reason="stop")
    switch = Command(body, ADA, switches_id("ws_1"), None, None, False)
    history = asked().and_then(kill_switches.change, switch)
    with pytest.raises(Outdated):
        history.when(egress.send, sending("a"))


def test_of_two_senders_one_sends() -> None:
    assert not SENT.when(egress.send, sending("a"))  # its own announcement, asked for again
    with pytest.raises(Conflict, match="egress_in_flight"):
        SENT.when(egress.send, sending("b"))
    with pytest.raises(Conflict, match="egress_of_another_sender"):
        SENT.when(egress.finish, ending("b", "succeeded"))
    done = SENT.and_then(egress.finish, ending("a", "failed"))
    with pytest.raises(Conflict, match="egress_already_finished"):
        done.when(egress.send, sending("b", again=True))


@pytest.mark.parametrize(
    ("history", "unsent", "expected"),
    [
        (SENT, False, "outcome_unknown"),
        (SENT, True, "failed"),
        (asked(), False, "failed"),
        (asked("POST"), False, "blocked"),
        (SENT.and_then(egress.finish, ending("a", "succeeded")), False, "succeeded"),
    ],
)
def test_what_a_process_left_behind(history: Given, unsent: bool, expected: str) -> None:
    result: Result = "failed" if unsent else "outcome_unknown"
    assert status(history.and_then(egress.finish, ending(None, result, unsent=unsent))) == expected


def test_the_late_answer_of_what_was_given_up_is_taken() -> None:
    history = SENT.and_then(egress.finish, ending(None, "outcome_unknown"))
    late = history.and_then(egress.finish, ending("a", "succeeded"))
    assert (names(late)[-1], status(late)) == ("egress.reconciled", "succeeded")


def test_what_does_no_harm_twice_may_be_sent_again() -> None:
    unknown = SENT.and_then(egress.finish, ending("a", "outcome_unknown"))
    with pytest.raises(Conflict, match="egress_outcome_unknown"):
        unknown.when(egress.send, sending("b"))
    (sent,) = unknown.when(egress.send, sending("b", again=True))
    assert (sent.data["attempt"], sent.data["sender"]) == (2, "b")


def test_only_people_reconcile_and_only_what_is_unknown() -> None:
    body = ReconcileEgress(outcome="succeeded", note="it is in their list")
    with pytest.raises(Conflict, match="egress_outcome_known"):
        SENT.when(egress.reconcile, on(body, ADA))
    unknown = SENT.and_then(egress.finish, ending("a", "outcome_unknown"))
    with pytest.raises(Forbidden, match="reconciler_must_be_user"):
        unknown.when(egress.reconcile, on(body, GATEWAY))
    done = unknown.and_then(egress.reconcile, on(body, ADA))
    assert status(done) == "succeeded"
    with pytest.raises(Conflict, match="egress_already_finished"):
        done.when(egress.send, sending("b", again=True))


def test_the_gateway_refuses_before_it_sends_and_not_after() -> None:
    body = RefuseEgress(reason_code="egress.ip_denied", reason="it is loopback")
    refused = asked().and_then(egress.refuse, on(body))
    assert refused.events[-1].data["reason_code"] == "egress.ip_denied"
    assert not SENT.when(egress.refuse, on(body))
