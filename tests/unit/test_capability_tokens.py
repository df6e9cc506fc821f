"""What a capability token proves by itself, and what it does not."""

import base64
from collections.abc import Callable
from datetime import UTC, datetime
from time import perf_counter
from typing import Any

import orjson
import pytest
from biscuit_auth import Algorithm, Biscuit, BiscuitBuilder, BlockBuilder, KeyPair, PublicKey

from agentos_shared.domain.envelope import Actor
from agentos_shared.domain.token_bounds import Bounds, Narrowing, Wider
from agentos_shared.tokens.biscuits import PREFIX, Granted, TokenInvalid, TokenKey, attenuate

KEY = TokenKey(bytes(range(32)))
OTHER = TokenKey(bytes(32))
ROOT = PublicKey.from_bytes(bytes.fromhex(KEY.public), Algorithm.Ed25519)  # type: ignore[call-arg, attr-defined]
SCOPES: dict[str, Any] = {
    "rooms": ["room_a", "room_b"],
    "action_types": ["message.create", "run.create"],
    "tools": ["*"],
    "egress_domains": ["*.example.org"],
    "data_access": {"read": ["public", "internal"], "write": ["internal"]},
    "zone_max": "supervised",
    "max_uses": 10,
}
UNTIL = datetime(2026, 12, 1, tzinfo=UTC)
GRANTED = Granted("ws_a", "7f0f", Actor("agent", "agent_1", "principal-1"), Bounds.of(SCOPES, UNTIL))
TOKEN = KEY.mint(GRANTED, SCOPES)


def narrow(token: str = TOKEN, **members: Any) -> str:
    return attenuate(token, KEY.public, Narrowing.model_validate(members))


def appended(source: str, values: dict[str, Any] | None = None) -> str:
    """The token with a block that our own code would not append."""
    token = Biscuit.from_base64(TOKEN.removeprefix(PREFIX), ROOT)
    return PREFIX + token.append(BlockBuilder(source, values or {})).to_base64()


def told(**members: Any) -> dict[str, Any]:
    return {"told": orjson.dumps(members)}


def signed(source: str, values: dict[str, Any]) -> str:
    pair = KeyPair()
    return PREFIX + BiscuitBuilder(source, values).build(pair.private_key).to_base64()


def decoded(token: str) -> bytes:
    text = token.removeprefix(PREFIX)
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def flipped() -> str:
    """One bit of the content, right under the signature that is still there."""
    raw = bytearray(decoded(TOKEN))
    place = raw.index(b"agentos") + 40
    raw[place] ^= 1
    return PREFIX + base64.urlsafe_b64encode(raw).decode()


def without_last_block() -> str:
    """A narrowed token's last block cut off, its proof kept: what a holder would do to get back what was taken."""
    whole = decoded(narrow(rooms=["room_a"]))
    first = decoded(TOKEN)
    size = len(first) - 34  # all but the proof
    return PREFIX + base64.urlsafe_b64encode(first[:size] + whole[-34:]).decode()


def test_a_token_tells_what_was_granted() -> None:
    opened = KEY.open(TOKEN)
    assert (opened.granted, opened.bounds, opened.narrowed, opened.uses) == (GRANTED, GRANTED.bounds, 0, ())


