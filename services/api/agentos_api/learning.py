"""What refusals of the gate lead to besides their events: agents that repeat them go into quarantine."""

import asyncio
from collections.abc import Sequence
from typing import Final

import asyncpg
import structlog

from agentos_api.append.appender import Committed
from agentos_api.append.submission import Answer, Outcome
from agentos_api.commands import Caller, Commands
from agentos_shared.domain import principals
from agentos_shared.domain.constraints import QUARANTINE_AFTER
from agentos_shared.domain.errors import DomainError, TryLater
from agentos_shared.domain.policy.learning import NO_MISTAKES
from agentos_shared.host.lifecycle import CLOCK, Clock

log = structlog.get_logger("agentos.policy")

ACTOR_ID: Final = "policy_guard"
COMMAND: Final = "agent.auto_quarantine"
RETRY_S: Final = 1.0


class Guard:
    """Puts agents into quarantine that go on asking for what they may not. It listens to this process's commits.

    What is lost when the process ends is found at the agent's next refusal: the count is in the events.
    """

    def __init__(self, commands: Commands, *, clock: Clock = CLOCK) -> None:
        self._commands = commands
        self._clock = clock
        self._wanted: dict[tuple[str, str], str] = {}
        self._wake = asyncio.Event()

    def on_commit(self, batch: Sequence[Committed]) -> None:
        """Note who has repeated a mistake too often."""
        for event in (committed.event for committed in batch):
            if event.event_type != "constraint.learned":
                continue
            data = event.data
            often = data["repeat_count"] >= QUARANTINE_AFTER and data["blocked"]
            if often and data["agent_id"] is not None and data["reason_code"] not in NO_MISTAKES:
                self._wanted.setdefault((event.workspace_id, data["agent_id"]), data["reason_code"])
                self._wake.set()

    async def run(self) -> None:
        """Do what was noted, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._wanted:
                (workspace_id, agent_id), reason_code = next(iter(self._wanted.items()))
                try:
                    await self._quarantine(workspace_id, agent_id, reason_code)
                except (TryLater, OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                    log.warning("quarantine_waits", agent_id=agent_id, error=f"{type(error).__name__}: {error}")
                    await self._clock.sleep(RETRY_S)
                    continue
                del self._wanted[workspace_id, agent_id]

    async def _quarantine(self, workspace_id: str, agent_id: str, reason_code: str) -> None:
        caller = Caller(workspace_id, COMMAND, COMMAND, principals.actor(workspace_id, "service", ACTOR_ID))
        body = {"agent_id": agent_id, "reason_code": reason_code}
        answer = await self._commands.serve(self._commands.service_types[COMMAND], caller, body, None, _render)
        if answer.status != 404:  # an agent that nobody registered cannot be held
            log.warning("agent_quarantined", agent_id=agent_id, reason_code=reason_code, status=answer.status)


def _render(outcome: Outcome) -> Answer:
    return Answer(outcome.status if isinstance(outcome, DomainError) else 200, b"")
