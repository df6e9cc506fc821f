"""Secrets in other forms, over borders, and those that are known."""

import base64
import gzip
import json
import random
from collections.abc import Callable
from typing import Final
from urllib.parse import quote

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentos_shared.dlp import DETECTOR, REDACTED, Exact, Stream, scan
from agentos_shared.dlp.exact import forms
from agentos_shared.dlp.stream import WINDOW
from tests.fixtures.labelled_secrets import SHAPED, labelled

RNG: Final = random.Random(3)
TOKEN: Final = SHAPED["github personal"](RNG)
KEY: Final = SHAPED["openai plain"](RNG)
VALUE: Final = 'p"ss w\\rd/é-1+2=3'


def _percent(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode())


def _padded(count: int) -> Callable[[str], str]:
    return lambda text: base64.b64encode(b"{" * count + text.encode() + b"}").decode()


FORMS: Final[dict[str, Callable[[str], str]]] = {
    **{f"base64 after {count} bytes": _padded(count) for count in range(4)},
    "base64 of urls": lambda text: base64.urlsafe_b64encode(b"??>" + text.encode() + b"~~~").decode(),
    "base64 in lines": lambda text: base64.encodebytes(b"a note of some length before it: " + text.encode()).decode(),
    "base64 twice": lambda text: base64.b64encode(base64.b64encode(f'{{"token":"{text}"}}'.encode())).decode(),
    "hexadecimal": lambda text: text.encode().hex(),
    "HEXADECIMAL": lambda text: text.encode().hex().upper(),
    "url": _percent,
    "url, upper case": lambda text: _percent(text).upper().replace("%", "%"),
    "json escapes": lambda text: "".join(f"\\u{ord(letter):04x}" for letter in text),
    "json in json": lambda text: json.dumps(json.dumps({"token": text})),
    "gzip in base64": lambda text: base64.b64encode(gzip.compress(f"token {text}".encode())).decode(),
    "gzip in hexadecimal": lambda text: gzip.compress(f"token {text}".encode()).hex(),
    "base64 in a url": lambda text: quote(base64.b64encode(f"x={text}".encode()).decode()),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("secret", [TOKEN, KEY], ids=["github", "openai"])
def test_encoded_secrets_are_found(form: str, secret: str) -> None:
    text = FORMS[form](secret)
    found = scan({"content_md": f"see {text} there"})
    assert found.found
    assert text.strip("{}=") not in found.data["content_md"].replace(REDACTED, "")
    assert found.data["content_md"].startswith("see ")
    assert found.data["content_md"].endswith(" there")


def test_what_is_split_over_members_is_found_in_all_of_them() -> None:
    data = {"parts": [TOKEN[:12], TOKEN[12:30]], "rest": {"more": TOKEN[30:], "note": " end"}, "n": 1}
    found = scan(data)
    assert found.rule_ids == ["github_pat"]
    assert found.data == {"parts": [REDACTED, REDACTED], "rest": {"more": REDACTED, "note": " end"}, "n": 1}


def test_a_name_tells_what_its_value_is() -> None:
    password = SHAPED["twilio key"](RNG)[2:] + "x"
    found = scan({"config": {"password": password, "digest": password}})
    assert found.data == {"config": {"password": REDACTED, "digest": password}}


def test_a_bomb_costs_little() -> None:
    bomb = gzip.compress(b"0" * 50_000_000)
    assert DETECTOR.find(bomb) == []
    assert Exact({"a": b"not-in-there"}).find(bomb) == []


@pytest.mark.parametrize("form", [form.encoding for form in forms(VALUE.encode())])
def test_known_values_are_found_in_all_their_forms(form: str) -> None:
    exact = Exact({"db": VALUE.encode()})
    text = next(candidate.text for candidate in forms(VALUE.encode()) if candidate.encoding == form)
    raw = b"before " + text + b" after"
    assert [(find.rule_id, raw[find.start : find.end]) for find in exact.find(raw)] == [("vault_secret", text)]
    assert exact.names(raw) == {"db"}


@given(st.binary(min_size=8, max_size=60), st.binary(max_size=7), st.binary(max_size=7))
def test_base64_at_any_place_is_found(value: bytes, before: bytes, after: bytes) -> None:
    exact = Exact({"a": value})
    assert exact.find(base64.b64encode(before + value + after))
    assert exact.find(base64.urlsafe_b64encode(before + value + after))
    packed = gzip.compress(before + value + after)
    assert exact.find(packed)
    assert exact.find(base64.b64encode(packed))
    assert exact.find(b"x" + packed.hex().encode())


def test_known_values_are_not_shown() -> None:
    exact = Exact({"db": VALUE.encode(), "short": b"1234567"})
    assert repr(exact) == "Exact(1 values)"
    assert Exact({}).find(b"anything") == []


def _through(raw: bytes, sizes: list[int], **arguments: object) -> tuple[bytes, Stream]:
    stream = Stream(redact=True, **arguments)  # type: ignore[arg-type]
    out, at, turn = b"", 0, 0
    while at < len(raw):
        size = sizes[turn % len(sizes)]
        out += stream.feed(raw[at : at + size])
        at, turn = at + size, turn + 1
    return out + stream.finish(), stream


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([case.text for case in labelled() if case.secret]), min_size=1, max_size=4),
    st.lists(st.integers(1, 300), min_size=1, max_size=8),
)
def test_chunks_make_no_difference(texts: list[str], sizes: list[int]) -> None:
    raw = ("\n".join(texts) + "\n").encode()
    whole, _ = _through(raw, [len(raw)])
    split, stream = _through(raw, sizes)
    assert split == whole
    assert stream.counts.total() == len(DETECTOR.find(raw))


@given(st.integers(1, 40), st.sampled_from([form.text for form in forms(VALUE.encode())]))
def test_known_values_are_found_over_borders(size: int, text: bytes) -> None:
    raw = b"x=" + text + b"; y"
    out, stream = _through(raw, [size], exact=Exact({"db": VALUE.encode()}), detector=None)
    assert out == b"x=[redacted]; y"
    assert dict(stream.counts) == {"vault_secret": 1}


def test_plain_lines_pass_at_once() -> None:
    stream = Stream(Exact({"db": VALUE.encode()}))
    for line in (b'data: {"n": 1}\n\n', b"data: see https://example.com/a\n\n", b": keep-alive\n\n"):
        assert stream.feed(line) == line
    assert stream.finish() == b""
    assert not stream.found


def test_a_stream_holds_a_window_at_most() -> None:
    stream, given_out = Stream(redact=True), 0
    begin = b"-----BEGIN RSA PRIVATE" + b" KEY-----\n"
    for chunk in [begin, *[orjson.dumps("a" * 1000)] * 100]:
        given_out += len(stream.feed(chunk))
        assert len(stream._held) <= WINDOW + 2048
    assert given_out
    stream.finish()
