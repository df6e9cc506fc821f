"""Grants that bound what their uses come to: given these uses, when this one, then that sum, or this refusal."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentos_shared.domain import approval_decisions as decisions
from agentos_shared.domain import approvals, grants
from agentos_shared.domain.approval_amounts import amount_of, decimal
from agentos_shared.domain.approval_scopes import Wish
from agentos_shared.domain.errors import Conflict, DomainError, Invalid
from tests.fixtures.given import MOMENT, Given
from tests.unit.test_approvals import PENDING, answering, asking, refused, state, using

SCOPE = {"type": "pattern", "max_total_amount": "100.00", "amount_pointer": "/order/amount"}
GRANT = PENDING.and_then(decisions.decide, answering("approve", scope=SCOPE))


def spending(amount: Any) -> dict[str, Any]:
    return {"parameters": {"order": {"amount": amount}}}


def spend(history: Given, amount: Any) -> Given:
    return history.and_then(grants.consume, using(**spending(amount)))


def test_uses_add_up_exactly_to_the_limit() -> None:
    (event,) = GRANT.when(grants.consume, using(**spending("99.70")))
    assert (event.event_type, event.data["amount"], event.data["total_amount"]) == ("grant.used", "99.70", "99.70")
    nearly = spend(spend(spend(GRANT, "99.70"), 0.1), 0.1)
    assert state(nearly).spent == Decimal("99.90")
    assert spend(nearly, 0.1).events[-1].data["total_amount"] == "100.00"
    problem = refused(Conflict, "grant_amount_exceeded", lambda: spend(nearly, "0.11"))
    assert problem.extra["amount_left"] == "0.10"
    assert spend(nearly, 0).events[-1].data["total_amount"] == "99.90"


def test_the_gate_sees_what_is_left() -> None:
    def allows(history: Given, amount: Any) -> bool:
        return state(history).allows(Wish("email.send", parameters=spending(amount)["parameters"]), MOMENT)

    assert allows(GRANT, 100)
    assert not allows(GRANT, "100.01")
    assert not allows(spend(GRANT, 60), 41)
    assert not state(GRANT).allows(Wish("email.send"), MOMENT)


@pytest.mark.parametrize("amount", [-1, True, None, "ten", "1e9", "-5", "", " 1", [5], {"a": 1}, 10**18, 1e300])
def test_what_tells_no_amount_is_not_covered(amount: Any) -> None:
    refused(Conflict, "approval_action_mismatch", lambda: spend(GRANT, amount))


def test_pointers_find_members_and_items() -> None:
    document = {"a/b": {"m~n": [{"x": 7}]}, "": 3}
    for pointer, found in (("/a~1b/m~0n/0/x", 7), ("/", 3), ("/a~1b/m~0n/1/x", None), ("/a~1b/m~0n/00/x", None)):
        assert amount_of({"amount_pointer": pointer}, document) == decimal(found)


@pytest.mark.parametrize(
    "scope",
    [
        {"type": "pattern", "max_total_amount": 5},
        {"type": "pattern", "amount_pointer": "/amount"},
        {"type": "room", "max_total_amount": 5, "amount_pointer": "/amount"},
        {"type": "pattern", "max_total_amount": "much", "amount_pointer": "/amount"},
        {"type": "pattern", "max_total_amount": -5, "amount_pointer": "/amount"},
    ],
)
def test_limits_that_make_no_sense_are_refused(scope: dict[str, Any]) -> None:
    refused(Invalid, "invalid_scope", lambda: Given().when(approvals.create, asking(None, scope=scope)))


@given(st.lists(st.decimals(0, 60, places=2), max_size=20))
def test_the_sum_never_passes_the_limit(amounts: list[Decimal]) -> None:
    history, spent = GRANT, Decimal(0)
    for amount in amounts:
        try:
            history = spend(history, str(amount))
            spent += amount
        except DomainError:
            assert spent + amount > 100
    assert state(history).spent == spent <= 100
