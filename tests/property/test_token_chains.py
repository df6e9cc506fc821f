"""Random chains of capabilities handed on and tokens narrowed: no link covers more than the one above.

What is covered is told here by trying names out, not by the code that narrows.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agentos_shared.domain.capabilities import moment
from agentos_shared.domain.delegations import narrowed
from agentos_shared.domain.envelope import Actor, timestamp
from agentos_shared.domain.token_bounds import Bounds, Narrowing
from agentos_shared.tokens.biscuits import Granted, TokenInvalid, TokenKey, attenuate

KEY = TokenKey(bytes(range(32)))
ZONE_RANK = {"sandbox": 1, "supervised": 2, "high_stakes": 3}
ROOMS = ["room_a", "room_b", "room_c"]
NAMES = ["one", "two", "three"]
HOSTS = ["example.org", "api.example.org", "a.api.example.org", "example.com", "badexample.org"]
PATTERNS = ["*", "*.example.org", "*.api.example.org", *HOSTS]
START = datetime(2026, 1, 1, tzinfo=UTC)


def some(names: list[str], least: int = 0) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(names), min_size=least, max_size=3)


def optional(**members: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=members)


SCOPES = optional(
    rooms=some(["*", *ROOMS], 1),
    action_types=some(["*", *NAMES]),
    tools=some(["*", *NAMES]),
    egress_domains=some(PATTERNS),
    data_access=optional(read=some(["*", *NAMES]), write=some(["*", *NAMES])),
    zone_max=st.sampled_from(list(ZONE_RANK)),
    max_uses=st.integers(1, 5),
)
UNTIL = st.none() | st.integers(1, 5).map(lambda days: timestamp(START + timedelta(days=days)))


def reach(bounds: Bounds) -> dict[str, Any]:
    """What bounds cover, by what was tried out."""

    def names(listed: tuple[str, ...]) -> set[str]:
        return {name for name in NAMES if name in listed or "*" in listed}

    def under(host: str, pattern: str) -> bool:
        return pattern == "*" or host == pattern or (pattern[:2] == "*." and ("." + host).endswith(pattern[1:]))

    return {
        "rooms": {room for room in [*ROOMS, "room_new"] if bounds.rooms is None or room in bounds.rooms},
        "workspace": bounds.rooms is None,
        "action_types": names(bounds.action_types),
        "tools": names(bounds.tools),
        "read": names(bounds.data_read),
        "write": names(bounds.data_write),
        "hosts": {host for host in HOSTS if any(under(host, wide) for wide in bounds.egress_domains)},
        "zone": ZONE_RANK[bounds.zone_max],
        "until": bounds.valid_until or datetime.max.replace(tzinfo=UTC),
        "uses": bounds.max_uses or 10**9,
    }


def assert_not_wider(child: Bounds, parent: Bounds) -> None:
    above = reach(parent)
    for field, value in reach(child).items():
        assert value <= above[field], field


def earlier(*times: str | None) -> str | None:
    return min((time for time in times if time), default=None)


@given(SCOPES, st.lists(SCOPES, max_size=2), UNTIL, st.lists(st.tuples(SCOPES, UNTIL), max_size=3))
@settings(max_examples=300, deadline=None)
def test_no_link_of_a_chain_is_wider_than_the_one_above(
    root: Mapping[str, Any],
    handed_on: list[dict[str, Any]],
    until: str | None,
    blocks: list[tuple[dict[str, Any], str | None]],
) -> None:
    scopes: Mapping[str, Any] = root
    ends = None if until is None else moment(until)
    for wanted in handed_on:
        child = narrowed(wanted, scopes)
        if scopes.get("rooms") and not child.get("rooms"):
            return  # refused: such a capability covers no room
        assert_not_wider(Bounds.of(child, ends), Bounds.of(scopes, ends))
        scopes = child
    granted = Granted("ws", "token", Actor("agent", "a", "p"), Bounds.of(scopes, ends), len(handed_on))
    token = KEY.mint(granted, dict(scopes))
    bounds = KEY.open(token).bounds
    assert bounds == granted.bounds
    for wanted, end in blocks:
        try:
            token = attenuate(token, KEY.public, Narrowing.model_validate({**wanted, "valid_until": end}))
        except TokenInvalid:  # asks for more
            continue
        opened = KEY.open(token)
        assert_not_wider(opened.bounds, bounds)
        bounds = opened.bounds
    assert KEY.open(token).granted == granted
