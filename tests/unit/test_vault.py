"""Master keys, sealing, and where secrets are put."""

from pathlib import Path

import pytest

from agentos_gateway.address import parse
from agentos_gateway.vault.inject import NotAllowed, Secret, fill, names
from agentos_gateway.vault.keys import FileKeys, GivenKeys, KeyProblem, KeyRing, open_ring
from agentos_gateway.vault.seal import Sealed, about, rewrap, seal, unseal

OLD, NEW = KeyRing.of(b"o" * 32), KeyRing.of(b"n" * 32, b"o" * 32)
WHAT = about("ws_dev", "sec_1", 1)
VALUE = "s3cret-/ +&?=value"
TARGET = parse("https://api.github.com/user?page=1")


def test_a_value_is_sealed_anew_each_time_and_opened() -> None:
    first, second = seal(OLD, VALUE.encode(), WHAT), seal(OLD, VALUE.encode(), WHAT)
    assert first.sealed != second.sealed
    assert first.wrapped_key != second.wrapped_key
    assert unseal(OLD, first, WHAT) == unseal(OLD, second, WHAT) == VALUE.encode()
    assert VALUE.encode() not in b"".join((first.sealed, first.wrapped_key))


def test_what_was_changed_or_exchanged_is_not_opened() -> None:
    stored = seal(OLD, VALUE.encode(), WHAT)
    flipped = bytes([stored.sealed[0] ^ 1]) + stored.sealed[1:]
    for sealed, what in (
        (stored._replace(sealed=flipped), WHAT),
        (stored._replace(sealed=b""), WHAT),
        (stored, about("ws_dev", "sec_2", 1)),
        (stored, about("ws_other", "sec_1", 1)),
        (stored, about("ws_dev", "sec_1", 2)),
        (stored._replace(wrapped_key=seal(OLD, b"other", WHAT).wrapped_key), WHAT),
        (stored._replace(key_id="nobody"), WHAT),
    ):
        with pytest.raises(KeyProblem) as caught:
            unseal(OLD, Sealed(*sealed), what)
        assert VALUE not in str(caught.value)


def test_a_new_master_key_opens_what_the_old_one_wrapped() -> None:
    stored = seal(OLD, VALUE.encode(), WHAT)
    fresh = rewrap(NEW, stored, WHAT)
    assert fresh.sealed == stored.sealed
    assert unseal(NEW.alone(), fresh, WHAT) == VALUE.encode()
    with pytest.raises(KeyProblem):
        unseal(OLD, fresh, WHAT)


def test_a_key_file_is_made_once_and_must_be_private(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "secrets-key"
    ring = FileKeys(path).read()
    assert path.stat().st_mode & 0o777 == 0o600
    assert FileKeys(path).read() == ring
    FileKeys(path).write(ring.renewed())
    renewed = FileKeys(path).read()
    assert renewed.current != ring.current
    assert ring.current in renewed.keys
    assert list(path.parent.iterdir()) == [path]
    path.chmod(0o644)
    with pytest.raises(KeyProblem, match="readable by other users"):
        FileKeys(path).read()
    path.chmod(0o600)
    path.write_text("{]")
    with pytest.raises(KeyProblem, match="no ring"):
        FileKeys(path).read()


@pytest.mark.parametrize("text", ["00", "x" * 64, "aGVsbG8=", "00" * 32 + ",zz"])
def test_a_given_key_must_be_one(text: str) -> None:
    with pytest.raises(KeyProblem):
        GivenKeys(text)


def test_given_keys_are_new_to_old() -> None:
    place = open_ring("6e" * 32 + ", " + "6f" * 32, None, system=False)
    assert place is not None
    assert place.read() == NEW
    with pytest.raises(KeyProblem, match="SECRETS_MASTER_KEY"):
        place.write(NEW.renewed())
    assert open_ring(None, None, system=False) is None
    assert "6e" * 8 not in repr(place.read())


def secret(**changed: tuple[str, ...]) -> Secret:
    bound = {"hosts": ("api.github.com",), "methods": (), "places": ("header", "query", "body")} | changed
    return Secret("sec_1", "github", 1, bound["hosts"], bound["methods"], bound["places"], VALUE)


def test_a_secret_is_put_where_it_is_named() -> None:
    url = "https://api.github.com/user?key={{secret:github}}&again=%7B%7Bsecret%3Agithub%7D%7D"
    headers = (("authorization", "token {{ secret:github }}"), ("x-plain", "{{other}}"))
    body = b'{"key": "{{secret:github}}", "raw": "\xff{{}}"}'
    assert names(url, headers, body) == {"github"}
    filled = fill(parse(url), "POST", url, headers, body, {"github": secret()})
    quoted = "s3cret-%2F%20%2B%26%3F%3Dvalue"
    assert filled.url == f"https://api.github.com/user?key={quoted}&again={quoted}"
    assert filled.headers == (("authorization", f"token {VALUE}"), ("x-plain", "{{other}}"))
    assert filled.body == b'{"key": "' + VALUE.encode() + b'", "raw": "\xff{{}}"}'
    assert [used.name for used in filled.used] == ["github"]
    assert VALUE not in repr(filled)


@pytest.mark.parametrize(
    ("url", "method", "bound", "code"),
    [
        ("https://api.github.com.evil.example/", "GET", secret(), "secret.host_not_bound"),
        ("https://evilapi.github.com/", "GET", secret(), "secret.host_not_bound"),
        ("https://github.com/", "GET", secret(hosts=("*.github.com",)), "secret.host_not_bound"),
        ("https://api.github.com/", "GET", secret(hosts=()), "secret.host_not_bound"),
        ("http://api.github.com/", "GET", secret(), "secret.not_encrypted"),
        ("https://api.github.com/", "POST", secret(methods=("GET",)), "secret.method_not_bound"),
        ("https://api.github.com/", "GET", secret(places=("query",)), "secret.place_not_bound"),
    ],
)
def test_a_secret_goes_nowhere_else(url: str, method: str, bound: Secret, code: str) -> None:
    with pytest.raises(NotAllowed) as caught:
        fill(parse(url), method, url, (("x", "{{secret:github}}"),), b"", {"github": bound})
    assert caught.value.code == code
    assert VALUE not in caught.value.detail


def test_a_path_and_a_line_break_take_no_secret() -> None:
    url = "https://api.github.com/%7B%7Bsecret:github%7D%7D"
    with pytest.raises(NotAllowed, match="query"):
        fill(TARGET, "GET", url, (), b"", {"github": secret()})
    broken = Secret("sec_1", "github", 1, ("api.github.com",), (), ("header",), "a\r\nx-evil: 1")
    with pytest.raises(NotAllowed, match="line breaks"):
        fill(TARGET, "GET", "https://api.github.com/", (("x", "{{secret:github}}"),), b"", {"github": broken})
