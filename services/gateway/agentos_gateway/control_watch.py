"""Whether anything has changed that decisions depend on: rules, kill switches, agents, capabilities, actions, labels,
constraints, policies.

Each workspace has an epoch, a number that grows with every such event. It is found by asking the store every
:data:`INTERVAL_S`, while decisions of the workspace are kept: what the bus brings may be late or lost, and a decision
that is kept must not outlive a kill switch. Policies are files; the policy service tells their hash. While either has
been silent for :data:`SILENCE_S` no epoch holds, so nothing that was kept is used.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg
import structlog

from agentos_shared.domain.catalog import EVENT_TYPES
from agentos_shared.domain.policy.facts import FACT_EVENTS, FACT_KINDS
from agentos_shared.host.lifecycle import Clock
from agentos_shared.store import statements

log = structlog.get_logger("agentos.gateway")

SQL: Final = statements.load("agentos_gateway", "control_watch.sql")
#: Events that may make another decision of what was decided before. Approvals are none: what they allow is not kept.
CONTROL_EVENTS: Final = (
    *(name for name, kind in EVENT_TYPES.items() if kind in FACT_KINDS - {"approval"}),
    *sorted(FACT_EVENTS),
)
INTERVAL_S: Final = 0.05
POLICIES_S: Final = 0.25
SILENCE_S: Final = 1.0
#: Longer than any append takes from its time stamp to its commit.
REACH_S: Final = 40.0
#: A workspace of which nothing was asked for that long is not watched any more.
IDLE_S: Final = 60.0
MAX_WORKSPACES: Final = 500
_LONG_AGO: Final = float("-inf")


class Epoch(NamedTuple):
    """As of when something was decided."""

    workspace_id: str
    changes: int
    policies: str


class _Watched:
    __slots__ = ("asked_at", "changes", "confirmed_at", "seen")

    def __init__(self, asked_at: float) -> None:
        self.asked_at = asked_at
        self.confirmed_at = _LONG_AGO
        self.changes = 0
        self.seen: frozenset[UUID] = frozenset()


class ControlWatch:
    """Tells epochs.

    Args:
        policies: asks the policy service for the hash of the policies in force.
    """

    def __init__(
        self, pool: "asyncpg.Pool[asyncpg.Record]", policies: Callable[[], Awaitable[str]], clock: Clock
    ) -> None:
        self._pool = pool
        self._ask_policies = policies
        self._clock = clock
        self._watched: OrderedDict[str, _Watched] = OrderedDict()
        self._wanted = asyncio.Event()
        self._policies = ""
        self._policies_at = _LONG_AGO

    def epoch(self, workspace_id: str) -> Epoch | None:
        """The epoch of a workspace now; None where it is not known, or not any more. The workspace is watched from
        here on.
        """
        now = self._clock.monotonic()
        watched = self._watched.get(workspace_id)
        if watched is None:
            watched = self._watched[workspace_id] = _Watched(now)
            if len(self._watched) > MAX_WORKSPACES:
                self._watched.popitem(last=False)
            self._wanted.set()
        watched.asked_at = now
        self._watched.move_to_end(workspace_id)
        if now - min(watched.confirmed_at, self._policies_at) > SILENCE_S:
            return None
        return Epoch(workspace_id, watched.changes, self._policies)

    async def watch_changes(self) -> None:
        """Ask the store, for ever."""
        while True:
            await self._some_wanted()
            try:
                await self.look()
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.warning("changes_unknown", error=f"{type(error).__name__}: {error}")
            await self._clock.sleep(INTERVAL_S)

    async def watch_policies(self) -> None:
        """Ask the policy service, for ever."""
        while True:
            await self._some_wanted()
            await self.look_at_policies()
            await self._clock.sleep(POLICIES_S)

    async def look(self) -> None:
        """Learn what changed since the last look.

        Raises:
            OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError: the store does not answer.
        """
        began = self._clock.monotonic()
        looked = dict(self._watched)
        last = min((watched.confirmed_at for watched in looked.values() if watched.changes), default=began)
        wanted = list(looked), list(CONTROL_EVENTS), REACH_S + began - last
        rows = await self._pool.fetch(SQL["changes"], *wanted, timeout=SILENCE_S)
        found = {row["workspace_id"]: frozenset(row["ids"]) for row in rows}
        for workspace_id, watched in looked.items():
            ids = found.get(workspace_id, frozenset())
            if not watched.changes or ids - watched.seen:
                watched.changes += 1
            watched.seen = ids
            watched.confirmed_at = began

    async def look_at_policies(self) -> None:
        """Learn which policies are in force. Without an answer nothing is learned."""
        began = self._clock.monotonic()
        try:
            self._policies = await self._ask_policies()
        except Exception as error:
            log.warning("policies_unknown", error=f"{type(error).__name__}: {error}")
            return
        self._policies_at = began

    async def _some_wanted(self) -> None:
        since = self._clock.monotonic() - IDLE_S
        for workspace_id in [name for name, watched in self._watched.items() if watched.asked_at < since]:
            del self._watched[workspace_id]
        if not self._watched:
            self._wanted.clear()
        await self._wanted.wait()
