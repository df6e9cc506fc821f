"""Where entities live: facts that never change, so a process may remember them for ever."""

import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from agentos_api.append.appender import Committed
from agentos_shared.domain.catalog import AGGREGATES
from agentos_shared.domain.envelope import Stream
from agentos_shared.store.reader import SQL

MAX_KNOWN: Final = 100_000
#: Kinds of entities that others are found by: whatever something later decides on.
_PARENTS: Final = frozenset(name for name, aggregate in AGGREGATES.items() if aggregate.kept)
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Location:
    """What an entity is and which stream holds its whole life.

    Args:
        run_id, step_id: the run and the step that it belongs to (of a run its own id, of a step too).
        entity_id: its own id; empty for the workspace.
    """

    entity_type: str
    workspace_id: str
    stream: Stream
    run_id: str | None = None
    step_id: str | None = None
    entity_id: str = ""


class Locator:
    """Finds entities by id, from memory where they were seen before."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool
        self._known: OrderedDict[str, Location] = OrderedDict()

    def known(self, entity_id: str) -> Location | None:
        """The location, when it is remembered."""
        return self._known.get(entity_id)

    async def find(self, entity_id: str) -> Location | None:
        """The location of an entity, or None when there is no such."""
        location = self._known.get(entity_id)
        if location is not None:
            return location
        if _ID.fullmatch(entity_id) is None:
            return None
        row = await self._pool.fetchrow(SQL["locate_entities"], [entity_id])
        if row is None:
            return None
        stream = Stream(row["stream_type"], row["stream_id"])
        location = Location(row["entity_type"], row["workspace_id"], stream, row["run_id"], row["step_id"], entity_id)
        self._remember(entity_id, location)
        return location

    def on_commit(self, batch: Sequence[Committed]) -> None:
        """Note where new entities live, from their first events."""
        for event in (committed.event for committed in batch):
            if event.entity_version == 1 and event.entity_type in _PARENTS:
                place = event.stream, event.run_id, event.step_id, event.entity_id
                self._remember(event.entity_id, Location(event.entity_type, event.workspace_id, *place))

    def _remember(self, entity_id: str, location: Location) -> None:
        self._known[entity_id] = location
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
