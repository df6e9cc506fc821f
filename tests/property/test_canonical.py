"""Canonical JSON: the quick way and the reference library agree on everything that may be stored."""

import json
import math
from typing import Any

import orjson
import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from agentos_shared.domain.canonical import MAX_DEPTH, MAX_SAFE_INTEGER, canonical, parse
from agentos_shared.domain.errors import Invalid

text = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))
# Keys that the two orders of text (code points, UTF-16 units) sort differently are worth more than chance gives them.
keys = text | st.sampled_from(["\ufb33", "\U0001f600", "\ue000", "\U00010000", "€", "\r", "\x1f", "\x7f", "", "é", "z"])
integers = st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER)
floats = st.floats(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER) | st.sampled_from([0.0, -0.0, 5e-324, 1e-7, 1e15, 0.1, 1e-6])
scalars = st.none() | st.booleans() | integers | floats | text
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(keys, inner, max_size=5), max_leaves=25
)


@given(values)
@example({"\U0001f600": 1, "\ufb33": 2})
@example({"a": -0.0, "b": [1.0, 1e-7]})
@example({"\x1f\x7f\u2028": '\x01\b\f\n\r\t"\\/'})
def test_canonical_equals_the_reference_library(value: Any) -> None:
    assert canonical(value) == rfc8785.dumps(value)


@given(values)
def test_what_parse_accepts_is_canonical_again_after_a_round_trip(value: Any) -> None:
    parsed = parse(json.dumps(value).encode())
    assert parsed == value
    once = canonical(parsed)
    assert canonical(parse(once)) == once
    assert canonical(orjson.loads(once)) == once
    assert canonical(json.loads(once)) == once


@given(values, st.sampled_from([None, 1, " \n"]), st.booleans())
def test_parse_reads_any_way_of_writing_it(value: Any, indent: Any, ascii_only: bool) -> None:
    raw = json.dumps(value, indent=indent, ensure_ascii=ascii_only, separators=(",", " : ")).encode()
    assert parse(raw) == value


@given(st.dictionaries(keys, scalars, min_size=1, max_size=6), st.data())
def test_a_duplicate_key_is_refused_wherever_it_stands(members: dict[str, Any], data: st.DataObject) -> None:
    again = data.draw(st.sampled_from(sorted(members)))
    parts = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in members.items()]
    # Written another way, it is the same key.
    escaped = '"' + "".join(f"\\u{unit:04x}" for unit in _units(again)) + '"'
    parts.insert(data.draw(st.integers(0, len(parts))), f"{escaped} :null")
    raw = ("[0, {" + ",".join(parts) + "}]").encode()
    with pytest.raises(Invalid) as refused:
        parse(raw)
    assert refused.value.code == "invalid_json"


@given(values)
def test_text_that_looks_like_members_is_no_duplicate(value: Any) -> None:
    body = {"a": json.dumps({"a": value}), "b": '"a" : "a":', ":": ['"', ":", value]}
    assert parse(json.dumps(body).encode()) == body


def _units(key: str) -> list[int]:
    encoded = key.encode("utf-16-be")
    return [int.from_bytes(encoded[place : place + 2], "big") for place in range(0, len(encoded), 2)]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"{",
        b"[1,]",
        b"{'a':1}",
        b"nul",
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"01",
        b"1.",
        b"\xff",
        b'"\xc3"',
        b'"\xed\xa0\x80"',
        b"\xef\xbb\xbf{}",
        '{"a":1}'.encode("utf-16"),
        b'"a\x00b"',
        b'"a\x01b"',
        b'"\\u0000"',
        b'{"\\u0000":1}',
        b'{"a":{"b":["\\u0000"]}}',
        b'"\\ud800"',
        b'"\\udc00\\ud800"',
        b'{"\\ud800":1}',
        b'{"a":1,"a":1}',
        b'{"a":{"b":1,"\\u0062":2}}',
        b'{"":1,"":1}',
        b'{"a":1}{"b":2}',
        b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
        b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1),
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
    ],
)
def test_what_is_no_json_of_ours_is_refused(raw: bytes) -> None:
    with pytest.raises(Invalid) as refused:
        parse(raw)
    assert refused.value.code == "invalid_json"


@pytest.mark.parametrize(
    "number",
    [
        "9007199254740992",
        "-9007199254740992",
        "9007199254740992.0",
        "18446744073709551616",
        "1e16",
        "-1e300",
        "1e400",
        "-1e400",
        "1" * 400,
        "1" * 5000,
    ],
    ids=lambda number: number[:24],
)
def test_numbers_that_readers_disagree_about_are_refused(number: str) -> None:
    for raw in (number, f"[{number}]", f'{{"a":{{"b":{number}}}}}'):
        with pytest.raises(Invalid) as refused:
            parse(raw.encode())
        assert refused.value.code == "number_out_of_range"


def test_the_edges_are_accepted() -> None:
    edges = [MAX_SAFE_INTEGER, -MAX_SAFE_INTEGER, 9007199254740991.0, 5e-324, -0.0, 1e-400]
    assert parse(b"[9007199254740991,-9007199254740991,9007199254740991.0,5e-324,-0.0,1e-400]") == edges
    assert parse(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH) is not None
    assert math.copysign(1, parse(b"-0.0")) == -1
    assert canonical(parse(b"-0.0")) == canonical(parse(b"-0")) == b"0"
