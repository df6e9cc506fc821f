"""Principals, engines, tokens and capabilities: given these events, when this command, then those."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from agentos_shared.domain import capabilities, engines, principals
from agentos_shared.domain.capabilities import Capability, RevokeCapability
from agentos_shared.domain.decider import Command, Meta
from agentos_shared.domain.engine_checks import VerifiedEngine, checked
from agentos_shared.domain.engines import Engine, NewToken
from agentos_shared.domain.envelope import NewEvent, canonical_content
from agentos_shared.domain.errors import Conflict, DomainError, Forbidden, Invalid, NotFound, Unauthorized
from tests.fixtures.given import MOMENT, Given

META = Meta("ws_1", principals.actor("ws_1", "user", "ada"), "c-1", "key-1")
ID = engines.engine_id("ws_1", "summariser")
SERVICE = principals.actor("ws_1", "service", "summariser")
FIRST = NewToken("engtok_1", "cap_1", "engtok_" + "A" * 43)
SECOND = NewToken("engtok_2", "cap_2", "engtok_" + "B" * 43)
NOW = MOMENT + timedelta(minutes=1)


def register(token: NewToken = FIRST, meta: Meta = META, **members: Any) -> Command[engines.RegisterEngine]:
    body = engines.RegisterEngine.model_validate({"actor_id": "summariser", **members})
    return Command(body, meta, ID, loaded=token)


def issue(token: NewToken = SECOND, **members: Any) -> Command[engines.IssueToken]:
    return Command(engines.IssueToken.model_validate(members), META, ID, ID, loaded=token)


def revoke(token_id: str = "engtok_1", **members: Any) -> Command[engines.RevokeToken]:
    return Command(engines.RevokeToken.model_validate({"token_id": token_id, **members}), META, ID, ID)


def deactivate(**members: Any) -> Command[engines.DeactivateEngine]:
    return Command(engines.DeactivateEngine.model_validate(members), META, ID, ID)


def take_back(capability_id: str | None = "cap_1", meta: Meta = META) -> Command[RevokeCapability]:
    return Command(RevokeCapability(token_id=capability_id, reason="no longer"), meta, capability_id or "")


REGISTERED = Given((engines.register, register()))


def types(events: Sequence[NewEvent]) -> list[str]:
    return [event.event_type for event in events]


def refused(kind: type[DomainError], code: str, act: Callable[[], object]) -> None:
    with pytest.raises(kind) as caught:
        act()
    assert (type(caught.value), caught.value.code) == (kind, code)


# -- principals


def ensure(**members: Any) -> Command[principals.EnsurePrincipal]:
    body = principals.EnsurePrincipal.model_validate(members)
    return Command(body, META, principals.principal_id("ws_1", body))


def test_a_principal_is_registered_once() -> None:
    command = ensure(actor_type="service", actor_id="summariser")
    (event,) = Given().when(principals.ensure, command)
    assert (event.event_type, event.stream, event.entity_id) == (
        "principal.registered",
        ("workspace", "ws_1"),
        SERVICE.principal_id,
    )
    assert event.data["legacy_actor_id"] == "summariser"
    assert Given((principals.ensure, command)).when(principals.ensure, command) == []


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({}, "invalid_actor_type"),
        ({"actor_id": "x"}, "invalid_actor_type"),
        ({"actor_type": "user"}, "invalid_actor_id"),
        ({"actor_type": "user", "actor_id": ""}, "invalid_actor_id"),
    ],
)
def test_a_principal_needs_type_and_id(members: dict[str, Any], code: str) -> None:
    refused(Invalid, code, lambda: Given().when(principals.ensure, ensure(**members)))


# -- engines


def test_registering_puts_principal_capability_and_engine_on_record() -> None:
    events = Given().when(engines.register, register(valid_until="2027-01-01T00:00:00Z", token_label="desk"))
    assert types(events) == ["principal.registered", "agent.capability.granted", "engine.registered"]
    _, capability, engine = events
    assert capability.data["scopes"] == {"rooms": ["*"], "action_types": list(engines.DEFAULT_ACTIONS)}
    assert capability.data["issued_to_principal_id"] == engine.data["principal_id"] == SERVICE.principal_id
    assert capability.data["granted_by_principal_id"] == META.actor.principal_id
    assert engine.data["engine_name"] == engine.data["actor_id"] == "summariser"
    assert (engine.data["token_id"], engine.data["capability_token_id"]) == ("engtok_1", "cap_1")
    assert engine.data["valid_until"] == "2027-01-01T00:00:00.000Z"


def test_the_secret_is_in_no_event_and_no_text_of_the_command() -> None:
    for decide, command in ((engines.register, register()), (engines.issue, issue(FIRST))):
        events = REGISTERED.when(decide, command)
        assert not any(FIRST.secret in canonical_content(event.data, {}, {}, {}) for event in events)
        assert events[-1].data["token_digest"] == engines.digest_of(FIRST.secret)
        assert FIRST.secret not in repr(command)


def test_the_same_actor_is_the_same_engine_active_again_with_a_further_token() -> None:
    given = REGISTERED.and_then(engines.deactivate, deactivate())
    assert types(given.when(engines.register, register(SECOND))) == ["agent.capability.granted", "engine.registered"]
    again = given.and_then(engines.register, register(SECOND, engine_name="Summariser II")).get(Engine, ID)
    assert again is not None
    assert (again.active, again.name, [token.token_id for token in again.live_tokens()]) == (
        True,
        "Summariser II",
        ["engtok_2"],
    )
    assert set(again.tokens) == {"engtok_1", "engtok_2"}


def test_a_registration_keeps_what_it_does_not_name() -> None:
    given = Given((engines.register, register(engine_name="S", metadata={"host": "desk-1"})))
    event = given.when(engines.register, register(SECOND))[-1]
    assert (event.data["engine_name"], event.data["metadata"]) == ("S", {"host": "desk-1"})


@pytest.mark.parametrize("actor_id", [None, ""])
def test_an_engine_needs_an_actor(actor_id: str | None) -> None:
    refused(Invalid, "actor_id_required", lambda: Given().when(engines.register, register(actor_id=actor_id)))


@pytest.mark.parametrize("text", ["tomorrow", "2026-13-01", "0001-01-01T00:00:00+23:59"])
def test_an_end_must_be_a_time(text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        register(valid_until=text)
    assert caught.value.errors()[0]["loc"] == ("valid_until",)


def test_a_list_that_scopes_do_not_name_is_the_default_one() -> None:
    capability, _ = REGISTERED.when(engines.issue, issue(scopes={"rooms": ["room_1"], "tools": []}))
    assert capability.data["scopes"] == {
        "rooms": ["room_1"],
        "action_types": list(engines.DEFAULT_ACTIONS),
        "tools": [],
    }


def test_tokens_are_issued_to_active_engines_only() -> None:
    assert types(REGISTERED.when(engines.issue, issue())) == ["agent.capability.granted", "engine.token.issued"]
    refused(NotFound, "engine_not_found", lambda: Given().when(engines.issue, issue()))
    inactive = REGISTERED.and_then(engines.deactivate, deactivate())
    refused(Conflict, "engine_inactive", lambda: inactive.when(engines.issue, issue()))


def test_live_tokens_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "MAX_LIVE_TOKENS", 1)
    refused(Conflict, "engine_token_limit", lambda: REGISTERED.when(engines.issue, issue()))
    refused(Conflict, "engine_token_limit", lambda: REGISTERED.when(engines.register, register(SECOND)))
    freed = REGISTERED.and_then(engines.revoke_token, revoke())
    assert len(freed.when(engines.issue, issue())) == 2


def test_a_token_is_revoked_once() -> None:
    (event,) = REGISTERED.when(engines.revoke_token, revoke())
    assert event.data == {
        "engine_id": ID,
        "capability_token_id": "cap_1",
        "token_id": "engtok_1",
        "reason": "manual_revoke",
    }
    assert REGISTERED.and_then(engines.revoke_token, revoke()).when(engines.revoke_token, revoke()) == []
    refused(NotFound, "engine_token_not_found", lambda: REGISTERED.when(engines.revoke_token, revoke("engtok_9")))
    refused(NotFound, "engine_token_not_found", lambda: Given().when(engines.revoke_token, revoke()))


def test_deactivating_ends_every_live_token_once() -> None:
    given = REGISTERED.and_then(engines.issue, issue()).and_then(engines.revoke_token, revoke())
    (event,) = given.when(engines.deactivate, deactivate(reason="retired"))
    assert (event.data["token_ids"], event.data["capability_token_ids"], event.data["reason"]) == (
        ["engtok_2"],
        ["cap_2"],
        "retired",
    )
    after = given.and_then(engines.deactivate, deactivate())
    state = after.get(Engine, ID)
    assert state is not None
    assert (state.active, state.live_tokens()) == (False, [])
    assert after.when(engines.deactivate, deactivate()) == []
    refused(NotFound, "engine_not_found", lambda: Given().when(engines.deactivate, deactivate()))


def test_an_unexpected_version_is_a_conflict() -> None:
    for decide, command in (
        (engines.register, register(expected_version=7)),
        (engines.issue, issue(expected_version=7)),
        (engines.revoke_token, revoke(expected_version=7)),
        (engines.deactivate, deactivate(expected_version=7)),
    ):
        refused(Conflict, "version_conflict", lambda act=decide, wish=command: REGISTERED.when(act, wish))  # type: ignore[misc]


def test_an_engine_cannot_administer_engines() -> None:
    meta = META._replace(engine=verified(REGISTERED))
    for decide, command in (
        (engines.register, register()),
        (engines.issue, issue()),
        (engines.revoke_token, revoke()),
        (engines.deactivate, deactivate()),
        (capabilities.revoke, take_back()),
    ):
        by_engine = command._replace(meta=meta)
        refused(Forbidden, "engine_action_not_allowed", lambda act=decide, wish=by_engine: REGISTERED.when(act, wish))  # type: ignore[misc]


# -- capabilities


def test_a_capability_is_revoked_once() -> None:
    (event,) = REGISTERED.when(capabilities.revoke, take_back())
    assert event.data == {
        "token_id": "cap_1",
        "issued_to_principal_id": SERVICE.principal_id,
        "reason": "no longer",
    }
    assert REGISTERED.and_then(capabilities.revoke, take_back()).when(capabilities.revoke, take_back()) == []


def test_a_capability_of_another_workspace_is_unknown() -> None:
    elsewhere = META._replace(workspace_id="ws_2")
    refused(NotFound, "token_not_found", lambda: REGISTERED.when(capabilities.revoke, take_back(meta=elsewhere)))
    refused(NotFound, "token_not_found", lambda: REGISTERED.when(capabilities.revoke, take_back("cap_9")))
    refused(Invalid, "token_id_required", lambda: REGISTERED.when(capabilities.revoke, take_back(None)))


# -- checks


def verified(given: Given, token: NewToken = FIRST, now: datetime = NOW, workspace_id: str = "ws_1") -> VerifiedEngine:
    engine, capability = given.get(Engine, ID), given.get(Capability, token.capability_token_id)
    brought = engine.token_of(token.secret) if engine else None
    return checked(workspace_id, ID, engine, brought, capability, now)


def test_a_good_token_proves_the_engine() -> None:
    engine = verified(REGISTERED)
    assert (engine.engine_id, engine.actor, engine.token_id, engine.rooms) == (ID, SERVICE, "engtok_1", None)
    for action in engines.DEFAULT_ACTIONS:
        engine.require(action, "room_1")


def test_a_wrong_secret_engine_or_workspace_is_invalid() -> None:
    unknown = NewToken("engtok_9", "cap_1", "engtok_" + "C" * 43)
    refused(Unauthorized, "engine_token_invalid", lambda: verified(REGISTERED, unknown))
    refused(Unauthorized, "engine_token_invalid", lambda: verified(Given()))
    refused(Unauthorized, "engine_token_invalid", lambda: verified(REGISTERED, workspace_id="ws_2"))


def test_a_revoked_token_is_expired_not_invalid() -> None:
    given = REGISTERED.and_then(engines.revoke_token, revoke())
    refused(Unauthorized, "engine_token_expired", lambda: verified(given))


def test_a_token_ends_with_its_time() -> None:
    given = Given((engines.register, register(valid_until="2027-01-01T00:00:00Z")))
    end = datetime(2027, 1, 1, tzinfo=UTC)
    assert verified(given, now=end - timedelta(milliseconds=1)).engine_id == ID
    refused(Unauthorized, "engine_token_expired", lambda: verified(given, now=end))


def test_a_deactivated_engine_is_inactive_and_its_old_tokens_stay_ended() -> None:
    given = REGISTERED.and_then(engines.deactivate, deactivate())
    refused(Forbidden, "engine_inactive", lambda: verified(given))
    again = given.and_then(engines.register, register(SECOND))
    refused(Unauthorized, "engine_token_expired", lambda: verified(again))
    assert verified(again, SECOND).token_id == "engtok_2"


def test_a_token_is_worth_its_capability() -> None:
    engine, capability = REGISTERED.get(Engine, ID), REGISTERED.get(Capability, "cap_1")
    assert engine is not None
    assert capability is not None

    def check(other: Capability | None) -> VerifiedEngine:
        return checked("ws_1", ID, engine, engine.tokens["engtok_1"], other, NOW)

    refused(Forbidden, "capability_token_revoked", lambda: check(None))
    refused(Forbidden, "capability_token_revoked", lambda: check(replace(capability, revoked=True)))
    refused(Unauthorized, "capability_token_expired", lambda: check(replace(capability, valid_until=NOW)))
    refused(Forbidden, "capability_principal_mismatch", lambda: check(replace(capability, principal_id="other")))


def test_scopes_bound_actions_and_rooms() -> None:
    narrow = verified(Given((engines.register, register(scopes={"rooms": ["room_1"], "action_types": ["run.claim"]}))))
    assert narrow.rooms == frozenset({"room_1"})
    narrow.require(engines.CLAIM)
    narrow.require(engines.CLAIM, "room_1")
    refused(Forbidden, "engine_room_not_allowed", lambda: narrow.require(engines.CLAIM, "room_2"))
    refused(Forbidden, "engine_action_not_allowed", lambda: narrow.require(engines.HEARTBEAT, "room_1"))
    homeless = verified(Given((engines.register, register(scopes={"rooms": []}))))
    refused(Forbidden, "engine_room_scope_required", lambda: homeless.require(engines.CLAIM))
    everything = verified(Given((engines.register, register(scopes={"action_types": ["*"]}))))
    everything.require(engines.INGEST)
