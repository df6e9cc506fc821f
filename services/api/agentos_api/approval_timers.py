"""What time brings about: requests that nobody decided expire, held ones wake, what was allowed lapses.

The timers are rows of the projection, so that they survive every process. What this process commits for the near future
is remembered here as well: the projection may be a moment behind. Of several processes that see to the same timer one
appends, and the others find it done.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, TypeAlias

import asyncpg
import structlog

from agentos_api.append.appender import Committed
from agentos_api.append.submission import Answer, Outcome
from agentos_api.commands import Caller, Commands
from agentos_api.reads.paging import EARLIEST
from agentos_shared.domain import principals
from agentos_shared.domain.approval_life import TIMELESS, due_after
from agentos_shared.domain.errors import DomainError
from agentos_shared.host import metrics
from agentos_shared.host.lifecycle import CLOCK, RNG, Clock, Rng
from agentos_shared.store import statements

log = structlog.get_logger("agentos.approvals")

SQL: Final = statements.load("agentos_api", "approval_timers.sql")
ACTOR_ID: Final = "approvals"
COMMAND: Final = "approval.expire"
#: Seconds between looks at the projection, and how far each looks ahead.
LOOK_S: Final = 1.0
AHEAD: Final = timedelta(seconds=3)
PAGE: Final = 500
#: Seconds for which one is left alone that could not be done: its time stands still, or another process was first.
ASLEEP_S: Final = 5.0
TIMEOUT_S: Final = 5.0

FIRED: Final = metrics.counter("approval_timers_fired", "Timers of approvals whose time had come.")

DONE: Final = 200
NOTHING_DONE: Final = 204

#: (workspace, approval)
Key: TypeAlias = tuple[str, str]


class ApprovalTimers:
    """The timers of this process."""

    def __init__(
        self,
        pool: "asyncpg.Pool[asyncpg.Record]",
        commands: Commands,
        *,
        clock: Clock = CLOCK,
        rng: Rng = RNG,
    ) -> None:
        self._pool = pool
        self._commands = commands
        self._clock = clock
        self._rng = rng
        self._near: dict[Key, datetime] = {}
        self._asleep: dict[Key, float] = {}
        self._wake = asyncio.Event()

    def on_commit(self, batch: Sequence[Committed]) -> None:
        """Note what this process has just committed."""
        for event in (committed.event for committed in batch):
            if event.entity_type == "kill_switch":  # time stands still, or goes on
                self._asleep.clear()
            if event.entity_type != "approval" or event.event_type in TIMELESS:
                continue
            key = event.workspace_id, event.entity_id
            self._asleep.pop(key, None)
            due = due_after(event)
            if due is not None and due <= self._clock.now() + AHEAD:
                self._near[key] = due
                self._wake.set()
            else:
                self._near.pop(key, None)

    async def run(self) -> None:
        """Do what is due, for ever."""
        while True:
            await self._look()
            again = self._clock.monotonic() + LOOK_S * (0.75 + self._rng.random() / 2)
            while (left := again - self._clock.monotonic()) > 0:
                self._wake.clear()
                await self._fire()
                await self._sleep(min(left, self._until_next(left)))
            await self._fire()

    async def _look(self) -> None:
        now = self._clock.monotonic()
        self._asleep = {key: until for key, until in self._asleep.items() if until > now}
        upto, place = self._clock.now() + AHEAD, (EARLIEST, "")
        while True:
            try:
                rows = await self._pool.fetch(SQL["near"], upto, *place, PAGE, timeout=TIMEOUT_S)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.debug("approval_timers_unread", error=f"{type(error).__name__}: {error}")
                return
            for row in rows:
                key = row["workspace_id"], row["approval_id"]
                if key not in self._asleep:
                    self._near.setdefault(key, row["due_at"])
            if len(rows) < PAGE:
                return
            place = rows[-1]["due_at"], rows[-1]["approval_id"]

    def _until_next(self, otherwise: float) -> float:
        if not self._near:
            return otherwise
        return max(0.001, (min(self._near.values()) - self._clock.now()).total_seconds())

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _fire(self) -> None:
        now = self._clock.now()
        due = [key for key, at in self._near.items() if at <= now]
        for key in due:
            del self._near[key]  # what could not be done now is found again by the next look
        if due:
            FIRED.inc(len(due))
            await asyncio.gather(*(self._expire(*key) for key in due))

    async def _expire(self, workspace_id: str, approval_id: str) -> None:
        actor = principals.actor(workspace_id, "service", ACTOR_ID)
        caller = Caller(workspace_id, COMMAND, COMMAND, actor)
        kind = self._commands.service_types[COMMAND]
        try:
            answer = await self._commands.serve(kind, caller, {"approval_id": approval_id}, None, _render)
            done = answer.status == DONE
        except Exception as error:
            log.warning("approval_timer_failed", approval_id=approval_id, error=f"{type(error).__name__}: {error}")
            done = False
        if not done:
            self._asleep[workspace_id, approval_id] = self._clock.monotonic() + ASLEEP_S


def _render(outcome: Outcome) -> Answer:
    return Answer(DONE if outcome and not isinstance(outcome, DomainError) else NOTHING_DONE, b"")
