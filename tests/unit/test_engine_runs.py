"""How events become rows of the engine's queue, and how it notices that a clock was stepped."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agentos_engine.runs import EVIDENCE, INCIDENT, Change, fold, incident_key
from agentos_engine.timers import DatabaseClock

RUN = "run_1"


def told(*kinds: str, **members: Any) -> dict[str, Change]:
    """What these events of one run make of it."""
    rows = [
        {
            "run_id": RUN,
            "event_type": kind,
            "workspace_id": "ws",
            "entity_type": "run" if kind.startswith("run.") else kind.partition(".")[0],
            "entity_version": version,
            "idempotency_key": incident_key("ws", RUN) if kind == "incident.opened" else None,
            **members,
        }
        for version, kind in enumerate(kinds, start=1)
    ]
    return fold(rows)


@pytest.mark.parametrize(
    ("kinds", "state"),
    [
        (("run.created",), "queued"),
        (("run.created", "run.claimed", "run.started"), "held"),
        (("run.created", "run.claimed", "run.started", "run.lease_released"), "queued"),
        (("run.created", "run.claimed", "run.started", "run.lease_expired", "run.claimed"), "held"),
        (("run.created", "run.started"), "started"),
        (("run.claimed", "run.started"), "held"),
        (("run.lease_expired",), "queued"),
    ],
)
def test_the_last_event_that_matters_gives_the_state(kinds: tuple[str, ...], state: str) -> None:
    change = told(*kinds)[RUN]
    assert (change.state, change.version, change.ended) == (state, len(kinds), None)


def test_a_started_alone_leaves_the_state_to_the_row() -> None:
    change = told("run.started")[RUN]
    assert (change.last, change.started) == (None, True)


@pytest.mark.parametrize("end", ["run.completed", "run.failed", "run.cancelled"])
def test_an_end_is_an_end(end: str) -> None:
    assert told("run.created", "run.claimed", end)[RUN].ended == end


def test_what_has_been_done_is_not_done_again() -> None:
    change = told("run.failed", "evidence.manifest.created", "incident.opened")[RUN]
    assert change.done == [EVIDENCE, INCIDENT]
    assert change.version == 1


def test_an_incident_that_a_person_opened_is_another_matter() -> None:
    assert told("incident.opened", idempotency_key="mine")[RUN].done == []


NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.mark.parametrize("step_s", [3600.0, -3600.0, 5.0])
def test_a_step_of_the_database_clock_is_noticed(step_s: float) -> None:
    clock = DatabaseClock()
    assert clock.step(10.0, 10.1, NOON) == 0
    assert clock.step(20.0, 20.1, NOON + timedelta(seconds=10 + step_s)) == pytest.approx(step_s, abs=0.2)
    assert clock.step(30.0, 30.1, NOON + timedelta(seconds=20 + step_s)) == 0


def test_a_slow_answer_is_no_step() -> None:
    clock = DatabaseClock()
    clock.step(10.0, 15.0, NOON)
    assert clock.step(15.0, 21.0, NOON + timedelta(seconds=10.9)) == 0
