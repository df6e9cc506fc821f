"""Agents: given these events, when this command, then those."""

from collections.abc import Callable
from typing import Any

import pytest

from agentos_shared.domain import agents, principals
from agentos_shared.domain.agents import Agent
from agentos_shared.domain.decider import Command, Meta
from agentos_shared.domain.errors import Conflict, DomainError, Forbidden, Invalid, NotFound
from agentos_shared.domain.principals import Principal
from tests.fixtures.given import MOMENT, Given

META = Meta("ws_1", principals.actor("ws_1", "user", "ada"), "c-1", "key-1")
ID = "agt_" + "5f" * 16
ITSELF = META._replace(actor=principals.actor("ws_1", "agent", ID))
PRINCIPAL_ID = ITSELF.actor.principal_id


def register(meta: Meta = META, **members: Any) -> Command[agents.RegisterAgent]:
    return Command(agents.RegisterAgent.model_validate({"display_name": " Summariser ", **members}), meta, ID)


def quarantine(meta: Meta = META, **members: Any) -> Command[agents.QuarantineAgent]:
    return Command(agents.QuarantineAgent.model_validate(members), meta, ID, ID, loaded=MOMENT)


def unquarantine(meta: Meta = META, **members: Any) -> Command[agents.UnquarantineAgent]:
    return Command(agents.UnquarantineAgent.model_validate(members), meta, ID, ID)


REGISTERED = Given((agents.register, register()))
QUARANTINED = REGISTERED.and_then(agents.quarantine, quarantine(quarantine_reason="odd"))


def refused(kind: type[DomainError], code: str, act: Callable[[], object]) -> None:
    with pytest.raises(kind) as caught:
        act()
    assert (type(caught.value), caught.value.code) == (kind, code)


def test_an_agent_gets_a_principal_of_its_own() -> None:
    principal, agent = Given().when(agents.register, register())
    assert (principal.event_type, principal.data["legacy_actor_id"]) == ("principal.registered", ID)
    assert (agent.event_type, agent.stream, agent.entity_id) == ("agent.registered", ("workspace", "ws_1"), ID)
    assert agent.data == {"agent_id": ID, "principal_id": PRINCIPAL_ID, "display_name": "Summariser"}
    assert REGISTERED.get(Principal, PRINCIPAL_ID) is not None


@pytest.mark.parametrize("name", [None, "", "  "])
def test_an_agent_needs_a_name(name: str | None) -> None:
    refused(Invalid, "invalid_display_name", lambda: Given().when(agents.register, register(display_name=name)))


def test_quarantine_begins_once_and_the_gate_sees_it() -> None:
    (event,) = REGISTERED.when(agents.quarantine, quarantine())
    assert event.data == {
        "agent_id": ID,
        "principal_id": PRINCIPAL_ID,
        "quarantined_at": "2026-11-24T05:30:00.000Z",
        "quarantine_reason": "manual_quarantine",
        "mode": "manual",
    }
    assert QUARANTINED.when(agents.quarantine, quarantine(quarantine_reason="another")) == []
    before, after = REGISTERED.get(Agent, ID), QUARANTINED.get(Agent, ID)
    assert before is not None
    assert after is not None
    assert (before.fact.quarantined, before.fact.quarantine_reason) == (False, None)
    assert (after.fact.quarantined, after.fact.quarantine_reason) == (True, "odd")
    assert (after.fact.agent_id, after.fact.principal_id) == (ID, PRINCIPAL_ID)


def test_quarantine_ends_once_and_tells_what_it_was() -> None:
    (event,) = QUARANTINED.when(agents.unquarantine, unquarantine())
    assert event.data == {
        "agent_id": ID,
        "principal_id": PRINCIPAL_ID,
        "previous_quarantined_at": "2026-11-24T05:30:00.000Z",
        "previous_quarantine_reason": "odd",
    }
    free = QUARANTINED.and_then(agents.unquarantine, unquarantine())
    assert free.when(agents.unquarantine, unquarantine()) == REGISTERED.when(agents.unquarantine, unquarantine()) == []
    assert free.get(Agent, ID) == REGISTERED.get(Agent, ID)


def test_an_agent_may_put_itself_into_quarantine_but_not_out_of_it() -> None:
    assert len(REGISTERED.when(agents.quarantine, quarantine(ITSELF))) == 1
    code = "agent_action_not_allowed"
    refused(Forbidden, code, lambda: QUARANTINED.when(agents.unquarantine, unquarantine(ITSELF)))
    refused(Forbidden, code, lambda: Given().when(agents.register, register(ITSELF)))


def test_what_is_unknown_or_changed_meanwhile_is_refused() -> None:
    refused(NotFound, "agent_not_found", lambda: Given().when(agents.quarantine, quarantine()))
    refused(NotFound, "agent_not_found", lambda: Given().when(agents.unquarantine, unquarantine()))
    stale = quarantine(expected_version=2)
    refused(Conflict, "version_conflict", lambda: REGISTERED.when(agents.quarantine, stale))


def test_a_quarantined_agent_gets_nothing_decided() -> None:
    guarded = agents.unless_quarantined(agents.quarantine)
    assert len(REGISTERED.when(guarded, quarantine(ITSELF))) == 1
    refused(Forbidden, "agent_quarantined", lambda: QUARANTINED.when(guarded, quarantine(ITSELF)))
    assert QUARANTINED.when(guarded, quarantine()) == []
    assert len(Given().when(agents.unless_quarantined(agents.register), register())) == 2