@pytest.mark.parametrize(
    ("members", "changed"),
    [
        ({"rooms": ["room_b"]}, {"rooms": ("room_b",)}),
        ({"action_types": ["run.create"]}, {"action_types": ("run.create",)}),
        ({"action_types": []}, {"action_types": ()}),
        ({"tools": ["shell"]}, {"tools": ("shell",)}),
        ({"egress_domains": ["api.example.org"]}, {"egress_domains": ("api.example.org",)}),
        ({"data_access": {"read": ["public"]}}, {"data_read": ("public",)}),
        ({"data_access": {"write": []}}, {"data_write": ()}),
        ({"zone_max": "sandbox"}, {"zone_max": "sandbox"}),
        ({"valid_until": "2026-11-30T00:00:00Z"}, {"valid_until": datetime(2026, 11, 30, tzinfo=UTC)}),
        ({"max_uses": 3}, {"max_uses": 3}),
    ],
)
def test_each_field_is_narrowed_offline(members: dict[str, Any], changed: dict[str, Any]) -> None:
    opened = KEY.open(narrow(**members))
    before = {name: getattr(GRANTED.bounds, name) for name in Bounds.__slots__}
    assert {name: getattr(opened.bounds, name) for name in Bounds.__slots__} == before | changed
    assert opened.narrowed == 1
    assert [allowed for _, allowed in opened.uses] == ([3] if "max_uses" in members else [])


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"rooms": ["room_c"]}, "rooms"),
        ({"rooms": ["*"]}, "rooms"),
        ({"action_types": ["*"]}, "action_types"),
        ({"egress_domains": ["*"]}, "egress_domains"),
        ({"egress_domains": ["*.badexample.org"]}, "egress_domains"),
        ({"data_access": {"write": ["public"]}}, "data_access.write"),
        ({"zone_max": "high_stakes"}, "zone_max"),
        ({"valid_until": "2026-12-01T00:00:01Z"}, "valid_until"),
        ({"max_uses": 11}, "max_uses"),
    ],
)
def test_a_block_that_asks_for_more_is_refused(members: dict[str, Any], field: str) -> None:
    with pytest.raises(Wider) as wider:
        GRANTED.bounds.narrowed(Narrowing.model_validate(members))
    assert wider.value.field == field
    with pytest.raises(TokenInvalid) as refused:
        KEY.open(appended("narrow({told})", told(**members)))
    assert refused.value.code == "token_block_wider"


BAD: list[tuple[str, Callable[[], str], str]] = [
    ("empty", lambda: "", "invalid_token"),
    ("no prefix", lambda: TOKEN.removeprefix(PREFIX), "invalid_token"),
    ("nothing after the prefix", lambda: PREFIX, "invalid_token"),
    ("truncated by one", lambda: TOKEN[:-1], "invalid_token"),
    ("truncated by a lot", lambda: TOKEN[: len(TOKEN) // 2], "invalid_token"),
    ("a bit flipped", flipped, "invalid_token"),
    ("letters that are no base64", lambda: TOKEN[:-9] + "(((((((((", "invalid_token"),
    ("huge", lambda: PREFIX + "A" * 20_000, "invalid_token"),
    ("other root key", lambda: OTHER.mint(GRANTED, SCOPES), "invalid_token"),
    ("re-signed", lambda: signed("agentos({told})", told(v=1, workspace_id="ws_a", scopes={})), "invalid_token"),
    ("last block cut off", without_last_block, "invalid_token"),
    ("a block with a check", lambda: appended('check if room("x")'), "token_block_not_understood"),
    ("a block with a second fact", lambda: appended("narrow({told}); x(1)", told()), "token_block_not_understood"),
    ("a block that grants", lambda: appended("agentos({told})", told(v=1)), "token_block_not_understood"),
    (
        "a block with an unknown field",
        lambda: appended("narrow({told})", told(admin=True)),
        "token_block_not_understood",
    ),
    ("a block that is no JSON", lambda: appended("narrow({told})", {"told": b"{"}), "token_block_not_understood"),
    ("a block with no room", lambda: appended("narrow({told})", told(rooms=[])), "token_block_not_understood"),
]


@pytest.mark.parametrize(("make", "code"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_bad_tokens(make: Callable[[], str], code: str) -> None:
    with pytest.raises(TokenInvalid) as refused:
        KEY.open(make())
    assert refused.value.code == code


def test_a_chain_ends_at_its_limit_however_it_was_handed_on() -> None:
    token = KEY.mint(Granted("ws_a", "7f0f", GRANTED.actor, GRANTED.bounds, depth=2), SCOPES)
    for uses in (9, 8, 7):
        token = narrow(token, max_uses=uses)
    assert [allowed for _, allowed in KEY.open(token).uses] == [9, 8, 7]
    with pytest.raises(TokenInvalid) as refused:
        narrow(token, max_uses=6)
    assert refused.value.code == "delegation_depth_exceeded"


def test_a_token_of_the_longest_chain_is_opened_in_a_millisecond() -> None:
    token = TOKEN
    for uses in (9, 8, 7, 6, 5):
        token = narrow(token, max_uses=uses)
    times = []
    for _ in range(50):
        started = perf_counter()
        KEY.open(token)
        times.append(perf_counter() - started)
    assert min(times) < 0.001
