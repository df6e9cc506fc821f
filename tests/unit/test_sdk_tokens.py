"""Tokens that the client narrows are what the server takes them for."""

from datetime import UTC, datetime

import pytest

import agentos
from agentos_shared.domain.envelope import Actor
from agentos_shared.domain.token_bounds import Bounds
from agentos_shared.tokens.biscuits import Granted, TokenInvalid, TokenKey

KEY = TokenKey(bytes(range(32)))
SCOPES = {"action_types": ["*"], "tools": ["*"], "egress_domains": ["*"], "data_access": {"read": ["*"]}}
TOKEN = KEY.mint(Granted("ws", "t", Actor("agent", "a", "p"), Bounds.of(SCOPES, None)), dict(SCOPES))


def test_every_field_arrives() -> None:
    less = agentos.narrow(
        TOKEN,
        KEY.public,
        rooms=["room_a"],
        action_types=("run.create",),
        tools=[],
        egress_domains=["*.example.org"],
        data_read=["public"],
        zone_max="sandbox",
        valid_until="2026-12-01T00:00:00Z",
        max_uses=3,
    )
    opened = KEY.open(less)
    assert opened.bounds == Bounds(
        rooms=("room_a",),
        action_types=("run.create",),
        tools=(),
        egress_domains=("*.example.org",),
        data_read=("public",),
        zone_max="sandbox",
        valid_until=datetime(2026, 12, 1, tzinfo=UTC),
        max_uses=3,
    )
    assert [allowed for _, allowed in opened.uses] == [3]


def test_more_than_there_is_is_refused_by_the_server() -> None:
    with pytest.raises(TokenInvalid) as refused:
        KEY.open(agentos.narrow(TOKEN, KEY.public, data_write=["public"]))
    assert refused.value.code == "token_block_wider"


@pytest.mark.parametrize(("token", "key"), [("agcap_x", KEY.public), (TOKEN, "00" * 32), (TOKEN, "no key"), ("", "")])
def test_what_is_no_token_of_the_key(token: str, key: str) -> None:
    with pytest.raises(agentos.TokenError):
        agentos.narrow(token, key)
