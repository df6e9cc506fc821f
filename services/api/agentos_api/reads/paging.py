"""Pages of a list: ``limit``, and the opaque ``cursor`` that names the last row seen (keyset, never an offset).

A cursor holds the sort key of a row, so a page stays right while others write: no row is seen twice, and none that was
there from the start is skipped.
"""

import base64
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias, TypeVar
from uuid import UUID

import orjson

from agentos_shared.domain.errors import Invalid

Row = TypeVar("Row")
Key: TypeAlias = tuple[datetime | int | str | UUID, ...]

#: Sorts before and after every time that Postgres and Python both hold.
EARLIEST: Final = datetime(1, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
MAX_SEQ: Final = 2**63 - 1

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_CURSOR_LENGTH: Final = 512
_DIGITS: Final = re.compile(r"[0-9]{1,19}")


def limit_of(text: str | None, default: int, maximum: int = 200) -> int:
    """The page size.

    Raises:
        Invalid: ``invalid_limit`` when it is not a whole number in 1..maximum.
    """
    if text is None:
        return default
    if not _DIGITS.fullmatch(text) or not 1 <= int(text) <= maximum:
        raise Invalid("invalid_limit", f"limit must be a whole number from 1 to {maximum}.")
    return int(text)


def seq_of(text: str, code: str) -> int:
    """A stream position from a query parameter.

    Raises:
        Invalid: ``code`` when it is not a whole number in 0..2^63-1.
    """
    if not _DIGITS.fullmatch(text) or int(text) > MAX_SEQ:
        raise Invalid(code, f"A position is a whole number from 0 to {MAX_SEQ}.")
    return int(text)


def time_of(text: str, code: str) -> datetime:
    """A point in time from a query parameter: RFC 3339, or Postgres text; without an offset it is UTC.

    Raises:
        Invalid: ``code`` when it is none.
    """
    # An unescaped "+" of an offset arrives as a blank.
    repaired = re.sub(r" (?=\d\d(:?\d\d)?$)", "+", text.strip())
    try:
        moment = datetime.fromisoformat(repaired)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Invalid(code, "A time is written like 2026-11-24T05:30:00.123Z.") from None


@dataclass(frozen=True, slots=True)
class Order:
    """How a list is sorted, by the key of its rows.

    Args:
        name: the list's; a cursor of another list is refused.
        start: the key before the first row; the types of its parts are those of every key.
    """

    name: str
    start: Key

    def after(self, cursor: str | None) -> Key:
        """The key in a cursor, or the start.

        Raises:
            Invalid: ``invalid_cursor`` when this list did not give it out.
        """
        if not cursor:  # a form sends an empty one for none
            return self.start
        refusal = Invalid(
            "invalid_cursor",
            "The cursor is not one that this list gave out; start without it.",
        )
        if len(cursor) > _MAX_CURSOR_LENGTH or not cursor.isascii():
            raise refusal
        try:
            padded = cursor + "=" * (-len(cursor) % 4)
            name, *parts = orjson.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
            if name != self.name:
                raise refusal
            return tuple(_part(value, type(first)) for value, first in zip(parts, self.start, strict=True))
        except (ValueError, TypeError, OverflowError):
            raise refusal from None

    def page(self, rows: Sequence[Row], limit: int, key: Callable[[Row], Key]) -> tuple[Sequence[Row], str | None]:
        """The first ``limit`` of rows asked for with ``limit + 1``, and the cursor after them (None at the end)."""
        if len(rows) <= limit:
            return rows, None
        return rows[:limit], self._cursor(key(rows[limit - 1]))

    def _cursor(self, key: Key) -> str:
        wire = [_microseconds(part) if isinstance(part, datetime) else part for part in key]
        return base64.urlsafe_b64encode(orjson.dumps([self.name, *wire])).rstrip(b"=").decode("ascii")


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _part(value: Any, kind: type) -> Any:
    if kind is datetime and type(value) is int:
        return _EPOCH + timedelta(microseconds=value)
    if issubclass(kind, UUID) and type(value) is str:
        return UUID(value)
    if kind is int and type(value) is int and 0 <= value <= MAX_SEQ:
        return value
    if kind is str and type(value) is str and "\x00" not in value:
        return value
    raise ValueError("not a key")
