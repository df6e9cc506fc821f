"""The action registry: given these events, when this command, then those; and what the gate makes of it."""

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from agentos_shared.domain import action_registry, principals
from agentos_shared.domain.action_registry import SEEDED, Action, RecordDrill, RegisterAction, action_id
from agentos_shared.domain.decider import Command, Meta
from agentos_shared.domain.envelope import Zone
from agentos_shared.domain.errors import Conflict, DomainError, Forbidden, Invalid, NotFound
from agentos_shared.domain.policy.evaluate import evaluate
from agentos_shared.domain.policy.facts import SEEDED_ACTIONS, Facts, Request
from tests.fixtures.given import MOMENT, Given

META = Meta("ws_1", principals.actor("ws_1", "user", "ada"), "c-1", "key-1")
AGENT = principals.actor("ws_1", "agent", "agt_1")
UNDO: dict[str, Any] = {"undo_action": "invoice.cancel", "idempotency_key": "x-request-id"}


def register(action_type: str | None = "invoice.send", *, meta: Meta = META, **members: Any) -> Command[RegisterAction]:
    body = RegisterAction.model_validate({"action_type": action_type, **members})
    return Command(body, meta, action_id("ws_1", action_type))


def drill(undone: bool = True, read: bool = True, *, meta: Meta = META, **members: Any) -> Command[RecordDrill]:
    told = {"action_type": "invoice.send", "undo_succeeded": undone, "read_back_matched": read, **members}
    return Command(RecordDrill.model_validate(told), meta, action_id("ws_1", "invoice.send"))


REGISTERED = Given((action_registry.register, register(reversible=True, **UNDO)))


def state(told: Given, action_type: str = "invoice.send") -> Action:
    found = told.get(Action, action_id("ws_1", action_type))
    assert found is not None
    return found


def refused(kind: type[DomainError], code: str, act: Callable[[], object]) -> None:
    with pytest.raises(kind) as caught:
        act()
    assert (type(caught.value), caught.value.code) == (kind, code)


def test_what_is_known_from_the_start_is_what_the_gate_knows() -> None:
    assert {name: action.rule for name, action in SEEDED.items()} == SEEDED_ACTIONS


def test_a_new_action_counts_as_an_irreversible_write_to_the_outside() -> None:
    (event,) = Given().when(action_registry.register, register(" invoice.send "))
    assert event.data == {
        "action_type": "invoice.send",
        "side_effect": "external_write",
        "reversible": False,
        "zone_required": None,
        "requires_pre_approval": False,
        "post_review_required": False,
        "undo_action": None,
        "undo_window_s": None,
        "idempotency_key": None,
        "metadata": {},
        "undo_verified": False,
    }


def test_an_edit_changes_what_it_names_and_nothing_else() -> None:
    told = Given((action_registry.register, register("email.send", requires_pre_approval=False)))
    edited = state(told, "email.send")
    assert edited.rule.requires_pre_approval is False
    assert (edited.rule.zone_required, edited.rule.reversible) == ("high_stakes", False)
    assert told.when(action_registry.register, register("email.send", requires_pre_approval=False)) == []
    further = told.and_then(action_registry.register, register("email.send", metadata={"cost_impact": "low"}))
    assert state(further, "email.send").requires_pre_approval is False
    assert state(further, "email.send").metadata == {"cost_impact": "low"}


def test_that_it_can_be_undone_is_earned_by_a_drill_and_lost_with_the_undo() -> None:
    assert state(REGISTERED).rule.reversible is False
    drilled = REGISTERED.and_then(action_registry.drill, drill())
    assert state(drilled).rule.reversible is True
    for failed in (drill(undone=False), drill(read=False)):
        assert state(drilled.and_then(action_registry.drill, failed)).rule.reversible is False
    changed = drilled.and_then(action_registry.register, register(undo_action="invoice.void"))
    assert state(changed).rule.reversible is False
    kept = drilled.and_then(action_registry.register, register(undo_window_s=60))
    assert state(kept).rule.reversible is True


def test_what_stays_inside_is_believed_to_be_reversible() -> None:
    told = Given((action_registry.register, register("note.tidy", side_effect="write_internal", reversible=True)))
    assert state(told, "note.tidy").rule.reversible is True


def test_what_is_refused() -> None:
    for name in (None, "", "  "):
        wish = register(name)
        with pytest.raises(Invalid) as caught:
            Given().when(action_registry.register, wish)
        assert caught.value.code == "missing_action_type"
    with pytest.raises(ValidationError):
        register("what ever")
    itself = META._replace(actor=AGENT)
    forbidden = "agent_action_not_allowed"
    refused(Forbidden, forbidden, lambda: Given().when(action_registry.register, register(meta=itself)))
    refused(Forbidden, forbidden, lambda: REGISTERED.when(action_registry.drill, drill(meta=itself)))
    refused(NotFound, "action_not_found", lambda: Given().when(action_registry.drill, drill()))
    refused(Invalid, "missing_action_type", lambda: REGISTERED.when(action_registry.drill, drill(action_type=" ")))
    bare = Given((action_registry.register, register()))
    refused(Conflict, "action_without_undo", lambda: bare.when(action_registry.drill, drill()))
    stale = register(expected_version=5)
    refused(Conflict, "version_conflict", lambda: REGISTERED.when(action_registry.register, stale))


A, D, R = "allow", "deny", "require_approval"


@pytest.mark.parametrize(
    ("side_effect", "undoable", "sandbox", "supervised", "high_stakes"),
    [
        ("read_internal", False, A, A, A),
        ("write_internal", True, A, A, R),
        ("write_internal", False, D, R, R),
        ("external_read", False, R, R, R),
        ("external_write", True, D, R, R),
        ("external_write", False, D, R, R),
        ("admin", False, D, A, A),
    ],
)
def test_the_table_of_zones_decides_where_no_zone_is_required(
    side_effect: str, undoable: bool, sandbox: str, supervised: str, high_stakes: str
) -> None:
    wish = register(side_effect=side_effect, reversible=undoable, **UNDO)
    told = Given((action_registry.register, wish), (action_registry.drill, drill()))
    zones: dict[Zone, str] = {"sandbox": sandbox, "supervised": supervised, "high_stakes": high_stakes}
    for zone, expected in zones.items():
        request = Request("ws_1", "action", "invoice.send", META.actor, "sha256:0", zone)
        assert evaluate(request, Facts(MOMENT, action=state(told).rule)).decision == expected, zone


def test_only_users_do_what_binds_agents() -> None:
    told = Given((action_registry.register, register(side_effect="admin")))
    service = principals.actor("ws_1", "service", "cron")
    request = Request("ws_1", "action", "invoice.send", service, "sha256:0")
    decision = evaluate(request, Facts(MOMENT, action=state(told).rule))
    assert (decision.decision, decision.reason_code) == ("deny", "zone.users_only")
