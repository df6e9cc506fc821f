"""Incidents: given these events, when this command, then those events, or this refusal."""

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from agentos_api.http import problem
from agentos_shared.domain import incidents, principals, rooms, threads
from agentos_shared.domain.decider import Command, Meta
from agentos_shared.domain.errors import Conflict, DomainError, Invalid, NotFound
from agentos_shared.domain.incidents import (
    AcknowledgeIncident,
    CloseIncident,
    LogLearning,
    OpenIncident,
    UpdateRca,
)
from tests.fixtures.given import Given

META = Meta("ws_1", principals.actor("ws_1", "user", "ada"), "c-1")
ROOM = Command(rooms.CreateRoom(title="Ops", zone="sandbox", mission_id="m_1"), META, "room_1", None, "room_1")
THREAD = Command(threads.CreateThread(title="Disk"), META, "th_1", "room_1", "room_1")
PLACE = Given((rooms.create, ROOM), (threads.create, THREAD))


def opening(room_id: str | None = "room_1", incident_id: str = "inc_1", **members: Any) -> Command[OpenIncident]:
    body = OpenIncident.model_validate({"title": "Disk full", **members})
    return Command(body, META, incident_id, None, room_id)


def on(body: Any, incident_id: str = "inc_1") -> Command[Any]:
    return Command(body, META, incident_id, None, "room_1")


OPEN = PLACE.and_then(incidents.open_incident, opening())
ANALYSED = OPEN.and_then(incidents.update_rca, on(UpdateRca(summary="logs")))
LEARNT = ANALYSED.and_then(incidents.log_learning, on(LogLearning(note="rotate")))
CLOSED = LEARNT.and_then(incidents.close, on(CloseIncident(reason="done")))


def refused(kind: type[DomainError], code: str, act: Callable[[], object]) -> DomainError:
    with pytest.raises(kind) as caught:
        act()
    assert caught.value.code == code
    return caught.value


def test_an_incident_stands_in_its_room() -> None:
    (event,) = PLACE.when(incidents.open_incident, opening(thread_id="th_1", details={"free": 0}))
    assert (event.event_type, event.stream, event.room_id) == ("incident.opened", ("room", "room_1"), "room_1")
    assert (event.thread_id, event.zone, event.mission_id) == ("th_1", "sandbox", "m_1")
    assert event.data == {
        "incident_id": "inc_1",
        "category": None,
        "title": "Disk full",
        "summary": None,
        "severity": "medium",
        "run_id": None,
        "entity_type": None,
        "entity_id": None,
        "details": {"free": 0},
    }


def test_without_a_room_it_stands_in_the_workspace() -> None:
    (event,) = Given().when(incidents.open_incident, opening(None))
    assert (event.stream, event.room_id, event.zone) == (("workspace", "ws_1"), None, "supervised")


def test_a_summary_may_stand_for_the_title_and_a_warning_is_low() -> None:
    body = OpenIncident.model_validate({"summary": "Disk full", "severity": "warning"})
    assert (body.title, body.summary, body.severity) == ("Disk full", "Disk full", "low")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "missing_title"),
        ({"title": ""}, "missing_title"),
        ({"title": "x", "severity": "huge"}, "invalid_severity"),
        ({"title": "x", "severity": ""}, "invalid_severity"),
        ({"title": "x", "idempotency_key": ""}, "invalid_idempotency_key"),
        ({"title": "x", "idempotency_key": "k" * 201}, "invalid_idempotency_key"),
        ({"title": "x", "details": []}, "invalid_details"),
        ({"title": "x", "colour": "red"}, "unknown_field"),
    ],
)
def test_a_malformed_incident_is_refused(body: dict[str, Any], code: str) -> None:
    with pytest.raises(ValidationError) as caught:
        OpenIncident.model_validate(body)
    assert problem.invalid_body(caught.value).code == code


def test_room_thread_and_run_must_be_there_and_fit() -> None:
    refused(NotFound, "room_not_found", lambda: Given().when(incidents.open_incident, opening()))
    refused(NotFound, "thread_not_found", lambda: PLACE.when(incidents.open_incident, opening(thread_id="th_9")))
    refused(NotFound, "run_not_found", lambda: PLACE.when(incidents.open_incident, opening(run_id="run_9")))


