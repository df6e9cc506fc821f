"""``POST /v1/approvals/{id}/scope-preview``: what a scope would have covered of what the gate was asked lately."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple

import asyncpg
import orjson
from pydantic import BaseModel, ConfigDict, Field

from agentos_api.append.locator import Location
from agentos_api.append.submission import Answer
from agentos_api.commands import Commands
from agentos_api.http.calls import Asked, Call
from agentos_shared.domain import approval_amounts
from agentos_shared.domain.approval_scopes import Scope, Wish, covers, effective
from agentos_shared.domain.envelope import Event, timestamp
from agentos_shared.domain.errors import NotFound
from agentos_shared.host.lifecycle import CLOCK, Clock
from agentos_shared.store import statements
from agentos_shared.store.reader import event_of

SQL: Final = statements.load("agentos_api", "approval_preview.sql")
DAYS: Final = 30
#: Decisions that are looked at, the newest, and how many of them at once.
MOST: Final = 5_000
PAGE: Final = 500
SAMPLES: Final = 20
_LAST: Final = "ffffffff-ffff-ffff-ffff-ffffffffffff"


class ScopePreview(BaseModel):
    """A scope as a decision would give it."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    scope: Scope


class Sample(BaseModel):
    """A wish that the scope would have covered."""

    event_id: str = Field(examples=["019ab3c4-5d6e-7f80-9123-456789abcdef"])
    link: str = Field(examples=["/v1/events/019ab3c4-5d6e-7f80-9123-456789abcdef"])
    recorded_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])
    action: str = Field(examples=["external.write"])
    resource: str | None = Field(examples=[None])
    actor_type: str = Field(examples=["agent"])
    actor_id: str = Field(examples=["summariser"])
    room_id: str | None = Field(examples=["room_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    run_id: str | None = Field(examples=[None])
    zone: str = Field(examples=["supervised"])
    reason_code: str = Field(examples=["external_write_requires_approval"])
    parameters: dict[str, Any] = Field(examples=[{"to": "ada@example.org"}])


class ScopePreviewAnswer(BaseModel):
    """What would not have been asked. All else is as it was then."""

    count: int = Field(description="Wishes that asked for an approval, and that it would have allowed.", examples=[14])
    needs_exact: int = Field(description="Covered, but only an approval of exactly that lifts it.", examples=[0])
    beyond_limits: int = Field(description="Covered, but beyond its uses or its total by then.", examples=[0])
    looked_at: int = Field(examples=[230])
    complete: bool = Field(description="False: there are older ones in that time.", examples=[True])
    since: str = Field(examples=["2026-10-25T05:30:00.123Z"])
    scope: dict[str, Any] = Field(description="With its target.", examples=[{"type": "workspace"}])
    samples: list[Sample] = Field(description=f"The newest of those that count, at most {SAMPLES}.")


class _Asked(NamedTuple):
    """What one preview looks for."""

    scope: Mapping[str, Any]
    action: str
    digest: str | None


class _Covered(NamedTuple):
    event: Event
    parameters: Mapping[str, Any]
    exactly: bool


class Previews:
    """Serves the call."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", commands: Commands, clock: Clock = CLOCK) -> None:
        self._pool = pool
        self._commands = commands
        self._clock = clock

    @property
    def call(self) -> Call:
        return Call(
            name="approval.scope_preview",
            path="/v1/approvals/{approval_id}/scope-preview",
            body=ScopePreview,
            answer=ScopePreviewAnswer,
            run=self._run,
            summary="See what a scope would have covered in the last 30 days",
            example={"scope": {"type": "workspace"}},
        )

    async def _run(self, asked: Asked) -> Answer:
        """Raises Invalid: ``invalid_scope``. Forbidden. NotFound: ``approval_not_found``."""
        asked.identity.require_room(None)
        workspace_id = asked.caller.workspace_id
        place = await self._commands.location(("approval", asked.ids[0]), workspace_id)
        wanted = await self._wanted(place, asked.body.scope)
        since = self._clock.now() - timedelta(days=DAYS)
        found: list[_Covered] = []
        looked_at, complete = 0, False
        until: tuple[datetime, str] = self._clock.now(), _LAST
        while looked_at < MOST and not complete:
            rows = await self._pool.fetch(SQL["asked"], workspace_id, since, *until, PAGE + 1)
            complete = len(rows) <= PAGE
            events = [event_of(row) for row in rows[:PAGE]]
            found += await asyncio.to_thread(_covered, events, wanted)
            looked_at += len(events)
            if events:
                until = events[-1].recorded_at, events[-1].event_id
        told = _told(found, wanted.scope)
        return Answer(
            200,
            orjson.dumps(
                {
                    **told,
                    "looked_at": looked_at,
                    "complete": complete,
                    "since": timestamp(since),
                    "scope": wanted.scope,
                }
            ),
        )

    async def _wanted(self, place: Location, scope: Scope) -> _Asked:
        row = await self._pool.fetchrow(SQL["requested"], place.workspace_id, place.entity_id)
        if row is None:
            raise NotFound("approval_not_found", "There is no such approval in this workspace.")
        event = event_of(row)
        own = {"room_id": event.room_id, "thread_id": event.thread_id, "run_id": event.run_id}
        data = event.data
        return _Asked(effective(scope, own, event.workspace_id), data["action"], data["action_digest"])


def _covered(events: Sequence[Event], wanted: _Asked) -> list[_Covered]:
    return [found for event in events if (found := _fit(event, wanted)) is not None]


def _fit(event: Event, wanted: _Asked) -> _Covered | None:
    content = event.parsed_content()
    data, parameters = content["data"], content["policy_context"]
    if data.get("decision") != "require_approval":  # a redacted one says nothing
        return None
    wish = Wish(
        data["action"],
        data["action_digest"],
        event.room_id,
        event.thread_id,
        event.run_id,
        data["resource"],
        parameters,
    )
    if not covers(wanted.scope, wanted.action, wanted.digest, wish):
        return None
    inputs = data.get("inputs") or {}
    exactly = inputs.get("exactly", False) and wanted.scope["type"] != "once"
    return _Covered(event, parameters, exactly)


def _told(found: Sequence[_Covered], scope: Mapping[str, Any]) -> dict[str, Any]:
    lifted = [one for one in found if not one.exactly]
    within = list(_within(reversed(lifted), scope))
    samples = [_sample(one) for one in reversed(within[-SAMPLES:])]
    return {
        "count": len(within),
        "needs_exact": len(found) - len(lifted),
        "beyond_limits": len(lifted) - len(within),
        "samples": samples,
    }


def _within(oldest_first: Iterator[_Covered], scope: Mapping[str, Any]) -> Iterator[_Covered]:
    """Those that its uses and its total would have been enough for, had they begun then."""
    most = 1 if scope["type"] == "once" else scope.get("max_uses")
    uses, spent = 0, Decimal(0)
    for one in oldest_first:
        if (most is not None and uses >= most) or not approval_amounts.fits(scope, spent, one.parameters):
            continue
        if approval_amounts.limit(scope) is not None:
            spent += approval_amounts.amount_of(scope, one.parameters) or 0
        uses += 1
        yield one


def _sample(one: _Covered) -> dict[str, Any]:
    event, data = one.event, one.event.data
    return {
        "event_id": event.event_id,
        "link": f"/v1/events/{event.event_id}",
        "recorded_at": timestamp(event.recorded_at),
        "action": data["action"],
        "resource": data["resource"],
        "actor_type": event.actor_type,
        "actor_id": event.actor_id,
        "room_id": event.room_id,
        "run_id": event.run_id,
        "zone": event.zone,
        "reason_code": data["reason_code"],
        "parameters": one.parameters,
    }
