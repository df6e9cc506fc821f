"""Limits, positions, times and cursors of lists."""

import base64
from datetime import UTC, datetime
from uuid import UUID

import orjson
import pytest

from agentos_api.reads.paging import EARLIEST, LATEST, MAX_SEQ, Order, limit_of, seq_of, time_of
from agentos_api.reads.queries import Position, position_of
from agentos_shared.domain.errors import Invalid

BY_TIME = Order("events", (EARLIEST, UUID(int=0)))
ROOMS = Order("rooms", (LATEST, ""))


@pytest.mark.parametrize("text", ["", "0", "-1", "201", "many", "1.0", "1e2", " 5", "+5", "9" * 30, "\u0665"])
def test_a_limit_out_of_range_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        limit_of(text, 50)
    assert refused.value.code == "invalid_limit"


def test_a_limit_in_range_is_taken() -> None:
    assert [limit_of(None, 50), limit_of("1", 50), limit_of("200", 50)] == [50, 1, 200]


@pytest.mark.parametrize("text", ["-1", "1.5", "x", "", str(MAX_SEQ + 1), "9" * 25])
def test_a_position_out_of_range_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        seq_of(text, "invalid_from_seq")


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-24T05:30:00.123Z",
        "2026-11-24T06:30:00.123+01:00",
        "2026-11-24 05:30:00.123+00",
        "2026-11-24T05:30:00.123 00:00",
        "2026-11-24T05:30:00.123",
    ],
)
def test_both_forms_of_time_on_the_wire_are_understood(text: str) -> None:
    assert time_of(text, "invalid_before") == datetime(2026, 11, 24, 5, 30, 0, 123000, UTC)


@pytest.mark.parametrize("text", ["yesterday-ish", "", "17", "2026-13-01", "0001-01-01T00:00:00+14:00", "\x00"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        time_of(text, "invalid_before")
    assert refused.value.code == "invalid_before"


def test_a_cursor_comes_back_exactly() -> None:
    rows = [(datetime(2026, 1, 1, 0, 0, 0, n, UTC), UUID(int=n)) for n in range(4)]
    shown, cursor = BY_TIME.page(rows, 3, lambda row: row)
    assert shown == rows[:3]
    assert cursor is not None
    assert BY_TIME.after(cursor) == rows[2]


def test_the_last_page_has_no_cursor_and_the_first_starts_before_all() -> None:
    assert ROOMS.page([], 3, lambda row: row) == ([], None)
    assert ROOMS.page([(LATEST, "a")], 1, lambda row: row)[1] is None
    assert ROOMS.after(None) == (LATEST, "")
    assert ROOMS.after("") == (LATEST, "")


@pytest.mark.parametrize(
    "value",
    [
        ["events", 1, "r"],
        ["rooms"],
        ["rooms", 1],
        ["rooms", 1, 2],
        ["rooms", 1, "r", 3],
        ["rooms", "1", "r"],
        ["rooms", 10**18, "r"],
        ["rooms", 1, "\x00"],
        [],
        {},
        7,
    ],
)
def test_a_cursor_of_another_list_or_shape_is_refused(value: object) -> None:
    cursor = base64.urlsafe_b64encode(orjson.dumps(value)).decode()
    with pytest.raises(Invalid) as refused:
        ROOMS.after(cursor)
    assert refused.value.code == "invalid_cursor"


@pytest.mark.parametrize("cursor", ["abc", "\x00", "%%%", "a" * 10_000, "\u00e9", "W10="])
def test_a_garbled_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(Invalid):
        ROOMS.after(cursor)


def test_a_position_to_wait_for() -> None:
    assert position_of(None) == Position("", "", 0)
    assert position_of("room/room_1@17") == Position("room", "room_1", 17)


@pytest.mark.parametrize(
    "text", ["", "room/x", "room/x@", "room/x@-1", "thread/x@1", "room/a b@1", "room/x@1\n", f"room/x@{MAX_SEQ + 1}"]
)
def test_a_malformed_position_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        position_of(text)
    assert refused.value.code == "invalid_min_position"
