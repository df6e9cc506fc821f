"""Puts on record that an answer has reached somebody who waited for it: ``approval.delivered``, once for each approval.

It is noted after the fact and beside it: who waits is never kept waiting for that.
"""

import asyncio
from typing import Final

import asyncpg
import structlog

from agentos_api.append.submission import Answer, Outcome
from agentos_api.commands import Caller, Commands
from agentos_shared.domain import principals
from agentos_shared.domain.errors import DomainError, TryLater
from agentos_shared.host.lifecycle import CLOCK, Clock

log = structlog.get_logger("agentos.approvals")

ACTOR_ID: Final = "approvals"
COMMAND: Final = "approval.deliver"
#: Deliveries that wait to be put on record; what comes beyond is left out.
MAX_WAITING: Final = 10_000
RETRY_S: Final = 1.0


class Deliveries:
    """What this process has handed out."""

    def __init__(self, clock: Clock = CLOCK) -> None:
        self._clock = clock
        self._noted: dict[tuple[str, str], None] = {}
        self._wake = asyncio.Event()

    def note(self, workspace_id: str, approval_id: str) -> None:
        """Somebody who waited has the answer."""
        if len(self._noted) < MAX_WAITING:
            self._noted[workspace_id, approval_id] = None
            self._wake.set()

    async def run(self, commands: Commands) -> None:
        """Put on record what is noted, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._noted:
                workspace_id, approval_id = next(iter(self._noted))
                actor = principals.actor(workspace_id, "service", ACTOR_ID)
                caller = Caller(workspace_id, COMMAND, COMMAND, actor)
                kind = commands.service_types[COMMAND]
                try:
                    await commands.serve(kind, caller, {"approval_id": approval_id}, None, _render)
                except (TryLater, OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                    log.warning("delivery_waits", approval_id=approval_id, error=f"{type(error).__name__}: {error}")
                    await self._clock.sleep(RETRY_S)
                    continue
                except DomainError as error:
                    log.warning("delivery_not_recorded", approval_id=approval_id, error=str(error))
                self._noted.pop((workspace_id, approval_id), None)


def _render(outcome: Outcome) -> Answer:
    return Answer(outcome.status if isinstance(outcome, DomainError) else 200, b"")
