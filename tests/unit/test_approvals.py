"""Approvals: given these events, when this command, then those events, or this refusal."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from agentos_api.http import problem
from agentos_shared.domain import approval_decisions as decisions
from agentos_shared.domain import approvals, grants, kill_switches, principals, rooms, runs
from agentos_shared.domain.actions import action_digest, normalised
from agentos_shared.domain.approval_answers import Deciding, Review
from agentos_shared.domain.approval_bodies import (
    CancelApproval,
    ConsumeApproval,
    CreateApproval,
    DecideApproval,
    ExpireApproval,
    RevokeGrant,
)
from agentos_shared.domain.approval_life import due_after
from agentos_shared.domain.approval_scopes import Wish, covers
from agentos_shared.domain.approvals import Act, Approval, Asking
from agentos_shared.domain.decider import Command, Meta
from agentos_shared.domain.envelope import timestamp
from agentos_shared.domain.errors import Conflict, DomainError, Forbidden, Invalid, NotFound
from agentos_shared.domain.grants import Moment
from agentos_shared.domain.kill_switches import SetKillSwitch, switches_id
from tests.fixtures.given import MOMENT, Given

ADA = Meta("ws_1", principals.actor("ws_1", "user", "ada"), "c-1")
BOT = Meta("ws_1", principals.actor("ws_1", "agent", "bot"), "c-2")
OTHER_BOT = Meta("ws_1", principals.actor("ws_1", "agent", "other"), "c-3")
SERVICE = Meta("ws_1", principals.actor("ws_1", "service", "mailer"), "c-4")
ROOM = Command(rooms.CreateRoom(title="Ops", zone="sandbox", mission_id="m_1"), ADA, "room_1", None, "room_1")
DANGER = Command(rooms.CreateRoom(title="Danger", zone="high_stakes"), ADA, "room_2", None, "room_2")
RUN = Command(runs.CreateRun(room_id="room_1", zone="supervised"), ADA, "run_1", None, "room_1")
PLACE = Given((rooms.create, ROOM), (rooms.create, DANGER), (runs.create, RUN))
REVIEWED = Review("sha256:" + "5" * 64)
REQUEST = {"to": "ada@example.org"}
DIGEST = action_digest("ws_1", "email.send", BOT.actor, "room_1", None, REQUEST)


def asking(
    room_id: str | None = "room_1",
    approval_id: str = "appr_1",
    now: datetime = MOMENT,
    meta: Meta = BOT,
    **members: Any,
) -> Command[CreateApproval]:
    body = CreateApproval.model_validate({"action": "email.send", "request": REQUEST, "room_id": room_id, **members})
    return Command(body, meta, approval_id, None, room_id, now)


def on(body: Any, meta: Meta = ADA, approval_id: str = "appr_1", after: timedelta = timedelta(0)) -> Command[Any]:
    return Command(body, meta, approval_id, None, "room_1", MOMENT + after)


def answering(decision: str, meta: Meta = ADA, after: timedelta = timedelta(0), **members: Any) -> Command[Any]:
    command = on(DecideApproval.model_validate({"decision": decision, **members}), meta, after=after)
    return command._replace(loaded=Deciding(command.loaded, REVIEWED)) if "edited_request" in members else command


def using(digest: str = DIGEST, after: timedelta = timedelta(0), **members: Any) -> Command[Any]:
    command = on(ConsumeApproval.model_validate({"action_digest": digest, **members}), BOT, after=after)
    return command._replace(loaded=Moment(command.loaded))


def at(**time: float) -> str:
    return timestamp(MOMENT + timedelta(**time))


def refused(kind: type[DomainError], code: str, act: Callable[[], object]) -> DomainError:
    with pytest.raises(kind) as caught:
        act()
    assert caught.value.code == code
    return caught.value


PENDING = PLACE.and_then(approvals.create, asking())
APPROVED = PENDING.and_then(decisions.decide, answering("approve"))
IN_ROOM = PENDING.and_then(decisions.decide, answering("approve", scope={"type": "room", "max_uses": 2}))
HELD = PENDING.and_then(decisions.decide, answering("hold", wake_at=at(hours=30)))


def state(history: Given) -> Approval:
    found = history.get(Approval, "appr_1")
    assert found is not None
    return found


def test_a_request_says_what_is_asked_and_until_when() -> None:
    (event,) = PLACE.when(approvals.create, asking(title="Send", context={"k": 1}))
    assert (event.event_type, event.stream, event.entity_id) == ("approval.requested", ("room", "room_1"), "appr_1")
    assert (event.zone, event.mission_id, event.actor) == ("sandbox", "m_1", BOT.actor)
    assert event.data == {
        "approval_id": "appr_1",
        "action": "email.send",
        "title": "Send",
        "request": REQUEST,
        "context": {"k": 1},
        "scope": {"type": "once"},
        "expires_at": None,
        "decide_by": at(hours=24),
        "action_digest": DIGEST,
        "supersedes": None,
        "escalation": [],
        "escalate_at": None,
        "required_approvals": 1,
    }


def test_without_a_room_it_stands_in_the_workspace() -> None:
    (event,) = Given().when(approvals.create, asking(None, interactive=True))
    assert (event.stream, event.room_id, event.zone) == (("workspace", "ws_1"), None, "supervised")
    assert event.data["decide_by"] == at(hours=1)


def test_one_of_a_run_is_where_the_run_is() -> None:
    command = asking(run_id="run_1")._replace(room_id="room_1")
    (event,) = PLACE.when(approvals.create, command)
    assert (event.run_id, event.zone, event.correlation_id) == ("run_1", "supervised", "c-1")
    refused(Invalid, "run_room_mismatch", lambda: PLACE.when(approvals.create, asking("room_2", run_id="run_1")))


def test_names_of_old_are_todays() -> None:
    assert [normalised(name) for name in ("external_write", " data_read ", "x.y")] == [
        "external.write",
        "data.read",
        "x.y",
    ]
    (event,) = PLACE.when(approvals.create, asking(action="external_write"))
    assert event.data["action"] == "external.write"


def test_a_digest_tells_everything_apart() -> None:
    wish: list[Any] = ["ws_1", "email.send", ADA.actor, "room_1", "run_1", {"n": 1.5}]
    others: list[Any] = ["ws_2", "email.read", BOT.actor, None, None, {"n": 2}]
    digests = {action_digest(*wish)} | {
        action_digest(*[*wish[:place], other, *wish[place + 1 :]]) for place, other in enumerate(others)
    }
    assert len(digests) == 7
    assert all(digest.startswith("sha256:") and len(digest) == 71 for digest in digests)
    assert action_digest("ws_1", "external_write", ADA.actor, None, None, {}) == action_digest(
        "ws_1", "external.write", ADA.actor, None, None, {}
    )


ACT = Act("email.send", BOT.actor, "room_1", None, REQUEST)


@pytest.mark.parametrize(
    ("members", "act", "meta"),
    [
        ({"action_digest": "sha256:" + "7" * 64}, None, BOT),
        ({"action_digest": DIGEST, "action": "note.write"}, None, BOT),
        ({"action_digest": DIGEST, "request": {"to": "eve"}}, None, BOT),
        ({"action_digest": DIGEST, "room_id": None}, None, BOT),
        ({"action_digest": DIGEST}, None, OTHER_BOT),
        ({"action_digest": DIGEST}, None, ADA),
        ({"action_digest": DIGEST, "request": {}}, None, BOT),
        ({"action_digest": DIGEST, "request": {}, "action": "note.write"}, ACT, BOT),
        ({"action_digest": DIGEST, "request": {}}, ACT, OTHER_BOT),
        ({"action_digest": DIGEST, "request": {}}, ACT._replace(parameters={"to": "eve"}), BOT),
    ],
)
def test_a_digest_of_something_else_is_refused(members: dict[str, Any], act: Act | None, meta: Meta) -> None:
    command = asking(**members)
    command = command._replace(meta=meta, loaded=Asking(command.loaded, act))
    refused(Invalid, "approval_action_mismatch", lambda: PLACE.when(approvals.create, command))


@pytest.mark.parametrize("meta", [BOT, ADA])
def test_a_digest_without_its_request_brings_the_request_on_record(meta: Meta) -> None:
    command = asking(request={}, action_digest=DIGEST)
    (event,) = PLACE.when(approvals.create, command._replace(meta=meta, loaded=Asking(command.loaded, ACT)))
    assert (event.data["request"], event.data["action_digest"]) == (REQUEST, DIGEST)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "missing_action"),
        ({"action": "  "}, "missing_action"),
        ({"action": "x", "scope": {"type": "template", "template_ref": "t"}}, "invalid_scope"),
        ({"action": "x", "scope": {"type": "galaxy"}}, "invalid_scope"),
        ({"action": "x", "scope": {}}, "missing_scope"),
        ({"action": "x", "expires_at": "soon"}, "invalid_expires_at"),
        ({"action": "x", "action_digest": "sha256:00"}, "invalid_action_digest"),
        ({"action": "x", "request": []}, "invalid_request"),
        ({"action": "x", "colour": "red"}, "unknown_field"),
    ],
)
def test_a_malformed_request_is_refused(body: dict[str, Any], code: str) -> None:
    with pytest.raises(ValidationError) as caught:
        CreateApproval.model_validate(body)
    assert problem.invalid_body(caught.value).code == code


@pytest.mark.parametrize(("body", "code"), [({}, "missing_decision"), ({"decision": "maybe"}, "invalid_decision")])
def test_an_unknown_word_decides_nothing(body: dict[str, Any], code: str) -> None:
    with pytest.raises(ValidationError) as caught:
        DecideApproval.model_validate(body)
    assert problem.invalid_body(caught.value).code == code


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"expires_at": at(seconds=-1)}, "invalid_expires_at"),
        ({"decide_by": at(seconds=0)}, "invalid_decide_by"),
        ({"decide_by": at(days=31)}, "invalid_decide_by"),
        ({"escalation": [{"after_s": 60, "notify": "a"}, {"after_s": 60, "notify": "b"}]}, "invalid_escalation"),
        ({"scope": {"type": "run"}}, "invalid_scope"),
        ({"scope": {"type": "thread"}}, "invalid_scope"),
        ({"scope": {"type": "workspace", "workspace_id": "ws_2"}}, "invalid_scope"),
        ({"scope": {"type": "room", "resource_glob": "*"}}, "invalid_scope"),
        ({"scope": {"type": "once", "max_uses": 2}}, "invalid_scope"),
        ({"scope": {"type": "pattern"}, "expires_at": at(days=31)}, "invalid_expires_at"),
        ({"scope": {"type": "workspace"}, "expires_at": at(days=31)}, "invalid_expires_at"),
        ({"scope": {"type": "room"}, "expires_at": at(days=31)}, "invalid_expires_at"),
    ],
)
def test_what_could_never_hold_is_refused(members: dict[str, Any], code: str) -> None:
    refused(Invalid, code, lambda: PLACE.when(approvals.create, asking(**members)))


def test_an_approval_tells_how_far_it_reaches() -> None:
    (event,) = PENDING.when(decisions.decide, answering("approve", reason="fine"))
    assert (event.event_type, event.actor, event.correlation_id) == ("approval.decided", ADA.actor, "c-2")
    assert event.data == {
        "approval_id": "appr_1",
        "decision": "approve",
        "reason": "fine",
        "action": "email.send",
        "action_digest": DIGEST,
        "edited_request": None,
        "scope": {"type": "once"},
        "expires_at": at(hours=24),
        "decide_by": None,
        "wake_at": None,
        "remaining_s": None,
    }


@pytest.mark.parametrize(
    ("scope", "told", "lasts"),
    [
        ({"type": "room"}, {"type": "room", "room_id": "room_1"}, timedelta(days=30)),
        ({"type": "room", "room_id": "room_9"}, {"type": "room", "room_id": "room_9"}, timedelta(days=30)),
        ({"type": "workspace"}, {"type": "workspace"}, timedelta(days=30)),
        ({"type": "pattern", "action": "email.*"}, {"type": "pattern", "action": "email.*"}, timedelta(days=30)),
    ],
)
def test_a_grant_ends(scope: dict[str, Any], told: dict[str, Any], lasts: timedelta) -> None:
    (event,) = PENDING.when(decisions.decide, answering("approve", scope=scope))
    assert (event.data["scope"], event.data["expires_at"]) == (told, timestamp(MOMENT + lasts))
    (event,) = PENDING.when(decisions.decide, answering("approve", scope=scope, expires_at=at(minutes=5)))
    assert event.data["expires_at"] == at(minutes=5)


def test_where_the_stakes_are_high_an_approval_soon_lapses() -> None:
    high = PLACE.and_then(approvals.create, asking("room_2"))
    (event,) = high.when(decisions.decide, answering("approve"))
    assert event.data["expires_at"] == at(minutes=15)


def test_only_people_decide_and_revoke() -> None:
    for meta in (BOT, SERVICE):
        refused(
            Forbidden,
            "approver_must_be_user",
            lambda meta=meta: PENDING.when(decisions.decide, answering("approve", meta)),  # type: ignore[misc]
        )
        refused(
            Forbidden,
            "approver_must_be_user",
            lambda meta=meta: IN_ROOM.when(grants.revoke, on(RevokeGrant(), meta)),  # type: ignore[misc]
        )


@pytest.mark.parametrize("decision", ["approve", "deny", "hold"])
def test_a_decision_is_final(decision: str) -> None:
    denied = PENDING.and_then(decisions.decide, answering("deny"))
    for history in (APPROVED, denied):
        error = refused(
            Conflict,
            "approval_already_decided",
            lambda history=history: history.when(decisions.decide, answering(decision)),  # type: ignore[misc]
        )
        assert error.extra["approval_status"] == state(history).status


def test_a_decision_may_insist_on_what_it_saw() -> None:
    mistaken = answering("approve", expected_digest="sha256:" + "0" * 64)
    refused(Conflict, "approval_action_mismatch", lambda: PENDING.when(decisions.decide, mistaken))
    assert PENDING.when(decisions.decide, answering("approve", expected_digest=DIGEST))


def test_what_nobody_decided_in_time_expires() -> None:
    late = timedelta(hours=24)
    refused(Conflict, "approval_expired", lambda: PENDING.when(decisions.decide, answering("approve", after=late)))
    early = on(ExpireApproval(), SERVICE, after=late - timedelta(milliseconds=1))
    assert PENDING.when(decisions.expire, early) == []
    (event,) = PENDING.when(decisions.expire, on(ExpireApproval(), SERVICE, after=late))
    assert (event.event_type, event.data["decide_by"]) == ("approval.expired", at(hours=24))
    expired = PENDING.and_then(decisions.expire, on(ExpireApproval(), SERVICE, after=late))
    assert state(expired).status == "expired"
    refused(Conflict, "approval_expired", lambda: expired.when(decisions.decide, answering("deny")))
    assert expired.when(decisions.expire, on(ExpireApproval(), SERVICE, after=late)) == []


def test_a_hold_stops_the_clock_until_it_wakes() -> None:
    held = PENDING.and_then(
        decisions.decide, answering("hold", after=timedelta(hours=20), wake_at=at(hours=50), reason="later")
    )
    assert (state(held).status, state(held).remaining) == ("held", timedelta(hours=4))
    assert held.when(decisions.expire, on(ExpireApproval(), SERVICE, after=timedelta(hours=30))) == []
    woken = held.and_then(decisions.expire, on(ExpireApproval(), SERVICE, after=timedelta(hours=50)))
    assert (state(woken).status, state(woken).decide_by) == ("pending", MOMENT + timedelta(hours=54))
    assert held.when(decisions.decide, answering("approve", after=timedelta(hours=40)))


def test_a_request_that_nobody_answers_is_escalated_step_by_step() -> None:
    steps = [{"after_s": 300, "notify": "badge"}, {"after_s": 900, "notify": "chat"}]
    history = PLACE.and_then(approvals.create, asking(escalation=steps))
    assert state(history).due_at == MOMENT + timedelta(minutes=5)
    for number, (minutes, notify, following) in enumerate([(5, "badge", at(minutes=15)), (15, "chat", None)], 1):
        late = on(ExpireApproval(), SERVICE, after=timedelta(minutes=minutes))
        (event,) = history.when(decisions.expire, late)
        assert (event.event_type, event.data["step"], event.data["notify"]) == ("approval.escalated", number, notify)
        assert (event.data["escalate_at"], event.data["decide_by"]) == (following, at(hours=24))
        history = history.and_then(decisions.expire, late)
        assert history.when(decisions.expire, late) == []
    assert (state(history).status, state(history).due_at) == ("pending", MOMENT + timedelta(hours=24))
    held = PLACE.and_then(approvals.create, asking(escalation=steps)).and_then(
        decisions.decide, answering("hold", wake_at=at(hours=1))
    )
    woken = held.and_then(decisions.expire, on(ExpireApproval(), SERVICE, after=timedelta(hours=1)))
    assert state(woken).escalate_at == MOMENT + timedelta(hours=1, minutes=5)
    assert due_after(woken.events[-1]) == state(woken).due_at


def test_what_is_approved_may_be_edited() -> None:
    edited = {"to": "bob@example.org"}
    (event,) = PENDING.when(decisions.decide, answering("approve", edited_request=edited))
    digest = action_digest("ws_1", "email.send", BOT.actor, "room_1", None, edited)
    assert (event.data["edited_request"], event.data["action_digest"]) == (edited, digest)
    approved = PENDING.and_then(decisions.decide, answering("approve", edited_request=edited))
    refused(Conflict, "approval_action_mismatch", lambda: approved.when(grants.consume, using()))
    assert approved.when(grants.consume, using(digest))
    refused(
        Invalid,
        "invalid_edited_request",
        lambda: PENDING.when(decisions.decide, answering("deny", edited_request=edited)),
    )
    of_a_tool = PLACE.and_then(approvals.create, asking(request={}, action_digest="sha256:" + "7" * 64))
    refused(
        Conflict,
        "approval_not_editable",
        lambda: of_a_tool.when(decisions.decide, answering("approve", edited_request=edited)),
    )


def test_a_hold_without_a_time_to_wake_ends_with_the_month() -> None:
    held = PENDING.and_then(decisions.decide, answering("hold"))
    assert state(held).due_at == MOMENT + timedelta(days=30)
    gone = held.and_then(decisions.expire, on(ExpireApproval(), SERVICE, after=timedelta(days=30)))
    assert state(gone).status == "expired"
    refused(
        Invalid,
        "invalid_wake_at",
        lambda: PENDING.when(decisions.decide, answering("hold", wake_at=at(days=31))),
    )
    refused(
        Invalid,
        "invalid_wake_at",
        lambda: PENDING.when(decisions.decide, answering("approve", wake_at=at(hours=1))),
    )


def test_a_request_is_taken_back_by_whoever_made_it_or_a_person() -> None:
    back = CancelApproval(reason="done by hand")
    for meta in (BOT, ADA):
        (event,) = PENDING.when(approvals.cancel, on(back, meta))
        assert (event.event_type, event.data["reason"]) == ("approval.cancelled", "done by hand")
    refused(Forbidden, "approval_of_another", lambda: PENDING.when(approvals.cancel, on(back, OTHER_BOT)))
    refused(Conflict, "approval_already_decided", lambda: APPROVED.when(approvals.cancel, on(back)))
    gone = PENDING.and_then(approvals.cancel, on(back))
    refused(Conflict, "approval_cancelled", lambda: gone.when(decisions.decide, answering("approve")))


def test_a_new_request_may_replace_an_open_one_of_its_room() -> None:
    anew = asking(approval_id="appr_2", supersedes="appr_1")
    events = PENDING.when(approvals.create, anew)
    assert [(event.event_type, event.entity_id) for event in events] == [
        ("approval.superseded", "appr_1"),
        ("approval.requested", "appr_2"),
    ]
    replaced = PENDING.and_then(approvals.create, anew)
    refused(Conflict, "approval_superseded", lambda: replaced.when(decisions.decide, answering("approve")))
    refused(Conflict, "approval_already_decided", lambda: APPROVED.when(approvals.create, anew))
    elsewhere = asking("room_2", approval_id="appr_2", supersedes="appr_1")
    refused(NotFound, "approval_not_found", lambda: PENDING.when(approvals.create, elsewhere))


def test_once_is_exactly_this_action_and_one_time() -> None:
    refused(Conflict, "approval_not_approved", lambda: PENDING.when(grants.consume, using()))
    refused(Conflict, "approval_action_mismatch", lambda: APPROVED.when(grants.consume, using("sha256:" + "0" * 64)))
    (event,) = APPROVED.when(grants.consume, using())
    assert (event.event_type, event.data["action_digest"], event.data["use"]) == ("approval.consumed", DIGEST, 1)
    consumed = APPROVED.and_then(grants.consume, using())
    assert state(consumed).status == "consumed"
    refused(Conflict, "approval_already_consumed", lambda: consumed.when(grants.consume, using()))
    refused(Conflict, "grant_not_active", lambda: consumed.when(grants.revoke, on(RevokeGrant())))


def test_what_is_not_used_in_time_lapses() -> None:
    day = timedelta(hours=24)
    refused(Conflict, "approval_expired", lambda: APPROVED.when(grants.consume, using(after=day)))
    lapsed = APPROVED.and_then(decisions.expire, on(ExpireApproval(), SERVICE, after=day))
    assert (state(lapsed).status, lapsed.events[-1].event_type) == ("lapsed", "approval.lapsed")
    refused(Conflict, "approval_expired", lambda: lapsed.when(grants.consume, using()))


def test_a_grant_is_counted_and_used_up() -> None:
    other = "sha256:" + "1" * 64
    refused(Conflict, "approval_action_mismatch", lambda: IN_ROOM.when(grants.consume, using(other)))
    refused(Conflict, "approval_action_mismatch", lambda: IN_ROOM.when(grants.consume, using(other, room_id="room_2")))
    history = IN_ROOM
    for number in (1, 2):
        (event,) = history.when(grants.consume, using(other, room_id="room_1"))
        assert (event.event_type, event.data["use"]) == ("grant.used", number)
        history = history.and_then(grants.consume, using(other, room_id="room_1"))
    refused(Conflict, "grant_used_up", lambda: history.when(grants.consume, using(other, room_id="room_1")))
    assert state(history).status == "approved"


def test_a_grant_is_revoked_for_good() -> None:
    refused(NotFound, "grant_not_found", lambda: PENDING.when(grants.revoke, on(RevokeGrant())))
    revoked = IN_ROOM.and_then(grants.revoke, on(RevokeGrant(reason="enough")))
    assert (revoked.events[-1].event_type, state(revoked).status) == ("grant.revoked", "revoked")
    assert revoked.when(grants.revoke, on(RevokeGrant())) == []
    refused(Conflict, "approval_not_approved", lambda: revoked.when(grants.consume, using(room_id="room_1")))


@pytest.mark.parametrize(
    ("scope", "wish", "allowed"),
    [
        ({"type": "once"}, {"digest": "d"}, True),
        ({"type": "once"}, {"digest": "e"}, False),
        ({"type": "once"}, {}, False),
        ({"type": "workspace"}, {}, True),
        ({"type": "workspace"}, {"action": "email.read"}, False),
        ({"type": "workspace"}, {"action": " email.send "}, True),
        ({"type": "room", "room_id": "r"}, {"room_id": "r"}, True),
        ({"type": "room", "room_id": "r"}, {"room_id": "s"}, False),
        ({"type": "room", "room_id": "r"}, {}, False),
        ({"type": "room"}, {}, False),
        ({"type": "thread", "thread_id": "t"}, {"thread_id": "t"}, True),
        ({"type": "thread", "thread_id": "t"}, {"room_id": "t"}, False),
        ({"type": "run", "run_id": "r"}, {"run_id": "r"}, True),
        ({"type": "run", "run_id": "r"}, {"run_id": "s"}, False),
        ({"type": "template"}, {}, False),
        ({}, {}, False),
        ({"type": "pattern"}, {}, True),
        ({"type": "pattern", "action": "email.*"}, {"action": "email.read"}, True),
        ({"type": "pattern", "action": "email.*"}, {"action": "mail.read"}, False),
        ({"type": "pattern", "resource_glob": "https://a/*"}, {"resource": "https://a/b"}, True),
        ({"type": "pattern", "resource_glob": "https://a/*"}, {"resource": "https://b/a/"}, False),
        ({"type": "pattern", "resource_glob": "*"}, {}, False),
        ({"type": "pattern", "arg_constraints": {"n": 1}}, {"parameters": {"n": 1, "m": 2}}, True),
        ({"type": "pattern", "arg_constraints": {"n": 1}}, {"parameters": {"n": True}}, False),
        ({"type": "pattern", "arg_constraints": {"to": "*@x.org"}}, {"parameters": {"to": "ada@x.org"}}, True),
        ({"type": "pattern", "arg_constraints": {"to": "*@x.org"}}, {"parameters": {}}, False),
    ],
)
def test_how_far_scopes_reach(scope: dict[str, Any], wish: dict[str, Any], allowed: bool) -> None:
    assert covers(scope, "email.send", "d", Wish(**{"action": "email.send", **wish})) is allowed


def test_what_an_approval_allows_follows_from_its_state() -> None:
    wish = Wish("email.send", DIGEST, "room_1")
    soon = MOMENT + timedelta(minutes=1)
    assert [state(one).allows(wish, soon) for one in (PENDING, APPROVED, IN_ROOM, HELD)] == [False, True, True, False]
    assert not state(APPROVED).allows(wish, MOMENT + timedelta(hours=24))


def test_timers_follow_from_each_event_alone() -> None:
    histories = (PENDING, APPROVED, IN_ROOM, HELD, PENDING.and_then(decisions.decide, answering("deny")))
    for history in histories:
        assert due_after(history.events[-1]) == state(history).due_at


OUTSIDE = Meta("ws_1", principals.actor("ws_1", "service", "ops"), "c-9")


def switch(action: str, scope: str = "workspace", target: str | None = None) -> Command[SetKillSwitch]:
    """Engages or releases a kill switch."""
    body = SetKillSwitch.model_validate({"action": action, "scope": scope, "target": target, "reason": "r"})
    meta = OUTSIDE if action == "engage" else ADA
    return Command(body, meta, switches_id("ws_1"), None, None, False)


class Dated(Given):
    """A history whose events are recorded when their commands come."""

    def later(self, decide: Any, command: Command[Any], after: timedelta) -> "Dated":
        self.tick = after / len(self.events) if self.events else timedelta(0)
        longer = Dated()
        longer.events, longer._entries, longer.tick = list(self.events), dict(self._entries), self.tick
        longer._append(decide(command, longer))
        return longer


def dated(*steps: tuple[Any, Command[Any], timedelta]) -> Dated:
    history = Dated((rooms.create, ROOM), (approvals.create, asking()))
    for decide, command, after in steps:
        history = history.later(decide, command, after)
    return history


HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("scope", "target", "stops"),
    [
        ("workspace", None, True),
        ("external_write", None, True),
        ("room", "room_1", True),
        ("room", "room_2", False),
        ("agent", "bot", True),
        ("agent", "other", False),
        ("tool", "mail", False),
        ("egress_host", "example.org", False),
    ],
)
def test_nothing_is_used_while_a_switch_concerns_it(scope: str, target: str | None, stops: bool) -> None:
    stopped = APPROVED.and_then(kill_switches.change, switch("engage", scope, target))
    if not stops:
        assert stopped.when(grants.consume, using())
        return
    refused(Conflict, "kill_switch_active", lambda: stopped.when(grants.consume, using()))
    released = stopped.and_then(kill_switches.change, switch("release", scope, target))
    assert released.when(grants.consume, using())


def test_what_the_environment_stops_is_not_used() -> None:
    forced = using()._replace(loaded=Moment(MOMENT, external_write_stopped=True))
    refused(Conflict, "kill_switch_active", lambda: APPROVED.when(grants.consume, forced))
    inside = PLACE.and_then(approvals.create, asking(action="artifact.create")).and_then(
        decisions.decide, answering("approve")
    )
    digest = str(state(inside).digest)
    assert inside.when(grants.consume, using(digest)._replace(loaded=forced.loaded))


def test_the_time_of_a_request_stands_still_while_a_switch_concerns_it() -> None:
    engage, release = switch("engage"), switch("release")
    stopped = dated((kill_switches.change, engage, 20 * HOUR))
    late = on(ExpireApproval(), SERVICE, after=30 * HOUR)
    assert stopped.when(decisions.expire, late) == []
    assert stopped.when(decisions.decide, answering("approve", after=30 * HOUR)), "it can still be decided"
    freed = stopped.later(kill_switches.change, release, 40 * HOUR)
    (event,) = freed.when(decisions.expire, on(ExpireApproval(), SERVICE, after=41 * HOUR))
    assert (event.event_type, event.data["decide_by"]) == ("approval.resumed", at(hours=44))
    (event,) = freed.when(decisions.expire, on(ExpireApproval(), SERVICE, after=44 * HOUR))
    assert event.event_type == "approval.expired"
    refused(Conflict, "approval_expired", lambda: freed.when(decisions.decide, answering("approve", after=44 * HOUR)))
    resumed = freed.later(decisions.expire, on(ExpireApproval(), SERVICE, after=41 * HOUR), 41 * HOUR)
    assert resumed.when(decisions.expire, on(ExpireApproval(), SERVICE, after=43 * HOUR)) == [], "counted once"
    (event,) = resumed.when(decisions.expire, on(ExpireApproval(), SERVICE, after=44 * HOUR))
    assert event.event_type == "approval.expired"


def test_switches_at_once_count_once() -> None:
    history = dated(
        (kill_switches.change, switch("engage"), 2 * HOUR),
        (kill_switches.change, switch("engage", "room", "room_1"), 4 * HOUR),
        (kill_switches.change, switch("release"), 6 * HOUR),
        (kill_switches.change, switch("release", "room", "room_1"), 8 * HOUR),
    )
    (event,) = history.when(decisions.expire, on(ExpireApproval(), SERVICE, after=25 * HOUR))
    assert (event.event_type, event.data["decide_by"]) == ("approval.resumed", at(hours=30))
