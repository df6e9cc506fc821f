"""Limits as requests meet them: all of a request's at once, or none of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Final

import asyncpg
import structlog

from agentos_gateway.limits.gcra import Limit, limit_of
from agentos_shared.host import metrics
from agentos_shared.host.lifecycle import Clock
from agentos_shared.store import statements
from agentos_shared.store.reader import Connection

log = structlog.get_logger("agentos.gateway")

SQL: Final = statements.load("agentos_gateway.limits", "limits.sql")
EXCEEDED: Final = metrics.counter("gateway_limits_exceeded", "Requests that a limit has stopped.", ("reason_code",))
#: Reason codes: the limit of a rule, and the workspace's quota.
RATE_LIMITED: Final = "egress.rate_limited"
QUOTA_EXCEEDED: Final = "quota_exceeded"
#: How often limits of which all has come back are forgotten.
FORGET_S: Final = 600.0
_HOUR_S: Final = 3600


@dataclass(frozen=True, slots=True)
class Charge:
    """One of a limit that a request takes.

    Args:
        rule_id: the rule whose limit it is; None: the workspace's quota.
    """

    key: str
    limit: Limit
    rule_id: str | None

    @property
    def reason_code(self) -> str:
        """Why a request is refused that does not get it."""
        return QUOTA_EXCEEDED if self.rule_id is None else RATE_LIMITED


@dataclass(frozen=True, slots=True)
class Exceeded:
    """A limit that is used up.

    Args:
        retry_after_s: whole seconds after which one can be taken, if nobody else takes it.
    """

    charge: Charge
    retry_after_s: int

    def told(self) -> dict[str, Any]:
        """As answers and events tell it."""
        return {
            "reason_code": self.charge.reason_code,
            "rule_id": self.charge.rule_id,
            "burst": self.charge.limit.burst,
            "each_s": self.charge.limit.each.total_seconds(),
            "retry_after": self.retry_after_s,
        }


def charges(workspace_id: str, obligations: Iterable[Mapping[str, Any]], per_hour: int = 0) -> list[Charge]:
    """What a request takes.

    Args:
        obligations: of the decision that allows it.
        per_hour: requests of the workspace in an hour; 0: no quota.
    """
    found = [
        Charge(
            f"{workspace_id}/{one['rule_id']}/{one['subject'] or ''}",
            limit_of(one["requests"], one["per_s"], one["burst"]),
            one["rule_id"],
        )
        for one in obligations
        if one["type"] == "rate_limit"
    ]
    if per_hour:
        found.append(Charge(f"{workspace_id}/quota", limit_of(per_hour, _HOUR_S, per_hour), None))
    return sorted(found, key=lambda charge: charge.key)


class Limits:
    """The limits of all workspaces, shared by all processes of the gateway."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", clock: Clock) -> None:
        self._pool = pool
        self._clock = clock

    async def take(self, wanted: Sequence[Charge]) -> Exceeded | None:
        """Take one of each limit, or none of any where one is used up: that one is the answer.

        Args:
            wanted: in the order of :func:`charges`, so that requests do not wait for each other in a circle.

        Raises:
            OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError: Postgres does not answer; then it is
                not known whether they were taken, and nothing may leave.
        """
        if not wanted:
            return None
        async with self._pool.acquire() as connection:
            if len(wanted) == 1:
                refused = None if await _took(connection, wanted[0]) else wanted[0]
            else:
                refused = await _took_all(connection, wanted)
            if refused is None:
                return None
            limit = refused.limit
            wait = await connection.fetchval(SQL["wait"], refused.key, limit.each, limit.span)
        EXCEEDED.labels(refused.reason_code).inc()
        return Exceeded(refused, max(1, ceil(wait or 0)))

    async def forget_forever(self) -> None:
        """Delete what says nothing any more, again and again."""
        while True:
            await self._clock.sleep(FORGET_S)
            try:
                await self._pool.execute(SQL["forget"])
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.warning("limits_not_forgotten", error=f"{type(error).__name__}: {error}")


async def _took(connection: Connection, charge: Charge) -> bool:
    return await connection.fetchval(SQL["take"], charge.key, charge.limit.each, charge.limit.span) is not None


class _UsedUp(Exception):
    """Ends a transaction."""


async def _took_all(connection: Connection, wanted: Sequence[Charge]) -> Charge | None:
    refused = wanted[0]
    try:
        async with connection.transaction():
            for refused in wanted:
                if not await _took(connection, refused):
                    raise _UsedUp
    except _UsedUp:
        return refused
    return None
