"""Lists of what happened one after the other, oldest first, with optional filters that an index serves each.

The list of one run or step waits, as the read of one entity does, until it is as new as the store.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from agentos_api.reads.paging import EARLIEST, Order, limit_of
from agentos_api.reads.queries import Reader, Row, members, position_of, storable
from agentos_shared.store import statements

SQL: Final = statements.load("agentos_api.reads", "oldest_first.sql")
#: The key before the first row of a list that is sorted by time, place in the stream and id.
START: Final = (EARLIEST, 0, "")
_FIRST_FILTER: Final = 9


class OldestFirst:
    """One list endpoint's query.

    Args:
        name: the list's; part of its cursors.
        table: the read model. It has ``workspace_id``, and an index for each filter and for the workspace, which begins
            with that and goes on with (``time``, ``place``).
        key: its primary key; time: when a row began; place: where in its stream, which orders rows of one time.
        columns: what an entry shows; of these, documents: those that hold JSON.
        filters: columns that can be asked for, the most selective first.
    """

    def __init__(
        self,
        name: str,
        table: str,
        *,
        key: str,
        time: str,
        place: str,
        columns: Sequence[str],
        documents: Sequence[str],
        filters: Sequence[str],
    ) -> None:
        self._order = Order(name, START)
        self._key, self._sort = key, (time, place, key)
        self._columns, self._documents, self._filters = columns, documents, filters
        places = {column: f"${_FIRST_FILTER + number}" for number, column in enumerate(filters)}
        conditions = "".join(f" and ({at}::text is null or {column} = {at})" for column, at in places.items())

        def statement(served: str, current: str) -> str:
            names = {"table": table, "key": key, "time": time, "place": place, "current": current}
            return SQL["page"].format(columns=", ".join(columns), served=served, filters=conditions, **names)

        self._all = statement("workspace_id = $1", "true")
        self._by_filter = {
            column: statement(f"{column} = {at}", current(column, at) if column in ("run_id", "step_id") else "true")
            for column, at in places.items()
        }

    def statements(self) -> dict[str, str]:
        """By the filter that serves it, or ``workspace_id``: what is asked of Postgres."""
        return {"workspace_id": self._all, **self._by_filter}

    async def page(
        self,
        reader: Reader,
        asked: Mapping[str, str | None],
        limit: str | None,
        cursor: str | None,
        min_position: str | None,
    ) -> tuple[list[dict[str, Any]], str | None]:
        """Entries and the next cursor; an empty filter counts as absent.

        Raises:
            Invalid: ``invalid_limit``, ``invalid_cursor``, ``invalid_min_position``.
            TryLater: ``projection_behind``, ``query_timeout``, ``store_unavailable``.
        """
        size = limit_of(limit, 50)
        position = position_of(min_position)
        after = self._order.after(cursor)
        wanted = [asked.get(column) or None for column in self._filters]
        rows: Sequence[Row] = ()
        if all(storable(text) for text in wanted if text is not None):
            served = (self._by_filter[name] for name, text in zip(self._filters, wanted, strict=True) if text)
            place = (position.seq, position.stream_type, position.stream_id)
            rows = await reader.page(next(served, self._all), self._key, *place, *after, size + 1, *wanted)
        shown, next_cursor = self._order.page(rows, size, lambda row: tuple(row[part] for part in self._sort))
        return [self.entry(row) for row in shown], next_cursor

    def entry(self, row: Row) -> dict[str, Any]:
        """A row as JSON members."""
        return entry(row, self._columns, self._documents)


def current(column: str, value: str) -> str:
    """SQL: whether all that happened in a run or a step (``column``) is projected."""
    return SQL["current"].format(column=column, value=value)


def entry(row: Row, columns: Sequence[str], documents: Sequence[str]) -> dict[str, Any]:
    """These columns of a row as JSON members; documents arrive as JSON text, and go out as it is."""
    shown = members(row, columns)
    for name in documents:
        if (text := shown[name]) is not None:
            shown[name] = orjson.Fragment(text)
    return shown
