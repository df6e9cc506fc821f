"""What the gate knows, read from the event store and kept in memory; the store is asked at every decision.

Nothing here is remembered beyond this process, so several of them need no agreement: each is as fresh as its last
question. Before any decision the workspace's own stream and the stream of the request's room are read up to their
heads, and so are the streams that the API names: it has committed to them a moment ago. What happened in any other
room is asked for every :data:`SWEEP_S`.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final, TypeAlias

import asyncpg

from agentos_policy.known import ALL_CHANGES, APPROVAL_ENDS, CHANGES, Known
from agentos_shared.domain.envelope import Event, Stream, Zone
from agentos_shared.domain.policy.facts import Facts, KillSwitch, Request
from agentos_shared.host.lifecycle import Clock
from agentos_shared.store import statements
from agentos_shared.store.reader import Connection, event_of, read_entities

SQL: Final = statements.load("agentos_policy", "book.sql")
#: Seconds for which other rooms are believed not to have changed.
SWEEP_S: Final = 0.1
#: How far back a sweep looks: longer than any append takes from its time stamp to its commit.
REACH_S: Final = 40
#: A workspace that was not asked for that long is read anew.
IDLE_S: Final = 600.0
MAX_WORKSPACES: Final = 500
MAX_ZONES: Final = 50_000

#: By workspace: streams, and how far they have come.
Positions: TypeAlias = Mapping[str, Mapping[Stream, int]]


class Behind(Exception):
    """The store does not have what the API says that it has committed."""


class Book:
    """What is known of all workspaces that are in use.

    Args:
        forced: kill switches that the environment engages.
    """

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", clock: Clock, forced: tuple[KillSwitch, ...] = ()) -> None:
        self._pool = pool
        self._forced = forced
        self._clock = clock
        self._workspaces: OrderedDict[str, Known] = OrderedDict()
        self._zones: OrderedDict[str, Zone] = OrderedDict()

    async def refresh(self, requests: Sequence[Request], positions: Positions) -> None:
        """Learn all that was committed before this call and concerns these requests.

        Args:
            positions: by workspace: streams, and how far each must have come.

        Raises:
            Behind. OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError: the store does not answer.
        """
        async with self._pool.acquire() as connection:
            workspaces: dict[str, Known] = {}
            for workspace_id in {request.workspace_id for request in requests}:
                workspaces[workspace_id] = await self._workspace(connection, workspace_id)
            await self._read_zones(connection, requests)
            await self._follow(connection, workspaces, requests, positions)
            for workspace_id, known in workspaces.items():
                if self._clock.monotonic() - known.swept_at >= SWEEP_S:
                    await self._sweep(connection, workspace_id, known)

    def facts(self, request: Request, now: datetime) -> Facts:
        """What a request of the last :meth:`refresh` is decided on."""
        facts = self._workspaces[request.workspace_id].facts(request, now)
        return replace(facts, kill_switches=(*self._forced, *facts.kill_switches)) if self._forced else facts

    def zone(self, entity_id: str | None) -> Zone | None:
        """The zone of a room or run of the last :meth:`refresh`."""
        return None if entity_id is None else self._zones.get(entity_id)

    async def _workspace(self, connection: Connection, workspace_id: str) -> Known:
        known = self._workspaces.get(workspace_id)
        if known is None or self._clock.monotonic() - known.swept_at > IDLE_S:
            known = self._workspaces[workspace_id] = await self._load(connection, workspace_id)
        self._workspaces.move_to_end(workspace_id)
        if len(self._workspaces) > MAX_WORKSPACES:
            self._workspaces.popitem(last=False)
        return known

    async def _load(self, connection: Connection, workspace_id: str) -> Known:
        began = self._clock.monotonic()
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            heads = await connection.fetch(SQL["heads"], workspace_id)
            rows = await connection.fetch(SQL["load"], workspace_id, list(CHANGES), list(APPROVAL_ENDS))
        known = Known({Stream(row["stream_type"], row["stream_id"]): row["seq"] for row in heads}, began)
        lives: dict[str, list[Event]] = {}
        for row in rows:
            lives.setdefault(row["entity_id"], []).append(event_of(row))
        for life in lives.values():
            known.learn(life)
        return known

    async def _follow(
        self,
        connection: Connection,
        workspaces: Mapping[str, Known],
        requests: Sequence[Request],
        positions: Positions,
    ) -> None:
        owners: dict[Stream, Known] = {}
        for request in requests:
            known = workspaces[request.workspace_id]
            owners[Stream("workspace", request.workspace_id)] = known
            if request.room_id is not None:
                owners[Stream("room", request.room_id)] = known
        least: dict[Stream, int] = {}
        for workspace_id, known in workspaces.items():
            for stream, seq in positions.get(workspace_id, {}).items():
                owners[stream] = known
                least[stream] = seq
        streams = sorted(owners)
        rows = await connection.fetch(
            SQL["moved"],
            [stream.type for stream in streams],
            [stream.id for stream in streams],
            [owners[stream].heads.get(stream, 0) for stream in streams],
            list(ALL_CHANGES),
        )
        heads = {Stream(row["stream_type"], row["stream_id"]): row["seq"] for row in rows}
        if any(heads.get(stream, 0) < seq for stream, seq in least.items()):
            raise Behind("the store is behind what was committed to it")
        changed = [(row["ids"], owners[Stream(row["stream_type"], row["stream_id"])]) for row in rows if row["ids"]]
        await self._learn(connection, changed)
        for stream, seq in heads.items():
            owners[stream].heads[stream] = seq

    async def _sweep(self, connection: Connection, workspace_id: str, known: Known) -> None:
        began = self._clock.monotonic()
        reach_s = began - known.swept_at + REACH_S
        rows = await connection.fetch(SQL["lately"], workspace_id, list(ALL_CHANGES), reach_s)
        news = [row["entity_id"] for row in rows if row["entity_version"] > known.version(row["entity_id"])]
        await self._learn(connection, [(news, known)])
        known.swept_at = began

    async def _learn(self, connection: Connection, changed: Sequence[tuple[Sequence[str], Known]]) -> None:
        wanted = sorted({entity_id for ids, _ in changed for entity_id in ids})
        if not wanted:
            return
        lives = await read_entities(connection, wanted)
        for ids, known in changed:
            for entity_id in ids:
                known.learn(lives[entity_id])

    async def _read_zones(self, connection: Connection, requests: Iterable[Request]) -> None:
        wanted = {name for request in requests for name in (request.room_id, request.run_id) if name is not None}
        missing = wanted - self._zones.keys()
        if missing:
            for row in await connection.fetch(SQL["zones"], sorted(missing)):
                self._zones[row["entity_id"]] = row["zone"]
        for entity_id in wanted & self._zones.keys():
            self._zones.move_to_end(entity_id)
        while len(self._zones) > MAX_ZONES:
            self._zones.popitem(last=False)
