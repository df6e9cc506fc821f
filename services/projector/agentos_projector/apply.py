"""Turning ranges of events into rows, inside Postgres: the one path of live projection, healing and rebuild."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import asyncpg

from agentos_projector.projections.projection import EVENTS, Projection
from agentos_shared.contracts.positions import Range
from agentos_shared.store.reader import Connection

_SURVEY: Final = f"select e.event_type, count(*) as events, min(e.recorded_at) as oldest from {EVENTS} group by 1"  # noqa: S608


class EventsMissing(Exception):
    """The store's head promises events that are not there: the history itself is damaged."""


class Applier:
    """The statements of some projections, aimed at the live tables or, with a suffix, at others.

    Args:
        on_batch: told the time at which the oldest event of each batch was recorded.
    """

    def __init__(self, projections: Sequence[Projection], suffix: str = "") -> None:
        self._projections = tuple(projections)
        self._suffix = suffix
        self._steps: dict[frozenset[str], list[str]] = {}
        self.oldest: datetime | None = None

    async def __call__(self, connection: Connection, ranges: Sequence[Range]) -> None:
        """Apply the events of these ranges within the connection's transaction.

        Raises:
            EventsMissing: fewer events than the ranges promise.
            asyncpg.PostgresError: as the statements fail.
        """
        columns = (
            [r.key.stream_type for r in ranges],
            [r.key.stream_id for r in ranges],
            [r.after for r in ranges],
            [r.upto for r in ranges],
        )
        found = await connection.fetch(_SURVEY, *columns)
        events = sum(row["events"] for row in found)
        if events != sum(r.events for r in ranges):
            raise EventsMissing(f"{sum(r.events for r in ranges)} events expected, {events} found in {_shown(ranges)}")
        for statement in self._statements(found):
            await connection.execute(statement, *columns)
        self.oldest = min(row["oldest"] for row in found)

    def _statements(self, found: Sequence[asyncpg.Record]) -> list[str]:
        types = frozenset(row["event_type"] for row in found)
        steps = self._steps.get(types)
        if steps is None:
            if len(self._steps) >= 1000:
                self._steps.clear()
            steps = [step for projection in self._projections for step in projection.steps(types, self._suffix)]
            self._steps[types] = steps
        return steps


def _shown(ranges: Sequence[Range]) -> str:
    first = ranges[0]
    rest = f" and {len(ranges) - 1} more" if len(ranges) > 1 else ""
    return f"{first.key.stream_type}/{first.key.stream_id} ({first.after}, {first.upto}]{rest}"