def test_a_key_opens_one_incident() -> None:
    key = {"idempotency_key": "disk-7"}
    incident_id = incidents.incident_id("ws_1", "disk-7")
    (event,) = PLACE.when(incidents.open_incident, opening(incident_id=incident_id, **key))
    assert event.idempotency_key == "disk-7"
    opened = PLACE.and_then(incidents.open_incident, opening(incident_id=incident_id, **key))
    assert opened.when(incidents.open_incident, opening(incident_id=incident_id, **key)) == []


def test_a_key_of_another_stream_is_a_conflict() -> None:
    opened = PLACE.and_then(incidents.open_incident, opening())
    refused(
        Conflict,
        "idempotency_conflict_unresolved",
        lambda: opened.when(incidents.open_incident, opening(None)),
    )


def test_ids_of_keys_are_ulids_and_differ_by_workspace() -> None:
    one, other = incidents.incident_id("ws_1", "k"), incidents.incident_id("ws_2", "k")
    assert one == incidents.incident_id("ws_1", "k") != other
    assert (len(one), one[:4], one[4] <= "7") == (30, "inc_", True)


def test_it_is_acknowledged_once() -> None:
    (event,) = OPEN.when(incidents.acknowledge, on(AcknowledgeIncident()))
    assert (event.event_type, event.data) == ("incident.acknowledged", {"incident_id": "inc_1"})
    acknowledged = OPEN.and_then(incidents.acknowledge, on(AcknowledgeIncident()))
    assert acknowledged.when(incidents.acknowledge, on(AcknowledgeIncident())) == []


def test_an_analysis_carries_its_summary() -> None:
    body = UpdateRca(summary="logs", analysis={"cause": ["rotation"]})
    (event,) = OPEN.when(incidents.update_rca, on(body))
    assert event.data["rca"] == {"cause": ["rotation"], "summary": "logs"}
    refused(Invalid, "missing_rca_payload", lambda: OPEN.when(incidents.update_rca, on(UpdateRca())))


def test_each_lesson_has_an_id_of_its_own() -> None:
    (first,) = ANALYSED.when(incidents.log_learning, on(LogLearning(note="rotate", tags=["a", "a", "b"])))
    (second,) = LEARNT.when(incidents.log_learning, on(LogLearning(note="rotate")))
    assert first.data["learning_id"] != second.data["learning_id"]
    assert first.data["tags"] == ["a", "b"]
    refused(Invalid, "missing_note", lambda: OPEN.when(incidents.log_learning, on(LogLearning(note=" "))))


def test_it_closes_only_with_a_cause_and_a_lesson() -> None:
    close = on(CloseIncident())
    refused(Conflict, "incident_close_blocked_missing_rca", lambda: OPEN.when(incidents.close, close))
    noted = OPEN.and_then(incidents.log_learning, on(LogLearning(note="rotate")))
    refused(Conflict, "incident_close_blocked_missing_rca", lambda: noted.when(incidents.close, close))
    refused(Conflict, "incident_close_blocked_missing_learning", lambda: ANALYSED.when(incidents.close, close))
    (event,) = LEARNT.when(incidents.close, on(CloseIncident(reason="fixed")))
    assert event.data == {"incident_id": "inc_1", "reason": "fixed"}


@pytest.mark.parametrize(
    ("decide", "body", "code"),
    [
        (incidents.acknowledge, AcknowledgeIncident(), "incident_closed"),
        (incidents.update_rca, UpdateRca(summary="x"), "incident_closed"),
        (incidents.log_learning, LogLearning(note="x"), "incident_closed"),
        (incidents.close, CloseIncident(), "incident_already_closed"),
    ],
)
def test_closed_is_final(decide: Any, body: Any, code: str) -> None:
    refused(Conflict, code, lambda: CLOSED.when(decide, on(body)))
    refused(NotFound, "incident_not_found", lambda: OPEN.when(decide, on(body, "inc_9")))


def test_everything_about_it_shares_correlation_and_place() -> None:
    events = [event for event in CLOSED.events if event.entity_id == "inc_1"]
    assert [event.event_type for event in events] == [
        "incident.opened",
        "incident.rca.updated",
        "incident.learning.logged",
        "incident.closed",
    ]
    assert {event.correlation_id for event in events} == {"c-1"}
    assert {(event.room_id, event.zone, event.mission_id) for event in events} == {("room_1", "sandbox", "m_1")}


def test_an_expected_version_holds() -> None:
    refused(
        Conflict,
        "version_conflict",
        lambda: OPEN.when(incidents.update_rca, on(UpdateRca(summary="x", expected_version=7))),
    )
