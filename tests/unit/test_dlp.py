"""Secrets are found by their shape, wherever they stand, and what is ordinary stays as it is."""

import time
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentos_shared import dlp
from agentos_shared.dlp import Scan, redact_text, scan, scanner, suspicious

OPENAI = "sk-" + "a1B2" * 6
GITHUB = "ghp_" + "a1B2c3" * 5
AWS = "AKIAIOSFODNN7EXAMPLE"
BEARER = "Bearer eyJhbGciOiJIUzI1NiJ9.e30.abc-_~+/xyz=="


@pytest.mark.parametrize(
    ("text", "rule_id", "preview", "left"),
    [
        (f"key {OPENAI}.", "openai_api_key", "sk-a...a1B2", "key [redacted]."),
        ("sk-" + "x" * 20, "openai_api_key", "sk-x...xxxx", "[redacted]"),
        ("sk-proj-" + "x_-1" * 8, "openai_api_key", "sk-p...x_-1", "[redacted]"),
        ("sk-ant-api03-" + "x_-1" * 8, "openai_api_key", "sk-a...x_-1", "[redacted]"),
        (f'{{"token":"{GITHUB}"}}', "github_pat", "ghp_...B2c3", '{"token":"[redacted]"}'),
        *[(f"gh{kind}_" + "z" * 36, "github_pat", f"gh{kind}_...zzzz", "[redacted]") for kind in "pousr"],
        ("github_pat_" + "11AA_bb" * 8, "github_pat", "gith...A_bb", "[redacted]"),
        (f"id={AWS},", "aws_access_key_id", "AKIA...MPLE", "id=[redacted],"),
        ("ASIAIOSFODNN7EXAMPLE", "aws_access_key_id", "ASIA...MPLE", "[redacted]"),
        ("engtok_" + "aZ-_" * 10 + "xyz", "engine_token", "engt..._xyz", "[redacted]"),
        (f"Authorization: {BEARER}\n", "bearer_token", "Bear...yz==", "Authorization: [redacted]\n"),
        ("bearer  0123456789", "bearer_token", "bear...6789", "[redacted]"),
        ("BEARER aBcDeFgH", "bearer_token", "BEAR...eFgH", "[redacted]"),
    ],
)
def test_a_secret_is_replaced_and_reported(text: str, rule_id: str, preview: str, left: str) -> None:
    found = scan({"content_md": text})
    assert found.data == {"content_md": left}
    assert [(match.rule_id, match.match_preview) for match in found.matches] == [(rule_id, preview)]
    assert (found.found, found.match_count, found.rule_ids) == (True, 1, [rule_id])
    assert redact_text(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sk-short",
        "sk-" + "x" * 19,
        "risk-aversionaversionaversionaversion",
        "a task-oriented disk-based desk-" + "x" * 30,
        "ghp_tooshort",
        "engtok_" + "0123456789abcdef" * 2,
        "engtok_" + "a" * 42,
        "xghp_" + "a" * 30,
        "though_" + "a" * 30,
        "AKIA",
        "AKIAIOSFODNN7EXAMPL",
        "AKIAIOSFODNN7EXAMPLES",
        "xAKIAIOSFODNN7EXAMPLE",
        "akiaiosfodnn7example",
        "bearer of bad news",
        "the Bearer authentication scheme",
        "forbearer a1b2c3d4e5f6",
        "Bearer",
        "[redacted]",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    data = {"content_md": text}
    found = scan(data)
    assert found == Scan(data)
    assert found.data is data
    assert redact_text(text) == text


def test_it_looks_everywhere() -> None:
    data = {
        "input": {"list": [1, None, True, 1.5, {"deep": [[f"a {OPENAI} b {AWS}"]]}], GITHUB: "key", "n": 5},
        "labels": [BEARER, "x"],
    }
    found = scan(data)
    assert found.data == {
        "input": {
            "list": [1, None, True, 1.5, {"deep": [["a [redacted] b [redacted]"]]}],
            "[redacted]": "key",
            "n": 5,
        },
        "labels": ["[redacted]", "x"],
    }
    assert found.match_count == 4
    assert found.rule_ids == ["openai_api_key", "aws_access_key_id", "github_pat", "bearer_token"]
    assert OPENAI in str(data), "what was given is not changed"


def test_keys_that_become_equal_all_stay() -> None:
    found = scan({GITHUB: 1, GITHUB + "x": 2, "[redacted]": 3, GITHUB + "y": 4})
    assert sorted(found.data.values()) == [1, 2, 3, 4]
    assert GITHUB not in str(found.data)


def test_the_report_is_cut_and_the_redaction_is_not() -> None:
    found = scan({"texts": [f"{OPENAI}{number}" for number in range(100)]})
    assert len(found.matches) == scanner.MAX_MATCHES
    assert found.match_count == 100
    assert found.data == {"texts": ["[redacted]"] * 100}


def test_a_secret_far_behind_is_found() -> None:
    found = scan({"content_md": "x " * 250_000 + OPENAI})
    assert found.match_count == 1
    assert OPENAI not in found.data["content_md"]


def test_short_finds_show_nothing() -> None:
    assert dlp.preview("12345678") == "********"
    assert dlp.preview("123456789") == "1234...6789"


def test_given_json_is_believed() -> None:
    data = {"content_md": OPENAI}
    assert scan(data, orjson.dumps(data)).found
    assert not scan(data, b"{}").found


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text()
    | st.sampled_from([OPENAI, GITHUB, AWS, BEARER]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
fragments = st.lists(st.sampled_from([OPENAI, GITHUB, AWS, BEARER, " ", "x", "sk-", "Bearer ", "\n"]), max_size=8)


@given(st.dictionaries(st.text(max_size=8), json_values, max_size=4))
def test_nothing_is_left_and_nothing_else_changes(data: dict[str, Any]) -> None:
    try:
        raw = orjson.dumps(data)
    except TypeError:  # a lone surrogate never gets this far
        return
    found = scan(data)
    text = str(found.data)
    assert not any(secret in text for secret in (OPENAI, GITHUB, AWS, BEARER))
    assert scan(found.data) == Scan(found.data)
    if not found.found:
        assert found.data is data
    else:
        assert suspicious(raw)


@given(fragments)
def test_redacted_text_is_stable(parts: list[str]) -> None:
    once = redact_text("".join(parts))
    assert redact_text(once) == once


@pytest.mark.parametrize(
    "text",
    [
        "sk-" * 150_000,
        "sk-" + "a" * 450_000 + "!",
        "sk-proj-" * 50_000,
        "gh" * 200_000,
        "ghp_" * 100_000,
        "github_pat_" * 40_000,
        "AKIA" * 100_000,
        "Bearer " * 60_000,
        "Bearer" + " " * 450_000,
        "Bearer a-a-" * 40_000,
    ],
    ids=lambda text: text[:12],
)
def test_hostile_text_takes_linear_time(text: str) -> None:
    started = time.process_time()
    scan({"content_md": text})
    assert time.process_time() - started < 2, "backtracking would take minutes"
