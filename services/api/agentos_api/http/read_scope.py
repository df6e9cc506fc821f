"""What credentials that cover some rooms may read: what is in these rooms, and nothing else.

A read is let through when its path or its query names an entity of such a room, in a place where the answer is bound
to it. Everything that is not listed here is refused, so that a new route is closed to them at first.
"""

from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qs
from uuid import UUID

import asyncpg

from agentos_api.append.locator import Locator
from agentos_api.http.access import Identity
from agentos_shared.domain.errors import TryLater
from agentos_shared.store import statements

SQL: Final = statements.load("agentos_api.http", "read_scope.sql")
TIMEOUT_S: Final = 5.0

#: Tells nothing of what is in rooms, or is bound by its route (the list of rooms).
_FOR_ALL: Final = frozenset(
    {"/v1/rooms", "/v1/action-registry", "/v1/policy/kill-switch", "/openapi.json", "/asyncapi.json", "/docs"}
)
#: Lists, by the parameters of which each binds what is answered.
_LISTS: Final[Mapping[str, tuple[str, ...]]] = {
    "/v1/approvals": ("room_id",),
    "/v1/artifacts": ("room_id", "run_id", "step_id"),
    "/v1/egress/requests": ("room_id", "run_id"),
    "/v1/events": ("room_id", "run_id"),
    "/v1/experiments": ("room_id",),
    "/v1/grants": ("room_id",),
    "/v1/incidents": ("room_id",),
    "/v1/runs": ("room_id",),
    "/v1/search": ("room_id",),
    "/v1/toolcalls": ("run_id", "step_id"),
}
#: ``/v1/<nouns>/<id>`` and what is below it.
_ENTITIES: Final = frozenset(
    {"approvals", "artifacts", "experiments", "incidents", "messages", "rooms", "runs", "threads", "toolcalls"}
)
#: What is below an approval and tells of others, wherever they are.
_OF_WORKSPACE: Final = frozenset({"similar"})
_UNREACHABLE: Final = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)


class ReadScope:
    """Holds reads to the rooms of the credentials that they come with."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", locator: Locator) -> None:
        self._pool = pool
        self._locator = locator

    async def require(self, identity: Identity, path: str, query: bytes) -> None:
        """Raises Forbidden: as :meth:`Identity.require_room`.

        Also TryLater: ``store_unavailable``.
        """
        if identity.rooms is None or path in _FOR_ALL:
            return
        parts = path.split("/")
        if path in _LISTS:
            await self._named(identity, _LISTS[path], query)
        elif len(parts) == 4 and parts[2] == "events":
            await self._event(identity, parts[3])
        elif len(parts) > 4 and parts[2] == "approvals" and parts[4] in _OF_WORKSPACE:
            identity.require_room(None)
        elif len(parts) > 3 and parts[2] in _ENTITIES:
            await self._entity(identity, parts[3], unknown_passes=True)
        else:
            identity.require_room(None)

    async def _named(self, identity: Identity, names: tuple[str, ...], query: bytes) -> None:
        try:
            # As the routes read it: of a name that stands twice, they would take the last.
            given = parse_qs(query.decode("latin-1"), keep_blank_values=True, max_num_fields=100)
        except ValueError:
            given = {}
        for name in names:
            values = given.get(name, [])
            if len(values) == 1 and values[0]:
                await self._entity(identity, values[0], unknown_passes=False)
                return
        identity.require_room(None)

    async def _entity(self, identity: Identity, entity_id: str, *, unknown_passes: bool) -> None:
        """``unknown_passes``: the route answers 404 by itself."""
        try:
            location = await self._locator.find(entity_id)
        except _UNREACHABLE as error:
            raise _unavailable() from error
        if location is not None:
            identity.require_room(location.stream.id if location.stream.type == "room" else None)
        elif not unknown_passes:
            identity.require_room(None)

    async def _event(self, identity: Identity, event_id: str) -> None:
        try:
            wanted = UUID(event_id)
        except ValueError:
            return  # there is no such event
        try:
            stream = await self._pool.fetchrow(SQL["stream_of_event"], wanted, timeout=TIMEOUT_S)
        except _UNREACHABLE as error:
            raise _unavailable() from error
        if stream is not None:
            identity.require_room(stream["stream_id"] if stream["stream_type"] == "room" else None)


def _unavailable() -> TryLater:
    return TryLater("store_unavailable", "The store cannot be reached just now; try again.")
