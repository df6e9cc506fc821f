"""Requests that a process of the gateway left behind when it died: nobody knows what came of those that were sent."""

from typing import Any, Final

import asyncpg
import structlog

from agentos_gateway.bus import GatewayBus, Unanswered
from agentos_gateway.requests.sends import SQL, Sends
from agentos_shared.host.lifecycle import Clock

log = structlog.get_logger("agentos.gateway")

EVERY_S: Final = 2.0
LOST: Final = {"error_code": "gateway_lost", "detail": "The gateway ended before the outcome was on record."}


class Recovery:
    """Settles what was left behind, at the start and then every few seconds."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", bus: GatewayBus, sends: Sends, clock: Clock) -> None:
        self._pool = pool
        self._bus = bus
        self._sends = sends
        self._clock = clock

    async def settle_forever(self) -> None:
        """For ever."""
        while True:
            try:
                while self._bus.connected and await self._settle_one():
                    pass
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, Unanswered) as error:
                log.warning("left_sends_wait", error=f"{type(error).__name__}: {error}")
            await self._clock.sleep(EVERY_S)

    async def _settle_one(self) -> bool:
        """Whether there was one."""
        async with self._pool.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(SQL["left"], self._sends.holder)
            if row is None:
                return False
            await self._settle(row["workspace_id"], row["egress_request_id"], row["unsent"])
            await connection.execute(SQL["settled"], row["egress_request_id"])
        return True

    async def _settle(self, workspace_id: str, request_id: str, unsent: bool) -> None:
        """Put on record what is known. Raises Unanswered: it stays, and is tried again."""
        about: dict[str, Any] = {"workspace_id": workspace_id, "egress_request_id": request_id}
        finish = {**about, "sender": None, "result": "outcome_unknown", "unsent": unsent, "outcome": LOST}
        answer = await self._bus.command("egress", "finish", finish)
        if answer["status"] >= 500:
            raise Unanswered(f"{request_id}: {answer['detail']}")
        found = await self._sends.standing(request_id, workspace_id)
        log.warning("left_send_settled", egress_request_id=request_id, stands=found and found[0])
        if found is not None and found[0] == "egress.outcome_unknown":
            await self._bus.command("incident", "open", _incident(workspace_id, request_id))


def _incident(workspace_id: str, request_id: str) -> dict[str, Any]:
    return {
        "workspace_id": workspace_id,
        "title": "A request was sent and its outcome is not known",
        "summary": f"The gateway ended while {request_id} was on its way. Look at the target, then reconcile it.",
        "severity": "medium",
        "idempotency_key": f"egress_outcome_unknown:{request_id}",
    }
