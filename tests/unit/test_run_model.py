"""The model of runs bites: answers that no order explains, and events under two leases, are found."""

from typing import Any

import pytest

from tests.checkers.run_model import OVERDUE, Answer, Command, World, lease_violations, some_order

OK = Answer(200, {})


def refused(code: str) -> Answer:
    return Answer(409, {"error": code})


def claimed(run_id: str, number: int, token: str) -> Answer:
    run = {"run_id": run_id, "attempt_no": number, "fencing_token": number, "claim_token": token, "engine_id": None}
    return Answer(200, {"claimed": True, "run": run})


NOTHING = Answer(200, {"claimed": False, "run": None})


def world(*done: tuple[Command, Answer]) -> World:
    at: World | None = World()
    for command, answer in done:
        at = None if at is None else at.after(command, answer)
    assert at is not None
    return at


def created(run_id: str, priority: int = 0, max_attempts: int = 3) -> tuple[Command, Answer]:
    body = {"priority": priority, "max_attempts": max_attempts}
    return Command("create", body=body), Answer(201, {"run_id": run_id})


HELD = world(created("a"), (Command("claim"), claimed("a", 1, "t1")))


@pytest.mark.parametrize(
    ("at", "done"),
    [
        (world(created("a")), [(Command("claim"), claimed("a", 1, "t1")), (Command("claim"), claimed("a", 1, "t2"))]),
        (world(created("a")), [(Command("claim"), NOTHING), (Command("claim"), NOTHING)]),
        (HELD, [(Command("step", "a", "t0"), Answer(201, {"step_id": "s"}))]),
        (HELD, [(Command("complete", "a"), OK)]),
        (HELD, [(Command("complete", "a", "t1"), OK), (Command("fail", "a", "t1"), OK)]),
        (HELD, [(Command("complete", "a", "t1"), OK), (Command("cancel", "a"), refused("run_not_running"))]),
        (HELD.time_is_over(["a"]), [(Command("heartbeat", "a", "t1"), OK)]),
        (HELD, [(Command("claim"), claimed("a", 2, "t2"))]),
        (HELD, [(Command("start", "a"), OK)]),
    ],
)
def test_answers_that_nothing_explains(at: World, done: list[tuple[Command, Answer]]) -> None:
    assert some_order(at, done) is None


def test_answers_that_one_order_explains() -> None:
    over = HELD.time_is_over(["a"])
    late = [
        (Command("complete", "a", "t1"), refused("lease_token_mismatch")),
        (Command("claim"), claimed("a", 2, "t2")),
    ]
    after = some_order(over, [*late, *((command, OK) for command in over.overdue())])
    assert after is not None
    assert after.runs["a"].attempt_no == 2
    early = [(Command("complete", "a", "t1"), OK), (Command("claim"), NOTHING)]
    assert some_order(over, [*early, *((command, OK) for command in over.overdue())]) is not None
    assert some_order(over, late) is None, "nobody has ended the lease"


def test_the_last_attempt_fails_the_run() -> None:
    at = world(created("a", max_attempts=1), (Command("claim"), claimed("a", 1, "t1")))
    after = at.after(Command(OVERDUE, "a", "t1"), OK)
    assert after is not None
    assert after.runs["a"].status == "failed"


def test_claims_in_order_take_the_best_run() -> None:
    at = World(world(created("old"), created("urgent", priority=1)).runs, in_order=True)
    assert at.after(Command("claim"), claimed("old", 1, "t")) is None
    assert at.after(Command("claim"), claimed("urgent", 1, "t")) is not None


def event(kind: str, actor: str = "one", **data: Any) -> dict[str, Any]:
    return {
        "event_type": kind,
        "run_id": "a",
        "stream_seq": 1,
        "actor_type": "service",
        "actor_id": actor,
        "data": data,
    }


def claim_event(number: int, token: str, actor: str) -> dict[str, Any]:
    return event("run.claimed", actor, fencing_token=number, claim_token=token, claimed_by_actor_id=actor)


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ([claim_event(1, "t1", "one"), claim_event(2, "t2", "two")], "while 1 is valid"),
        ([claim_event(2, "t1", "one")], "fencing token 2 after 0"),
        ([claim_event(1, "t1", "one"), event("step.created", "two")], "by two while one holds it"),
        ([event("run.lease_expired", attempt_no=1, claim_token="t1")], "not held"),
        ([event("run.started"), event("run.completed"), event("run.failed")], "ended twice"),
        ([event("run.started"), event("run.completed"), event("step.created")], "while the run is succeeded"),
    ],
)
def test_events_that_must_not_be(events: list[dict[str, Any]], told: str) -> None:
    assert any(told in text for text in lease_violations(events))


def test_events_of_a_run_that_changed_hands() -> None:
    events = [
        claim_event(1, "t1", "one"),
        event("run.started"),
        event("step.created", "one"),
        event("run.lease_expired", "engine", attempt_no=1, claim_token="t1"),
        claim_event(2, "t2", "two"),
        event("step.created", "two"),
        event("run.completed", "two"),
        event("artifact.created", "two"),
    ]
    assert lease_violations(events) == []
