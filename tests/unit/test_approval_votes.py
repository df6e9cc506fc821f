"""Approvals of several people: given these events, when this command, then those events, or this refusal."""

from collections.abc import Sequence
from typing import Any

import pytest
from pydantic import ValidationError

from agentos_shared.domain import approval_decisions as decisions
from agentos_shared.domain import approvals, grants, principals
from agentos_shared.domain.decider import Meta
from agentos_shared.domain.envelope import NewEvent
from agentos_shared.domain.errors import Conflict, Forbidden
from tests.fixtures.given import Given
from tests.unit.test_approvals import ADA, BOT, DIGEST, PLACE, answering, asking, at, refused, state, using

BO, CY = (Meta("ws_1", principals.actor("ws_1", "user", name), "c-1") for name in ("bo", "cy"))
THREE = PLACE.and_then(approvals.create, asking(required_approvals=3))
ONE_OF_THREE = THREE.and_then(decisions.decide, answering("approve", reason="fine"))
TWO_OF_THREE = ONE_OF_THREE.and_then(decisions.decide, answering("approve", BO))


def types(events: Sequence[NewEvent]) -> list[str]:
    return [event.event_type for event in events]


def test_a_first_yes_is_put_on_record_and_allows_nothing() -> None:
    (event,) = THREE.when(decisions.decide, answering("approve", reason="fine"))
    assert event.event_type == "approval.vote_recorded"
    assert event.data == {
        "approval_id": "appr_1",
        "vote": 1,
        "required_approvals": 3,
        "reason": "fine",
        "scope": {"type": "once"},
        "expires_at": None,
        "action_digest": DIGEST,
        "edited_request": None,
    }
    found = state(ONE_OF_THREE)
    assert (found.status, found.decide_by) == ("pending", state(THREE).decide_by)
    refused(Conflict, "approval_not_approved", lambda: ONE_OF_THREE.when(grants.consume, using()))


def test_the_last_yes_decides() -> None:
    last = TWO_OF_THREE.when(decisions.decide, answering("approve", CY))
    assert types(last) == ["approval.vote_recorded", "approval.decided"]
    assert (last[0].data["vote"], last[1].data["decision"]) == (3, "approve")
    done = TWO_OF_THREE.and_then(decisions.decide, answering("approve", CY))
    assert types(done.when(grants.consume, using())) == ["approval.consumed"]


def test_nobody_counts_twice_and_no_agent_counts() -> None:
    refused(Conflict, "approval_already_voted", lambda: ONE_OF_THREE.when(decisions.decide, answering("approve")))
    refused(Forbidden, "approver_must_be_user", lambda: ONE_OF_THREE.when(decisions.decide, answering("approve", BOT)))


@pytest.mark.parametrize("who", [ADA, BO])
def test_one_no_is_enough_also_of_who_said_yes(who: Meta) -> None:
    assert types(TWO_OF_THREE.when(decisions.decide, answering("deny", who))) == ["approval.decided"]
    denied = TWO_OF_THREE.and_then(decisions.decide, answering("deny", who))
    assert state(denied).status == "denied"
    refused(Conflict, "approval_already_decided", lambda: denied.when(decisions.decide, answering("approve", CY)))


@pytest.mark.parametrize(
    "other", [{"scope": {"type": "room"}}, {"expires_at": at(hours=2)}, {"edited_request": {"to": "eve@example.org"}}]
)
def test_all_say_yes_to_the_same(other: dict[str, Any]) -> None:
    problem = refused(
        Conflict,
        "approval_terms_differ",
        lambda: ONE_OF_THREE.when(decisions.decide, answering("approve", BO, **other)),
    )
    assert problem.extra["terms"]["scope"] == {"type": "once"}
    first = THREE.and_then(decisions.decide, answering("approve", **other))
    refused(Conflict, "approval_terms_differ", lambda: first.when(decisions.decide, answering("approve", BO)))
    both = first.and_then(decisions.decide, answering("approve", BO, **other))
    assert types(both.when(decisions.decide, answering("approve", CY, **other))) == [
        "approval.vote_recorded",
        "approval.decided",
    ]


def test_a_hold_keeps_who_said_yes() -> None:
    held = ONE_OF_THREE.and_then(decisions.decide, answering("hold", BO))
    assert types(held.when(decisions.decide, answering("approve", BO))) == ["approval.vote_recorded"]
    refused(Conflict, "approval_already_voted", lambda: held.when(decisions.decide, answering("approve")))


def test_requests_from_before_need_one() -> None:
    assert types(Given().and_then(approvals.create, asking(None)).when(decisions.decide, answering("approve"))) == [
        "approval.decided"
    ]
    for count in (0, 6):
        with pytest.raises(ValidationError):
            asking(required_approvals=count)
