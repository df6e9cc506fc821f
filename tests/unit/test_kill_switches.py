"""Kill switches: given these events, when this command, then those; and what the gate makes of them."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from agentos_shared.domain import kill_switches, principals
from agentos_shared.domain.decider import Command, Meta
from agentos_shared.domain.errors import Conflict, DomainError, Forbidden, Invalid
from agentos_shared.domain.kill_switches import MAX_ENGAGED, KillSwitches, SetKillSwitch, switches_id
from agentos_shared.domain.policy.evaluate import evaluate
from agentos_shared.domain.policy.facts import Facts, KillSwitch, Request
from tests.fixtures.given import MOMENT, Given

META = Meta("ws_1", principals.actor("ws_1", "user", "ada"), "c-1", "key-1")
ID = switches_id("ws_1")
AGENT = principals.actor("ws_1", "agent", "agt_1")
SERVICE = principals.actor("ws_1", "service", "watchdog")


def switch(action: str | None, *, meta: Meta = META, forced: bool = False, **members: Any) -> Command[SetKillSwitch]:
    return Command(SetKillSwitch.model_validate({"action": action, **members}), meta, ID, loaded=forced)


def engage(**members: Any) -> Command[SetKillSwitch]:
    return switch("engage", **members)


def release(**members: Any) -> Command[SetKillSwitch]:
    return switch("release", **{"reason": "it is right again", **members})


ENGAGED = Given((kill_switches.change, engage(reason="odd letters")))


def facts(told: Given) -> tuple[KillSwitch, ...]:
    state = told.get(KillSwitches, ID)
    return state.facts if state else ()


def refused(kind: type[DomainError], code: str, act: Callable[[], object]) -> None:
    with pytest.raises(kind) as caught:
        act()
    assert (type(caught.value), caught.value.code) == (kind, code)


def test_what_leaves_the_machine_is_stopped_by_default() -> None:
    (event,) = Given().when(kill_switches.change, engage(reason="odd letters"))
    assert (event.event_type, event.stream, event.entity_id) == ("kill_switch.engaged", ("workspace", "ws_1"), ID)
    assert event.data == {"scope": "external_write", "target": None, "reason": "odd letters"}
    assert ENGAGED.when(kill_switches.change, engage()) == []
    assert facts(ENGAGED) == (KillSwitch("external_write", None, "odd letters"),)


def test_switches_of_other_scopes_stand_beside() -> None:
    told = ENGAGED.and_then(kill_switches.change, engage(scope="room", target=" room_1 "))
    told = told.and_then(kill_switches.change, engage(scope="egress_host", target="API.Example.org."))
    told = told.and_then(kill_switches.change, release())
    assert facts(told) == (KillSwitch("room", "room_1"), KillSwitch("egress_host", "api.example.org"))
    told = told.and_then(kill_switches.change, release(scope="room", target="room_1"))
    assert facts(told) == (KillSwitch("egress_host", "api.example.org"),)


def test_a_release_happens_once() -> None:
    (event,) = ENGAGED.when(kill_switches.change, release())
    assert event.event_type == "kill_switch.released"
    assert event.data == {"scope": "external_write", "target": None, "reason": "it is right again"}
    released = ENGAGED.and_then(kill_switches.change, release())
    for told in (released, Given()):
        refused(Conflict, "kill_switch_not_engaged", partial(told.when, kill_switches.change, release()))


@pytest.mark.parametrize("actor", [AGENT, SERVICE])
def test_anybody_stops_and_only_a_person_lets_go(actor: Any) -> None:
    meta = META._replace(actor=actor)
    assert len(Given().when(kill_switches.change, engage(meta=meta))) == 1
    refused(Forbidden, "releaser_must_be_user", lambda: ENGAGED.when(kill_switches.change, release(meta=meta)))


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (switch(None), "missing_action"),
        (engage(scope="room"), "missing_target"),
        (engage(scope="tool", target="  "), "missing_target"),
        (engage(scope="workspace", target="room_1"), "invalid_target"),
        (release(reason=None), "missing_reason"),
        (release(reason=" "), "missing_reason"),
    ],
)
def test_what_is_missing_is_refused(command: Command[Any], code: str) -> None:
    refused(Invalid, code, lambda: ENGAGED.when(kill_switches.change, command))


def test_what_the_environment_engages_is_not_released() -> None:
    refused(Conflict, "kill_switch_forced", lambda: ENGAGED.when(kill_switches.change, release(forced=True)))
    refused(Conflict, "kill_switch_forced", lambda: Given().when(kill_switches.change, release(forced=True)))
    room = Given((kill_switches.change, engage(scope="room", target="room_1", forced=True)))
    assert len(room.when(kill_switches.change, release(scope="room", target="room_1", forced=True))) == 1


def test_changed_meanwhile_and_too_many() -> None:
    refused(Conflict, "version_conflict", lambda: ENGAGED.when(kill_switches.change, release(expected_version=2)))
    tools = (engage(scope="tool", target=f"tool-{number}") for number in range(MAX_ENGAGED))
    many = Given(*((kill_switches.change, command) for command in tools))
    one_more = engage(scope="tool", target="another")
    refused(Conflict, "kill_switch_limit", lambda: many.when(kill_switches.change, one_more))
    assert len(many.when(kill_switches.change, engage(scope="workspace"))) == 1


@pytest.mark.parametrize(
    ("members", "stopped", "free"),
    [
        ({"scope": "workspace"}, {}, None),
        ({"scope": "external_write"}, {"action": "external.write"}, {"action": "note.write"}),
        ({"scope": "room", "target": "room_1"}, {"room_id": "room_1"}, {"room_id": "room_2"}),
        ({"scope": "agent", "target": "agt_1"}, {"actor": AGENT, "principal_id": AGENT.principal_id}, {}),
        ({"scope": "tool", "target": "shell"}, {"tool_name": "shell"}, {"tool_name": "echo"}),
        (
            {"scope": "egress_host", "target": "*.example.org"},
            {"egress_host": "a.example.org"},
            {"egress_host": "x.org"},
        ),
    ],
)
def test_the_gate_stops_what_a_switch_names(
    members: dict[str, Any], stopped: dict[str, Any], free: dict[str, Any] | None
) -> None:
    known = Facts(MOMENT, kill_switches=facts(Given((kill_switches.change, engage(**members)))))

    def verdict(**wish: Any) -> tuple[str, str]:
        told = {"action": "note.write", "actor": META.actor, "digest": "sha256:0", **wish}
        decision = evaluate(Request("ws_1", "action", **told), known)
        return decision.decision, decision.reason_code

    assert verdict(**stopped) == ("deny", "kill_switch_active")
    if free is not None:
        assert verdict(**free)[1] != "kill_switch_active"
