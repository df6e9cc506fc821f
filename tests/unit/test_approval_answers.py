"""Decisions taken on what was seen: given these events, when this command, then those events, or this refusal."""

from datetime import timedelta
from typing import Any

import pytest

from agentos_shared.domain import approval_decisions as decisions
from agentos_shared.domain import approvals, principals
from agentos_shared.domain.approval_answers import REMEMBERED, Deciding, Review
from agentos_shared.domain.decider import Command, Meta
from agentos_shared.domain.errors import Conflict, Contradiction, Forbidden, TryLater
from tests.fixtures.given import MOMENT
from tests.unit.test_approvals import BOT, DIGEST, PENDING, PLACE, answering, asking, refused, state

BO = Meta("ws_1", principals.actor("ws_1", "user", "bo"), "c-1")
EDITED = {"to": "eve@example.org"}
HASH = "sha256:" + "5" * 64


def reviewed(command: Command[Any], *denials: str) -> Command[Any]:
    return command._replace(loaded=Deciding(MOMENT, Review(HASH, denials)))


@pytest.mark.parametrize("decision", ["approve", "deny", "hold"])
def test_the_same_decision_with_the_same_token_is_taken_once(decision: str) -> None:
    first = answering(decision, client_token="t-1", reason="so")
    done = PENDING.and_then(decisions.decide, first)
    later = answering(decision, client_token="t-1", reason="so", after=timedelta(minutes=5))
    assert done.when(decisions.decide, later) == []
    other = answering(decision, client_token="t-1", reason="otherwise")
    refused(Contradiction, "client_token_reused", lambda: done.when(decisions.decide, other))
    another = first._replace(meta=BO)
    refused(Contradiction, "client_token_reused", lambda: done.when(decisions.decide, another))
    agent = first._replace(meta=BOT)
    refused(Forbidden, "approver_must_be_user", lambda: done.when(decisions.decide, agent))


def test_one_that_was_decided_otherwise_stays_refused() -> None:
    done = PENDING.and_then(decisions.decide, answering("deny", client_token="t-1"))
    new = answering("approve", client_token="t-2")
    refused(Conflict, "approval_already_decided", lambda: done.when(decisions.decide, new))


def test_a_vote_counts_once_with_its_token() -> None:
    two = PLACE.and_then(approvals.create, asking(required_approvals=2))
    vote = answering("approve", client_token="t-1")
    voted = two.and_then(decisions.decide, vote)
    assert voted.when(decisions.decide, vote) == []
    done = voted.and_then(decisions.decide, answering("approve", BO, client_token="t-2"))
    assert state(done).status == "approved"
    assert done.when(decisions.decide, vote) == []


def test_tokens_of_many_holds_do_not_pile_up() -> None:
    history = PENDING
    for number in range(REMEMBERED + 3):
        history = history.and_then(decisions.decide, answering("hold", client_token=f"t-{number}"))
    assert [answer.client_token for answer in state(history).answers] == [f"t-{n}" for n in range(3, REMEMBERED + 3)]


def test_what_the_gate_forbids_is_not_approved_as_edited() -> None:
    edit = answering("approve", edited_request=EDITED)
    problem = refused(
        Conflict, "approval_policy_denies", lambda: PENDING.when(decisions.decide, reviewed(edit, "no-eve"))
    )
    assert problem.extra["denied_by"] == ["no-eve"]
    for later in ("kill_switch_active", "agent_principal_not_found"):
        assert PENDING.when(decisions.decide, reviewed(edit, later))
    (event,) = PENDING.when(decisions.decide, reviewed(edit))
    assert event.data["edited_request"] == EDITED
    assert event.data["action_digest"] != DIGEST
    assert (event.data["action"], event.zone, event.room_id) == ("email.send", "sandbox", "room_1")


def test_without_the_gate_nothing_is_edited() -> None:
    edit = answering("approve", edited_request=EDITED)._replace(loaded=Deciding(MOMENT))
    refused(TryLater, "policy_unavailable", lambda: PENDING.when(decisions.decide, edit))
    refused(
        TryLater, "policy_unavailable", lambda: PENDING.when(decisions.decide, reviewed(edit, "policy_unavailable"))
    )
    assert PENDING.when(decisions.decide, answering("approve")), "the gate looks when it is done"


def test_other_policies_than_those_that_were_seen_are_told() -> None:
    old = answering("approve", expected_policy_hash="sha256:" + "4" * 64)
    problem = refused(Conflict, "approval_policy_changed", lambda: PENDING.when(decisions.decide, reviewed(old)))
    assert problem.extra["policy_bundle_hash"] == HASH
    assert PENDING.when(decisions.decide, reviewed(answering("approve", expected_policy_hash=HASH), "any"))
    refused(TryLater, "policy_unavailable", lambda: PENDING.when(decisions.decide, old))
