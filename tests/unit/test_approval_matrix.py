"""Every state of an approval against every command: what happens or is refused, written down as a table."""

from datetime import timedelta
from typing import Any, Final

import pytest

from agentos_shared.domain import approval_decisions, approvals, grants, principals
from agentos_shared.domain.approval_bodies import (
    CancelApproval,
    ConsumeApproval,
    CreateApproval,
    DecideApproval,
    ExpireApproval,
    RevokeGrant,
)
from agentos_shared.domain.approvals import Approval
from agentos_shared.domain.decider import Command, Decide, Meta
from agentos_shared.domain.errors import DomainError
from agentos_shared.domain.grants import Moment
from tests.fixtures.given import MOMENT, Given

WORDS: Final = {
    "ada": Meta("ws_1", principals.actor("ws_1", "user", "ada"), "c-1"),
    "bot": Meta("ws_1", principals.actor("ws_1", "agent", "bot"), "c-2"),
    "spy": Meta("ws_1", principals.actor("ws_1", "agent", "spy"), "c-3"),
    "job": Meta("ws_1", principals.actor("ws_1", "service", "job"), "c-4"),
}
DIGEST: Final = "sha256:" + "1" * 64
DAY: Final = timedelta(days=1)


def command(verb: str, who: str, after: timedelta = timedelta(0), approval_id: str = "appr_1") -> tuple[Decide, Any]:
    now = MOMENT + after
    decide: Decide
    body: Any
    loaded: Any = now
    match verb:
        case "approve" | "deny" | "hold":
            decide, body = approval_decisions.decide, DecideApproval.model_validate({"decision": verb})
        case "cancel":
            decide, body = approvals.cancel, CancelApproval()
        case "consume":
            decide, body, loaded = grants.consume, ConsumeApproval(action_digest=DIGEST), Moment(now)
        case "revoke":
            decide, body = grants.revoke, RevokeGrant()
        case "supersede":
            approval_id = "appr_2"
            decide, body = approvals.create, CreateApproval(action="x", supersedes="appr_1")
        case _:
            decide, body = approval_decisions.expire, ExpireApproval()
    return decide, Command(body, WORDS[who], approval_id, None, None, loaded)


def asked(*verbs: tuple[str, timedelta]) -> Given:
    """A request of bot's, and what ada did with it."""
    request = CreateApproval(action="x", action_digest=DIGEST)
    history = Given((approvals.create, Command(request, WORDS["bot"], "appr_1", None, None, MOMENT)))
    for verb, after in verbs:
        history = history.and_then(*command(verb, "ada", after))
    return history


NOW: Final = timedelta(0)
STATES: Final[dict[str, Given]] = {
    "pending": asked(),
    "held": asked(("hold", NOW)),
    "approved": asked(("approve", NOW)),
    "denied": asked(("deny", NOW)),
    "expired": asked(("expire", DAY)),
    "cancelled": asked(("cancel", NOW)),
    "superseded": asked(("supersede", NOW)),
    "consumed": asked(("approve", NOW), ("consume", NOW)),
    "lapsed": asked(("approve", NOW), ("expire", DAY)),
    "revoked": asked(("approve", NOW), ("revoke", NOW)),
}
COLUMNS: Final = ("approve", "deny", "hold", "cancel", "supersede", "consume", "revoke", "expire")
#: Of each state: what a person's command makes of it, in the order of the columns; the event's verb, a refusal, or `-`.
TABLE: Final = """
pending    decided decided decided cancelled superseded !approval_not_approved !grant_not_found -
held       decided decided decided cancelled superseded !approval_not_approved !grant_not_found -
approved   !approval_already_decided !approval_already_decided !approval_already_decided !approval_already_decided !approval_already_decided consumed revoked -
denied     !approval_already_decided !approval_already_decided !approval_already_decided !approval_already_decided !approval_already_decided !approval_not_approved !grant_not_active -
expired    !approval_expired !approval_expired !approval_expired !approval_expired !approval_expired !approval_expired !grant_not_active -
cancelled  !approval_cancelled !approval_cancelled !approval_cancelled !approval_cancelled !approval_cancelled !approval_not_approved !grant_not_active -
superseded !approval_superseded !approval_superseded !approval_superseded !approval_superseded !approval_superseded !approval_not_approved !grant_not_active -
consumed   !approval_already_decided !approval_already_decided !approval_already_decided !approval_already_decided !approval_already_decided !approval_already_consumed !grant_not_active -
lapsed     !approval_already_decided !approval_already_decided !approval_already_decided !approval_already_decided !approval_already_decided !approval_expired !grant_not_active -
revoked    !approval_already_decided !approval_already_decided !approval_already_decided !approval_already_decided !approval_already_decided !approval_not_approved - -
"""  # noqa: E501
ROWS: Final = {line.split()[0]: line.split()[1:] for line in TABLE.strip().splitlines()}


def outcome(history: Given, verb: str, who: str, after: timedelta = NOW) -> str:
    try:
        events = history.when(*command(verb, who, after))
    except DomainError as refused:
        return f"!{refused.code}"
    return events[0].event_type.rpartition(".")[2] if events else "-"


def test_each_state_is_what_its_name_says() -> None:
    for name, history in STATES.items():
        state = history.get(Approval, "appr_1")
        assert state is not None
        assert state.status == name


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("verb", COLUMNS)
def test_what_a_person_may_do(state: str, verb: str) -> None:
    assert outcome(STATES[state], verb, "ada") == ROWS[state][COLUMNS.index(verb)]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("who", ["bot", "spy", "job"])
def test_what_agents_and_services_may_not(state: str, who: str) -> None:
    for verb in ("approve", "deny", "hold"):
        assert outcome(STATES[state], verb, who) == "!approver_must_be_user"
    is_open = state in ("pending", "held")
    assert outcome(STATES[state], "revoke", who) == ("!grant_not_found" if is_open else "!approver_must_be_user")
    cancelled = ROWS[state][COLUMNS.index("cancel")] if who == "bot" else "!approval_of_another"
    assert outcome(STATES[state], "cancel", who) == cancelled
    used = ROWS[state][COLUMNS.index("consume")] if who == "bot" else "!approval_of_another"
    assert outcome(STATES[state], "consume", who) == used
    assert outcome(STATES[state], "expire", who) == ROWS[state][COLUMNS.index("expire")]


@pytest.mark.parametrize(
    ("state", "after", "verb", "told"),
    [
        ("pending", DAY - timedelta(milliseconds=1), "approve", "decided"),
        ("pending", DAY, "approve", "!approval_expired"),
        ("pending", DAY, "deny", "!approval_expired"),
        ("pending", DAY, "hold", "!approval_expired"),
        ("pending", DAY, "cancel", "!approval_expired"),
        ("pending", DAY, "expire", "expired"),
        ("held", DAY, "approve", "decided"),
        ("held", DAY, "expire", "-"),
        ("held", 30 * DAY, "approve", "!approval_expired"),
        ("held", 30 * DAY, "expire", "expired"),
        ("approved", DAY - timedelta(milliseconds=1), "consume", "consumed"),
        ("approved", DAY, "consume", "!approval_expired"),
        ("approved", DAY, "expire", "lapsed"),
        ("approved", DAY, "revoke", "revoked"),
        ("denied", 30 * DAY, "expire", "-"),
        ("consumed", 30 * DAY, "expire", "-"),
    ],
)
def test_what_time_changes(state: str, after: timedelta, verb: str, told: str) -> None:
    assert outcome(STATES[state], verb, "ada", after) == told
