"""Experiments, scorecards and lessons: given these events, when this command, then those events, or this refusal."""

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from agentos_api.http import problem
from agentos_shared.domain import experiments, lessons, principals, rooms, scorecards
from agentos_shared.domain.catalog import AGGREGATES, EVENT_TYPES
from agentos_shared.domain.decider import Command, CommandBody, Meta
from agentos_shared.domain.envelope import canonical_content
from agentos_shared.domain.errors import Conflict, DomainError, Invalid, NotFound
from agentos_shared.domain.experiments import CloseExperiment, CreateExperiment, UpdateExperiment
from agentos_shared.domain.lessons import LogLesson
from agentos_shared.domain.scorecards import Metric, RecordScorecard
from tests.fixtures.given import Given

META = Meta("ws_1", principals.actor("ws_1", "user", "ada"), "c-1")
ROOM = Command(rooms.CreateRoom(title="Ops"), META, "room_1", None, "room_1")
PLAN = {"title": "Shorter", "hypothesis": "Half is enough", "budget_cap_units": 50, "risk_tier": "low"}
CREATE = Command(CreateExperiment.model_validate(PLAN), META, "exp_1", None, None)
OPEN = Given((experiments.create, CREATE))
GROWING = ("incident", "evidence", "experiment", "scorecard", "lesson")


def on(body: Any, loaded: Any = None) -> Command[Any]:
    return Command(body, META, "exp_1", None, None, loaded)


def refused(kind: type[DomainError], code: str, act: Callable[[], object]) -> DomainError:
    with pytest.raises(kind) as caught:
        act()
    assert caught.value.code == code
    return caught.value


def code_of(model: type[CommandBody], body: dict[str, Any]) -> str:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(body)
    return problem.invalid_body(caught.value).code


def test_an_experiment_stands_in_its_room_or_in_the_workspace() -> None:
    (event,) = Given().when(experiments.create, CREATE)
    assert (event.event_type, event.stream) == ("experiment.created", ("workspace", "ws_1"))
    assert event.data == {
        "experiment_id": "exp_1",
        **PLAN,
        "success_criteria": {},
        "stop_conditions": {},
        "metadata": {},
    }
    in_room = Command(CREATE.body, META, "exp_1", None, "room_1")
    (event,) = Given((rooms.create, ROOM)).when(experiments.create, in_room)
    assert (event.stream, event.room_id) == (("room", "room_1"), "room_1")
    refused(NotFound, "room_not_found", lambda: Given().when(experiments.create, in_room))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"title": None}, "invalid_title"),
        ({"title": ""}, "missing_title"),
        ({"hypothesis": ""}, "missing_hypothesis"),
        ({"budget_cap_units": None}, "invalid_budget_cap_units"),
        ({"budget_cap_units": -1}, "invalid_budget_cap_units"),
        ({"budget_cap_units": "50"}, "invalid_budget_cap_units"),
        ({"risk_tier": None}, "invalid_risk_tier"),
        ({"risk_tier": "extreme"}, "invalid_risk_tier"),
    ],
)
def test_a_malformed_experiment_is_refused(change: dict[str, Any], code: str) -> None:
    assert code_of(CreateExperiment, {**PLAN, **change}) in (code, code.replace("invalid", "missing"))


def test_members_that_are_not_there_have_the_codes_that_clients_know() -> None:
    rest = dict(PLAN)
    for name, code in (
        ("title", "missing_title"),
        ("hypothesis", "missing_hypothesis"),
        ("budget_cap_units", "invalid_budget_cap_units"),
        ("risk_tier", "invalid_risk_tier"),
    ):
        del rest[name]
        assert code_of(CreateExperiment, rest) == code
        rest[name] = PLAN[name]


def test_an_update_carries_what_changes() -> None:
    (event,) = OPEN.when(experiments.update, on(UpdateExperiment(budget_cap_units=75)))
    assert event.data["budget_cap_units"] == 75
    assert event.data["title"] is None
    assert OPEN.when(experiments.update, on(UpdateExperiment())) == []


@pytest.mark.parametrize(
    ("active", "force", "status"), [(0, False, "closed"), (0, True, "closed"), (2, True, "stopped")]
)
def test_closing_says_what_became_of_it(active: int, force: bool, status: str) -> None:
    (event,) = OPEN.when(experiments.close, on(CloseExperiment(force=force, reason="enough"), active))
    assert event.data == {
        "experiment_id": "exp_1",
        "status": status,
        "reason": "enough",
        "force": force,
        "active_run_count": active,
    }
    ended = OPEN.and_then(experiments.close, on(CloseExperiment(force=force), active))
    refused(Conflict, "experiment_not_open", lambda: ended.when(experiments.close, on(CloseExperiment(), 0)))
    refused(Conflict, "experiment_not_open", lambda: ended.when(experiments.update, on(UpdateExperiment())))


