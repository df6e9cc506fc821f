"""Rooms, threads and messages: given these events, when this command, then those events, or this refusal."""

from collections.abc import Sequence

import pytest
from pydantic import ValidationError

from agentos_shared.domain import messages, principals, rooms, threads
from agentos_shared.domain.catalog import AGGREGATES, EVENT_TYPES
from agentos_shared.domain.decider import Command, CommandBody, Meta
from agentos_shared.domain.envelope import NewEvent
from agentos_shared.domain.errors import Conflict, DomainError, Invalid, NotFound
from tests.fixtures.given import Given

META = Meta("ws_1", principals.actor("ws_1", "user", "ada"), "c-1", "key-1")
ROOM = Command(rooms.CreateRoom(title="Ops", default_lang="de", zone="sandbox", mission_id="m_1"), META, "room_1")
THREAD = Command(threads.CreateThread(title="Disk"), META, "th_1", "room_1", "room_1")


def message(parent: str | None = None, **members: object) -> Command[messages.CreateMessage]:
    body = messages.CreateMessage.model_validate({"content_md": "hello", "parent_message_id": parent, **members})
    return Command(body, META, "msg_1", "th_1", "room_1")


def only(events: Sequence[NewEvent]) -> NewEvent:
    (event,) = events
    return event


def test_a_room_is_event_one_of_its_own_stream() -> None:
    event = only(Given().when(rooms.create, ROOM))
    assert (event.event_type, event.stream, event.room_id) == ("room.created", ("room", "room_1"), "room_1")
    assert (event.zone, event.mission_id, event.idempotency_key) == ("sandbox", "m_1", "key-1")
    assert event.data == {
        "room_id": "room_1",
        "title": "Ops",
        "topic": None,
        "room_mode": "normal",
        "default_lang": "de",
        "tool_policy_ref": None,
    }


def test_a_thread_inherits_its_rooms_zone_and_mission() -> None:
    event = only(Given((rooms.create, ROOM)).when(threads.create, THREAD))
    assert (event.event_type, event.thread_id, event.room_id) == ("thread.created", "th_1", "room_1")
    assert (event.zone, event.mission_id) == ("sandbox", "m_1")
    assert event.data == {"thread_id": "th_1", "title": "Disk", "status": "open"}


def test_a_thread_needs_its_room() -> None:
    refused(NotFound, "room_not_found", lambda: Given().when(threads.create, THREAD))


def test_a_message_speaks_the_rooms_language_unless_told() -> None:
    given = Given((rooms.create, ROOM), (threads.create, THREAD))
    assert only(given.when(messages.create, message())).data["lang"] == "de"
    assert only(given.when(messages.create, message(lang="fr"))).data["lang"] == "fr"


def test_a_message_needs_its_thread() -> None:
    refused(NotFound, "thread_not_found", lambda: Given((rooms.create, ROOM)).when(messages.create, message()))


def test_an_answer_needs_its_parent_in_the_same_thread() -> None:
    given = Given((rooms.create, ROOM), (threads.create, THREAD))
    refused(NotFound, "message_not_found", lambda: given.when(messages.create, message("msg_9")))
    first = Command(messages.CreateMessage(content_md="first"), META, "msg_0", "th_1", "room_1")
    event = only(given.and_then(messages.create, first).when(messages.create, message("msg_0")))
    assert event.data["parent_message_id"] == "msg_0"


def test_an_unsupported_schema_version_is_refused_before_anything_else() -> None:
    error = refused(
        Invalid, "invalid_schema_version", lambda: Given().when(messages.create, message(schema_version="9.9"))
    )
    assert error.extra["reason_code"] == "unsupported_version"


@pytest.mark.parametrize(("expected", "fits"), [(0, True), (1, False)])
def test_expected_version_of_a_new_entity_is_zero(expected: int, fits: bool) -> None:
    command = ROOM._replace(body=ROOM.body.model_copy(update={"expected_version": expected}))
    if fits:
        assert len(Given().when(rooms.create, command)) == 1
    else:
        error = refused(Conflict, "version_conflict", lambda: Given().when(rooms.create, command))
        assert error.extra["current_version"] == 0


def test_the_sender_of_a_message_is_its_actor_when_nothing_else_says() -> None:
    assert messages.CreateMessage(content_md="x", sender_type="agent", sender_id="bot").speaker() == ("agent", "bot")
    assert rooms.CreateRoom(title="x").speaker() is None


@pytest.mark.parametrize("body", [rooms.CreateRoom, threads.CreateThread, messages.CreateMessage])
def test_unknown_members_are_refused(body: type[CommandBody]) -> None:
    with pytest.raises(ValidationError, match="extra_forbidden"):
        body.model_validate({"title": "x", "content_md": "x", "stream_seq": 7})


def test_every_event_of_the_catalogue_can_be_folded() -> None:
    given = Given((rooms.create, ROOM), (threads.create, THREAD), (messages.create, message()))
    for event in given.events:
        assert EVENT_TYPES[event.event_type] == event.entity_type
        aggregate = AGGREGATES[event.entity_type]
        state = aggregate.evolve(None, event)
        assert isinstance(state, aggregate.kind)
        unknown = event._replace(event_type="something.else")
        assert aggregate.evolve(state, unknown) is state, "evolve ignores what it does not know"


def refused(kind: type[DomainError], code: str, act: object) -> DomainError:
    assert callable(act)
    with pytest.raises(kind) as caught:
        act()
    assert caught.value.code == code
    return caught.value
