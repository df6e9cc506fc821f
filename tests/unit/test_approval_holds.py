"""Holds of approvals that a run waits for: given these events, when this command, then those events."""

from typing import Any

from agentos_engine import runs as engine_runs
from agentos_shared.domain import approval_decisions as decisions
from agentos_shared.domain import approvals, leases, runs
from agentos_shared.domain.decider import Command
from agentos_shared.domain.runs import Run
from tests.unit.test_approvals import ADA, BOT, PLACE, answering, asking

CLAIM = leases.ClaimRun(
    claim_token="token-1",
    run_attempt_id="rat_1",
    claimed_by_actor_id="worker",
    actor_principal_id="p-1",
    lease_ttl_s=30,
    lease_expires_at="2026-11-24T05:30:30.000Z",
)
ASKING = asking(run_id="run_1")._replace(room_id="room_1")
QUEUED = PLACE.and_then(approvals.create, ASKING)
LEASED = PLACE.and_then(leases.claim, Command(CLAIM, BOT, "run_1", None, "room_1")).and_then(approvals.create, ASKING)


def test_a_hold_lets_go_of_the_lease() -> None:
    released, decided = LEASED.when(decisions.decide, answering("hold"))
    assert (released.event_type, released.entity_id, released.actor) == ("run.lease_released", "run_1", ADA.actor)
    assert released.data == {
        "run_id": "run_1",
        "attempt_no": 1,
        "claim_token": "token-1",
        "reason": "approval_held",
        "approval_id": "appr_1",
    }
    assert (decided.event_type, decided.data["decision"]) == ("approval.decided", "hold")
    run = LEASED.and_then(decisions.decide, answering("hold")).get(Run, "run_1")
    assert run is not None
    assert (run.status, run.lease) == ("queued", None)


def test_nothing_is_let_go_where_nothing_is_held_or_where_it_is_decided() -> None:
    assert [event.event_type for event in QUEUED.when(decisions.decide, answering("hold"))] == ["approval.decided"]
    for decision in ("approve", "deny"):
        events = LEASED.when(decisions.decide, answering(decision))
        assert [event.event_type for event in events] == ["approval.decided"]
    assert runs.known(LEASED, "run_1").lease is not None


def row(event_type: str, decision: str | None = None) -> dict[str, Any]:
    names = {"workspace_id": "ws_1", "entity_id": "appr_1", "run_id": "run_1", "entity_type": "approval"}
    return {**names, "event_type": event_type, "decision": decision}


def test_the_engine_takes_the_last_word_on_a_hold() -> None:
    held, approved, resumed = (
        row("approval.decided", "hold"),
        row("approval.decided", "approve"),
        row("approval.resumed"),
    )
    for events, last in (([held], True), ([held, resumed], False), ([held, approved], False), ([resumed, held], True)):
        assert engine_runs.holds(events) == [("ws_1", "appr_1", "run_1", last)]
    assert engine_runs.holds([row("approval.seen")]) == []
    assert engine_runs.fold([held]) == {}
