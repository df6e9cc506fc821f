"""Lists of one read model with optional filters, each served by the index of its most selective filter."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from agentos_api.reads.paging import LATEST, Order, limit_of
from agentos_api.reads.queries import Reader, Row, members, position_of, storable
from agentos_shared.domain.errors import Invalid
from agentos_shared.store import statements

SQL: Final = statements.load("agentos_api.reads", "listing.sql")
_FIRST_FILTER: Final = 8


class Listing:
    """One list endpoint's query.

    Args:
        name: the list's; part of its cursors.
        table: the read model. It has ``workspace_id``, and an index that ends in (``time``, ``key``) for the workspace
            and for each filter.
        key: its primary key; time: what it is sorted by, newest first.
        columns: what an entry shows; of these, documents: those that hold JSON.
        filters: columns that can be asked for, the most selective first.
        workspace_first: filters whose index begins with the workspace.
    """

    def __init__(
        self,
        name: str,
        table: str,
        *,
        key: str,
        time: str,
        columns: Sequence[str],
        documents: Sequence[str] = (),
        filters: Sequence[str] = (),
        workspace_first: Sequence[str] = (),
    ) -> None:
        self._order = Order(name, (LATEST, ""))
        self._key, self._time = key, time
        self._columns, self._documents, self._filters = columns, documents, filters
        places = {column: f"${_FIRST_FILTER + place}" for place, column in enumerate(filters)}
        conditions = "".join(f" and ({place}::text is null or {column} = {place})" for column, place in places.items())

        def statement(served: str) -> str:
            return SQL["page"].format(
                columns=", ".join(columns), table=table, served=served, time=time, key=key, filters=conditions
            )

        #: By the filter that its index serves; None: no filter.
        self.statements: Mapping[str | None, str] = {None: statement("workspace_id = $1")} | {
            column: statement(("workspace_id = $1 and " if column in workspace_first else "") + f"{column} = {place}")
            for column, place in places.items()
        }

    async def page(
        self,
        reader: Reader,
        asked: Mapping[str, str | None],
        limit: str | None,
        cursor: str | None,
        min_position: str | None,
    ) -> dict[str, Any]:
        """Entries and ``next_cursor``; an empty filter counts as absent.

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
            served = next((name for name, text in zip(self._filters, wanted, strict=True) if text), None)
            place = (position.seq, position.stream_type, position.stream_id)
            rows = await reader.page(self.statements[served], self._key, *place, *after, size + 1, *wanted)
        shown, next_cursor = self._order.page(rows, size, lambda row: (row[self._time], row[self._key]))
        return {"rows": [self.entry(row) for row in shown], "next_cursor": next_cursor}

    def entry(self, row: Row) -> dict[str, Any]:
        """A row as JSON members."""
        documents = {name: orjson.Fragment(row[name]) for name in self._documents}
        return members(row, self._columns) | documents


def one_of(text: str | None, allowed: Sequence[str], code: str) -> str | None:
    """A filter that has few values. An empty one counts as absent.

    Raises:
        Invalid: ``code``.
    """
    if text and text not in allowed:
        raise Invalid(code, f"It must be one of {', '.join(allowed)}.")
    return text or None
