"""What other policies would have made of the decisions on record. Nothing of it is recorded."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import asyncpg

from agentos_policy.shelf import made
from agentos_shared.domain.envelope import Event, timestamp
from agentos_shared.domain.policy.evaluate import Policies
from agentos_shared.domain.policy.replay import DECIDED, Recorded, again, recorded
from agentos_shared.store import statements
from agentos_shared.store.reader import event_of

SQL: Final = statements.load("agentos_policy", "simulation.sql")
#: Events that are read, and then decided on, at once.
PAGE: Final = 200
#: Changes, and decisions that cannot be made again, that an answer lists; all are counted.
MAX_LISTED: Final = 500
#: Simulations that wait for the one at work; more are told to come back.
MAX_WAITING: Final = 4
_LAST: Final = "ffffffff-ffff-ffff-ffff-ffffffffffff"


@dataclass(slots=True)
class _Found:
    looked_at: int = 0
    turned: Counter[tuple[str, str]] = field(default_factory=Counter)
    changes: list[dict[str, Any]] = field(default_factory=list)
    not_replayable: int = 0
    not_replayable_ids: list[str] = field(default_factory=list)


class Simulator:
    """Runs one simulation at a time, in a thread beside the gate."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool
        self._at_work = asyncio.Lock()
        self._waiting = 0

    async def answer(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        """``{"workspace_id", "files", "from", "to", "limit"}`` -> what would have changed, ``{"broken": why}``, or
        ``{"busy": true}``.
        """
        if self._waiting >= MAX_WAITING:
            return {"busy": True}
        self._waiting += 1
        try:
            async with self._at_work:
                return await self._simulate(question)
        finally:
            self._waiting -= 1

    async def _simulate(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        # Imported here: a service without policies needs none of it.
        from agentos_policy.cedar import BrokenBundle

        try:
            policies = await asyncio.to_thread(made, question["files"])
        except BrokenBundle as error:
            return {"broken": str(error)}
        since, limit = datetime.fromisoformat(question["from"]), question["limit"]
        until: tuple[datetime, str] = datetime.fromisoformat(question["to"]), _LAST
        found, complete = _Found(), False
        while found.looked_at < limit:
            wanted = min(PAGE, limit - found.looked_at)
            place = (question["workspace_id"], list(DECIDED), since, *until, wanted + 1)
            events = [event_of(row) for row in await self._pool.fetch(SQL["decisions"], *place)]
            complete = len(events) <= wanted
            await asyncio.to_thread(_decide, events[:wanted], policies, found)
            if complete:
                break
            until = events[wanted - 1].recorded_at, events[wanted - 1].event_id
        return _told(found, policies, complete)


def _decide(events: Sequence[Event], policies: Policies, found: _Found) -> None:
    for event in events:
        found.looked_at += 1
        try:
            past = recorded(event)
        except (KeyError, TypeError, ValueError):
            found.not_replayable += 1
            if len(found.not_replayable_ids) < MAX_LISTED:
                found.not_replayable_ids.append(event.event_id)
            continue
        decision = again(past, policies)
        if decision.decision == past.decision:
            continue
        found.turned[past.decision, decision.decision] += 1
        if len(found.changes) < MAX_LISTED:
            rules = [rule.told() for rule in decision.determining_rules]
            after = {"decision": decision.decision, "reason_code": decision.reason_code, "determining_rules": rules}
            found.changes.append({**_about(past), "after": after})


def _about(past: Recorded) -> dict[str, Any]:
    event, request = past.event, past.request
    return {
        "event_id": event.event_id,
        "event_type": event.event_type,
        "link": f"/v1/events/{event.event_id}",
        "recorded_at": timestamp(event.recorded_at),
        "action": request.action,
        "tool_name": request.tool_name,
        "actor_type": request.actor.type,
        "actor_id": request.actor.id,
        "room_id": event.room_id,
        "run_id": event.run_id,
        "zone": request.zone,
        "before": {"decision": past.decision, "reason_code": past.reason_code},
    }


def _told(found: _Found, policies: Policies, complete: bool) -> dict[str, Any]:
    changed = sum(found.turned.values())
    return {
        "bundle_hash": policies.hash,
        "looked_at": found.looked_at,
        "complete": complete,
        "unchanged": found.looked_at - changed - found.not_replayable,
        "changed": changed,
        "not_replayable": found.not_replayable,
        "turned": [
            {"before": before, "after": after, "count": count} for (before, after), count in found.turned.most_common()
        ],
        "changes": found.changes,
        "not_replayable_event_ids": found.not_replayable_ids,
    }
