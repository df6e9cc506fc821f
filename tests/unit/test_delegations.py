"""Capabilities that are granted and handed on: given these events, when this command, then those."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentos_shared.domain import capabilities, delegations, principals
from agentos_shared.domain.capabilities import Capability, RevokeCapability
from agentos_shared.domain.decider import Command, Meta
from agentos_shared.domain.delegations import MAX_DEPTH, Ancestry, narrowed
from agentos_shared.domain.envelope import Actor
from agentos_shared.domain.errors import DomainError, Forbidden, Invalid, NotFound
from tests.fixtures.given import MOMENT, Given

META = Meta("ws_1", principals.actor("ws_1", "user", "ada"), "c-1", "key-1")
NAMES = ("ada", "b", "c", "d", "e", "f", "g", "h")
PEOPLE = {name: principals.actor("ws_1", "agent" if name != "ada" else "user", name) for name in NAMES}
NOW = Ancestry(MOMENT)


def ensure(actor: Actor) -> Command[principals.EnsurePrincipal]:
    body = principals.EnsurePrincipal(actor_type=actor.type, actor_id=actor.id)
    return Command(body, META, principals.principal_id("ws_1", body))


def grant(
    to: str = "b",
    by: str = "ada",
    token: str = "t1",
    parent: str | None = None,
    *,
    meta: Meta = META,
    loaded: Ancestry = NOW,
    **members: Any,
) -> Command[delegations.GrantCapability]:
    body = {
        "issued_to_principal_id": PEOPLE[to].principal_id,
        "granted_by_principal_id": PEOPLE[by].principal_id,
        "parent_token_id": parent,
        **members,
    }
    return Command(delegations.GrantCapability.model_validate(body), meta, token, loaded=loaded)


KNOWN = Given(*((principals.ensure, ensure(actor)) for actor in PEOPLE.values()))
SCOPES = {"rooms": ["room_1", "room_2"], "tools": ["http.get"], "data_access": {"read": ["internal"]}}
GRANTED = KNOWN.and_then(delegations.grant, grant(scopes=SCOPES))


def refused(kind: type[DomainError], code: str, act: Callable[[], object]) -> DomainError:
    with pytest.raises(kind) as caught:
        act()
    assert (type(caught.value), caught.value.code) == (kind, code)
    return caught.value


def scopes_of(told: Given, command: Command[delegations.GrantCapability]) -> Mapping[str, Any]:
    (event,) = told.when(delegations.grant, command)
    granted: Mapping[str, Any] = event.data["scopes"]
    return granted


def test_a_grant_is_as_asked_for_without_empty_lists() -> None:
    asked = {"tools": ["http.get"], "rooms": [], "data_access": {"read": []}}
    command = grant(scopes=asked, valid_until="2027-01-01T00:00:00+01:00")
    (event,) = KNOWN.when(delegations.grant, command)
    assert event.event_type == "agent.capability.granted"
    assert event.data == {
        "token_id": "t1",
        "issued_to_principal_id": PEOPLE["b"].principal_id,
        "granted_by_principal_id": PEOPLE["ada"].principal_id,
        "parent_token_id": None,
        "scopes": {"tools": ["http.get"]},
        "valid_until": "2026-12-31T23:00:00.000Z",
        "depth": 0,
    }


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"issued_to_principal_id": None}, "issued_to_principal_id_required"),
        ({"issued_to_principal_id": ""}, "issued_to_principal_id_required"),
        ({"granted_by_principal_id": None}, "granted_by_principal_id_required"),
        ({"issued_to_principal_id": "nobody"}, "issued_to_principal_not_found"),
        ({"granted_by_principal_id": "nobody"}, "granted_by_principal_not_found"),
    ],
)
def test_a_grant_needs_two_principals(members: dict[str, Any], code: str) -> None:
    assert refused(Invalid, code, lambda: KNOWN.when(delegations.grant, grant(**members))).recorded == ()


def test_a_child_covers_what_both_cover_and_lasts_no_longer() -> None:
    asked = {"rooms": ["room_2", "room_3"], "tools": ["*"], "egress_domains": ["*"], "data_access": {"read": ["*"]}}
    assert scopes_of(GRANTED, grant("c", "b", "t2", "t1", scopes=asked)) == {
        "rooms": ["room_2"],
        "tools": ["http.get"],
        "data_access": {"read": ["internal"]},
    }
    assert scopes_of(GRANTED, grant("c", "b", "t2", "t1")) == {"rooms": ["room_1", "room_2"]}
    until = (MOMENT + timedelta(hours=1)).isoformat()
    short = KNOWN.and_then(delegations.grant, grant(valid_until=until))
    for asked_until, given_until in (
        (None, "06:30"),
        ("2027-01-01T00:00:00Z", "06:30"),
        ("2026-11-24T06:00Z", "06:00"),
    ):
        (event,) = short.when(delegations.grant, grant("c", "b", "t2", "t1", valid_until=asked_until))
        assert event.data["valid_until"] == f"2026-11-24T{given_until}:00.000Z"


def test_a_child_of_no_common_room_is_refused_since_no_list_would_mean_all() -> None:
    other = grant("c", "b", "t2", "t1", scopes={"rooms": ["room_9"]})
    refused(Invalid, "scopes_outside_parent", lambda: GRANTED.when(delegations.grant, other))


@pytest.mark.parametrize(
    ("command", "kind", "code", "depth"),
    [
        (grant("c", "b", "t2", "none"), NotFound, "parent_token_not_found", 1),
        (grant("c", "d", "t2", "t1"), Forbidden, "parent_token_grantor_mismatch", 1),
    ],
)
def test_who_tries_to_get_more_goes_on_record(
    command: Command[Any], kind: type[DomainError], code: str, depth: int
) -> None:
    (event,) = refused(kind, code, lambda: GRANTED.when(delegations.grant, command)).recorded
    assert (event.event_type, event.entity_id) == ("agent.delegation.attempted", "t2")
    told = (event.data["denied_reason"], event.data["depth"], event.data["max_depth"])
    assert told == (code, depth, MAX_DEPTH)


def test_a_capability_is_handed_on_five_times_and_no_more() -> None:
    told = GRANTED
    for depth, (by, to) in enumerate(pairwise(NAMES[1:7]), 1):
        told = told.and_then(delegations.grant, grant(to, by, f"t{depth + 1}", f"t{depth}"))
        child = told.get(Capability, f"t{depth + 1}")
        assert child is not None
        assert (child.depth, child.parent_token_id) == (depth, f"t{depth}")
    sixth = grant("h", "g", "t7", "t6")
    (event,) = refused(Invalid, "delegation_depth_exceeded", lambda: told.when(delegations.grant, sixth)).recorded
    assert event.data["depth"] == 6


def test_what_has_ended_is_not_handed_on() -> None:
    taken = Command(RevokeCapability(token_id="t1"), META, "t1")
    child = grant("c", "b", "t2", "t1")
    ended = GRANTED.and_then(capabilities.revoke, taken)
    for told, command in ((ended, child), (GRANTED, grant("c", "b", "t2", "t1", loaded=Ancestry(MOMENT, ended=True)))):
        error = refused(Invalid, "parent_token_revoked", partial(told.when, delegations.grant, command))
        assert error.recorded == ()
    short = KNOWN.and_then(delegations.grant, grant(valid_until=MOMENT.isoformat()))
    refused(Invalid, "parent_token_expired", lambda: short.when(delegations.grant, child))


def test_agents_hand_on_their_own_and_make_none() -> None:
    itself = META._replace(actor=PEOPLE["b"])
    assert scopes_of(GRANTED, grant("c", "b", "t2", "t1", meta=itself))
    for command in (grant("c", "b", "t2", meta=itself), grant("c", "ada", "t2", "t1", meta=itself)):
        refused(Forbidden, "agent_action_not_allowed", partial(GRANTED.when, delegations.grant, command))


# -- never wider, whatever the chain

names = st.lists(st.sampled_from(["*", "a", "b", "c"]), max_size=3)
hosts = ("x.org", "a.x.org", "b.a.x.org", "y.org")
patterns = ("*", *hosts, "*.x.org", "*.a.x.org", "*.Y.org")
scopes = st.fixed_dictionaries(
    {},
    optional={
        "rooms": names,
        "tools": names,
        "action_types": names,
        "egress_domains": st.lists(st.sampled_from(patterns), max_size=3),
        "data_access": st.fixed_dictionaries({}, optional={"read": names, "write": names}),
    },
)


def covered(scopes: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Everything of a small world that scopes cover, by a plain reading of them."""
    found = set()
    access = scopes.get("data_access") or {}
    lists = {
        "rooms": scopes.get("rooms") or ["*"],
        "tools": scopes.get("tools") or [],
        "action_types": scopes.get("action_types") or [],
        "read": access.get("read") or [],
        "write": access.get("write") or [],
    }
    for kind, listed in lists.items():
        found |= {(kind, name) for name in ("a", "b", "c", "d") if name in listed or "*" in listed}
    for pattern in scopes.get("egress_domains") or []:
        low = pattern.lower()
        for host in hosts:
            under = low.startswith("*.") and (host == low[2:] or host.endswith(low[1:]))
            if low in ("*", host) or under:
                found.add(("egress", host))
    return found


@given(st.lists(scopes, min_size=2, max_size=6))
def test_no_chain_of_wishes_is_wider_than_any_of_its_parents(chain: list[dict[str, Any]]) -> None:
    held = chain[0]
    for wanted in chain[1:]:
        child = narrowed(wanted, held)
        if held.get("rooms") and not child.get("rooms"):
            return  # refused: no list of rooms would mean every room
        assert covered(child) <= covered(held)
        assert covered(child) >= {
            thing for thing in covered(wanted) & covered(held) if thing[0] != "rooms" or wanted.get("rooms")
        }
        held = child
