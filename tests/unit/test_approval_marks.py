"""What is noted of approvals: given these events, when this command, then those events, or this refusal."""

import pytest

from agentos_shared.domain import approval_decisions as decisions
from agentos_shared.domain import approval_marks as marks
from agentos_shared.domain import grants
from agentos_shared.domain.approval_bodies import DeliverApproval, SeeApproval
from agentos_shared.domain.approval_life import TIMELESS, due_after
from agentos_shared.domain.decider import Meta
from agentos_shared.domain.errors import Forbidden, NotFound
from tests.fixtures.given import Given
from tests.unit.test_approvals import (
    ADA,
    APPROVED,
    BOT,
    HELD,
    IN_ROOM,
    PENDING,
    SERVICE,
    answering,
    on,
    refused,
    state,
    using,
)

SEE, DELIVER = on(SeeApproval()), on(DeliverApproval(), SERVICE)


@pytest.mark.parametrize("history", [PENDING, HELD])
def test_the_first_time_that_a_person_sees_it_counts(history: Given) -> None:
    (event,) = history.when(marks.see, SEE)
    assert (event.event_type, event.actor, event.data) == ("approval.seen", ADA.actor, {"approval_id": "appr_1"})
    seen = history.and_then(marks.see, SEE)
    assert seen.when(marks.see, SEE) == []
    before, after = state(history), state(seen)
    assert (after.status, after.due_at) == (before.status, before.due_at)


def test_what_is_decided_is_not_seen_any_more() -> None:
    assert APPROVED.when(marks.see, SEE) == []


@pytest.mark.parametrize("who", [BOT, SERVICE])
def test_only_people_see(who: Meta) -> None:
    refused(Forbidden, "approver_must_be_user", lambda: PENDING.when(marks.see, SEE._replace(meta=who)))
    refused(NotFound, "approval_not_found", lambda: PENDING.when(marks.see, SEE._replace(entity_id="appr_9")))


def test_an_answer_is_delivered_once_and_not_before_there_is_one() -> None:
    assert PENDING.when(marks.deliver, DELIVER) == []
    assert HELD.when(marks.deliver, DELIVER) == []
    (event,) = APPROVED.when(marks.deliver, DELIVER)
    assert (event.event_type, event.data["approval_status"], event.data["via"]) == (
        "approval.delivered",
        "approved",
        "wait",
    )
    delivered = APPROVED.and_then(marks.deliver, DELIVER)
    assert delivered.when(marks.deliver, DELIVER) == []
    assert delivered.when(grants.consume, using())[0].event_type == "approval.consumed"


def test_what_is_noted_leaves_its_time_alone() -> None:
    for history in (PENDING.and_then(marks.see, SEE), IN_ROOM.and_then(marks.deliver, DELIVER)):
        assert history.events[-1].event_type in TIMELESS
        assert due_after(history.events[-1]) is None
    assert due_after(PENDING.and_then(decisions.decide, answering("hold")).events[-1]) is not None
