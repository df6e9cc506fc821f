"""Turning ranges of events into rows, inside Postgres: the one path of live projection, healing and rebuild."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import asyncpg

from agentos_projector import tables
from agentos_projector.projections.projection import Projection
from agentos_shared.contracts.positions import Range
from agentos_shared.store.reader import Connection


class EventsMissing(Exception):
    """The store's head promises events that are not there: the history itself is damaged."""


class Applier:
    """The statements of some projections, aimed at the live tables or, with a suffix, at others."""

    def __init__(self, projections: Sequence[Projection], suffix: str = "") -> None:
        self._steps: Final = [step for projection in projections for step in projection.steps(suffix)]
        #: When the oldest event of the last batch was recorded.
        self.oldest: datetime | None = None

    async def __call__(self, connection: Connection, ranges: Sequence[Range]) -> None:
        """Apply the events of these ranges within the connection's transaction.

        Raises:
            EventsMissing: fewer events than the ranges promise.
            asyncpg.PostgresError: as the statements fail.
        """
        found = await connection.fetch(tables.SQL["survey"], *_columns(ranges))
        promised, events = sum(r.events for r in ranges), sum(row["events"] for row in found)
        if events != promised:
            raise EventsMissing(f"{promised} events expected, {events} found in {_shown(ranges)}")
        for types, statement in self._steps:
            if narrowed := _narrow(ranges, found, types):
                await connection.execute(statement, *_columns(narrowed))
        self.oldest = min(row["oldest"] for row in found)


def _narrow(ranges: Sequence[Range], found: Sequence[asyncpg.Record], types: frozenset[str]) -> list[Range]:
    """The parts of the ranges that hold all events of these types: a statement need not read past the others."""
    bounds: dict[int, tuple[int, int]] = {}
    for row in found:
        if row["event_type"] in types:
            first, last = bounds.get(row["ordinal"], (row["first"], row["last"]))
            bounds[row["ordinal"]] = (min(first, row["first"]), max(last, row["last"]))
    return [Range(ranges[ordinal - 1].key, first - 1, last) for ordinal, (first, last) in bounds.items()]


def _columns(ranges: Sequence[Range]) -> tuple[list[str], list[str], list[int], list[int]]:
    return (
        [r.key.stream_type for r in ranges],
        [r.key.stream_id for r in ranges],
        [r.after for r in ranges],
        [r.upto for r in ranges],
    )


def _shown(ranges: Sequence[Range]) -> str:
    first = ranges[0]
    rest = f" and {len(ranges) - 1} more" if len(ranges) > 1 else ""
    return f"{first.key.stream_type}/{first.key.stream_id} ({first.after}, {first.upto}]{rest}"
