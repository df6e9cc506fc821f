"""The file of the keys that sign capability tokens: rotation, what is taken and what is refused."""

from pathlib import Path

import pytest

from agentos_shared.domain import principals
from agentos_shared.domain.token_bounds import Bounds
from agentos_shared.tokens import key_file
from agentos_shared.tokens.biscuits import Granted, TokenInvalid
from agentos_shared.tokens.key_file import KeyRing, UnsafeKey

SCOPES = {"action_types": ["*"]}
GRANTED = Granted("ws_1", "t-1", principals.actor("ws_1", "user", "ada"), Bounds.of(SCOPES, None))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "capability-key"


def test_tokens_of_before_a_rotation_are_good_until_the_old_key_is_dropped(path: Path) -> None:
    ring = KeyRing(path)
    before = ring.mint(GRANTED, SCOPES)
    first = ring.public
    taken = key_file.rotate(path)
    ring.look()
    assert (ring.turn, ring.public, taken) == (1, taken[0], [taken[0], first])
    after = ring.mint(GRANTED, SCOPES)
    assert {ring.open(token).granted for token in (before, after)} == {GRANTED}
    again = KeyRing(path)
    assert again.open(before).granted == again.open(after).granted == GRANTED
    assert len(key_file.rotate(path, drop_old=True)) == 1
    ring.look()
    for token in (before, after):
        with pytest.raises(TokenInvalid, match="issued here"):
            ring.open(token)


def test_a_bounded_number_of_old_keys_is_kept(path: Path) -> None:
    taken = [key_file.rotate(path) for _ in range(12)][-1]
    assert len(taken) == 1 + key_file.MAX_OLD
    assert len(set(taken)) == len(taken)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [left.name for left in path.parent.iterdir()] == [path.name]


def test_nothing_is_looked_at_anew_within_a_second(path: Path) -> None:
    ring = KeyRing(path)
    signs = ring.public
    key_file.rotate(path)
    assert ring.public == signs


def test_what_cannot_be_used_leaves_the_keys_of_before_in_force(path: Path) -> None:
    ring = KeyRing(path)
    token = ring.mint(GRANTED, SCOPES)
    for text, mode in (("", 0o600), ("xyz\n", 0o600), ("00" * 32 + "\n", 0o644)):
        path.write_text(text)
        path.chmod(mode)
        ring.look()
        assert ring.open(token).granted == GRANTED
        with pytest.raises(UnsafeKey):
            KeyRing(path)
        with pytest.raises(UnsafeKey):
            key_file.publics(path)