def test_running_work_holds_it_open() -> None:
    error = refused(
        Conflict, "experiment_has_active_runs", lambda: OPEN.when(experiments.close, on(CloseExperiment(), 2))
    )
    assert error.extra == {"active_run_count": 2}
    refused(NotFound, "experiment_not_found", lambda: Given().when(experiments.close, on(CloseExperiment(), 0)))


CARD = {"template_key": "quality", "template_version": "1", "metrics": [{"key": "q", "value": 0.9}]}


def card(**members: Any) -> Command[RecordScorecard]:
    return Command(RecordScorecard.model_validate({**CARD, **members}), META, "scd_1", None, None)


def test_a_scorecard_weighs_sorts_and_hashes() -> None:
    metrics = [{"key": "speed", "value": 0.5, "weight": 3}, {"key": "quality", "value": 1}]
    (event,) = Given().when(scorecards.record, card(metrics=metrics))
    assert (event.stream, event.event_type) == (("workspace", "ws_1"), "scorecard.recorded")
    assert (event.data["score"], event.data["decision"]) == (0.625, "warn")
    assert [metric["key"] for metric in event.data["metrics"]] == ["quality", "speed"]
    text = b'[{"key":"quality","value":1,"weight":1},{"key":"speed","value":0.5,"weight":3}]'
    assert event.data["metrics_hash"] == "sha256:" + hashlib.sha256(text).hexdigest()


@pytest.mark.parametrize(
    ("value", "decision"),
    [(0.75, "pass"), (0.7499, "warn"), (0.5, "warn"), (0.4999, "fail"), (-3, "fail"), (40, "pass")],
)
def test_the_decision_follows_the_score(value: float, decision: str) -> None:
    (event,) = Given().when(scorecards.record, card(metrics=[{"key": "q", "value": value}]))
    assert event.data["decision"] == decision
    assert 0 <= event.data["score"] <= 1


@given(
    st.lists(
        st.tuples(
            st.floats(-(2**53), 2**53),
            st.floats(0, 2**53, exclude_min=True),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_any_metrics_give_a_score(pairs: list[tuple[float, float]]) -> None:
    metrics = [Metric(key=str(place), value=value, weight=weight) for place, (value, weight) in enumerate(pairs)]
    assert 0 <= scorecards.score(metrics) <= 1


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"template_key": ""}, "missing_template_key"),
        ({"template_version": ""}, "missing_template_version"),
        ({"metrics": None}, "invalid_metrics"),
        ({"metrics": []}, "invalid_metrics"),
        ({"metrics": [{"key": "", "value": 1}]}, "invalid_metrics"),
        ({"metrics": [{"key": "a"}]}, "invalid_metrics"),
        ({"metrics": [{"key": "a", "value": 1}, {"key": "a", "value": 2}]}, "invalid_metrics"),
        ({"metrics": [{"key": "a", "value": 1, "weight": 0}]}, "invalid_metrics"),
    ],
)
def test_a_malformed_scorecard_is_refused(change: dict[str, Any], code: str) -> None:
    assert code_of(RecordScorecard, {**CARD, **change}) == code


def test_a_template_may_require_evidence() -> None:
    refused(
        Invalid,
        "missing_evidence_for_template",
        lambda: Given().when(scorecards.record, card(requires_evidence=True)),
    )
    justified = card(requires_evidence=True, metadata={"justification": "no run yet"})
    assert len(Given().when(scorecards.record, justified)) == 1
    refused(NotFound, "evidence_not_found", lambda: Given().when(scorecards.record, card(evidence_id="evd_9")))


def test_a_lesson_needs_something_that_taught_it() -> None:
    def lesson(**members: Any) -> Command[LogLesson]:
        body = LogLesson.model_validate({"category": "evaluation", "summary": "Score first", **members})
        return Command(body, META, "les_1", None, None)

    refused(Invalid, "lesson_context_required", lambda: Given().when(lessons.log, lesson()))
    (event,) = Given().when(lessons.log, lesson(run_id="run_1", action_items=["Add a scorecard"]))
    assert (event.event_type, event.stream, event.run_id) == ("lesson.logged", ("workspace", "ws_1"), "run_1")
    assert event.data["action_items"] == ["Add a scorecard"]
    assert code_of(LogLesson, {"summary": "x"}) == "missing_category"
    assert code_of(LogLesson, {"category": "x"}) == "missing_summary"


@pytest.mark.parametrize(
    ("entity_type", "event_type"),
    [(entity, event) for event, entity in EVENT_TYPES.items() if entity in GROWING],
)
def test_folding_bears_an_event_whose_data_was_redacted(entity_type: str, event_type: str) -> None:
    (created,) = Given((rooms.create, ROOM)).events
    event = created._replace(
        entity_type=entity_type, event_type=event_type, run_id="run_1", content=canonical_content({}, {}, {}, {})
    )
    evolve = AGGREGATES[entity_type].evolve
    evolve(evolve(None, event), event)
