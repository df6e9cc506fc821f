"""``POST /v1/policy/simulate``: what other policies would have made of the decisions on record."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Final

import nats.errors
import orjson
from nats.aio.client import Client
from pydantic import BaseModel, ConfigDict, Field

from agentos_api.append.submission import Answer
from agentos_api.http.calls import Asked, Call
from agentos_api.reads.paging import time_of
from agentos_shared.contracts import subjects
from agentos_shared.domain.envelope import timestamp
from agentos_shared.domain.errors import Invalid, TooLarge, TryLater
from agentos_shared.host.lifecycle import CLOCK, Clock

ANSWER_S: Final = 20.0
DEFAULT_DAYS: Final = 7
MAX_DECISIONS: Final = 5_000
MAX_FILES: Final = 200
#: The server takes messages of 1 MB.
MAX_BYTES: Final = 900_000
_AWAY: Final = (nats.errors.Error, TimeoutError, OSError)
_Time = Annotated[str, Field(max_length=64, json_schema_extra={"format": "date-time"})]
_FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}\.cedar$")]


class Simulate(BaseModel):
    """Runs policies over the decisions on record, and over the tool calls that were allowed, of a time, and tells which
    would have been others. Nothing is recorded, and nothing changes. `bundle` is Cedar: one text, or texts by file name
    (`*.cedar`). All else is as it was then: kill switches, capabilities, approvals, the action registry. Looked at are
    the newest `limit` decisions from `from` to `to`; by default those of the last seven days.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    bundle: (
        Annotated[str, Field(min_length=1)] | Annotated[dict[_FileName, str], Field(min_length=1, max_length=MAX_FILES)]
    )
    since: _Time | None = Field(None, alias="from")
    until: _Time | None = Field(None, alias="to")
    limit: int = Field(1_000, ge=1, le=MAX_DECISIONS)


class Outcome(BaseModel):
    """A decision."""

    decision: str = Field(description="allow, deny or require_approval.", examples=["deny"])
    reason_code: str = Field(examples=["policy.rule_matched"])
    determining_rules: list[dict[str, Any]] | None = Field(
        None, examples=[[{"rule_id": "no-shell", "effect": "deny", "source": "file"}]]
    )


class Change(BaseModel):
    """A decision that would have been another one."""

    event_id: str = Field(examples=["019ab3c4-5d6e-7f80-9123-456789abcdef"])
    event_type: str = Field(examples=["tool.invoked"])
    link: str = Field(examples=["/v1/events/019ab3c4-5d6e-7f80-9123-456789abcdef"])
    recorded_at: str = Field(examples=["2026-11-24T05:30:00.123Z"])
    action: str = Field(examples=["tool.call"])
    tool_name: str | None = Field(examples=["shell"])
    actor_type: str = Field(examples=["agent"])
    actor_id: str = Field(examples=["summariser"])
    room_id: str | None = Field(examples=["room_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    run_id: str | None = Field(examples=["run_01JDAGZ3K8R4W5T6Y7V8X9Z0AB"])
    zone: str = Field(examples=["supervised"])
    before: Outcome
    after: Outcome


class Turned(BaseModel):
    """How many decisions would have turned from one into another."""

    before: str = Field(examples=["allow"])
    after: str = Field(examples=["deny"])
    count: int = Field(examples=[14])


class SimulateAnswer(BaseModel):
    """What would have changed, the newest first. `looked_at` is the sum of `changed`, `unchanged`, `not_replayable`."""

    bundle_hash: str = Field(examples=["sha256:" + "9f" * 32])
    since: str = Field(alias="from", examples=["2026-11-17T05:30:00.123Z"])
    until: str = Field(alias="to", examples=["2026-11-24T05:30:00.123Z"])
    looked_at: int = Field(examples=[2310])
    complete: bool = Field(description="False: there are older ones in that time.", examples=[True])
    changed: int = Field(examples=[14])
    unchanged: int = Field(examples=[2290])
    not_replayable: int = Field(
        description="Decisions that do not carry all that they were made on: older ones, and those that the service "
        "could not make.",
        examples=[6],
    )
    turned: list[Turned]
    changes: list[Change] = Field(description="At most 500.")
    not_replayable_event_ids: list[str] = Field(
        description="At most 500.", examples=[["019ab3c4-5d6e-7f80-9123-456789abcdee"]]
    )


class Simulations:
    """Serves the call."""

    def __init__(self, client: Client, clock: Clock = CLOCK) -> None:
        self._client = client
        self._clock = clock

    @property
    def call(self) -> Call:
        return Call(
            name="policy.simulate",
            path="/v1/policy/simulate",
            body=Simulate,
            answer=SimulateAnswer,
            run=self._run,
            summary="See what other policies would have decided",
            example={"bundle": "permit (principal, action, resource);", "limit": 1000},
        )

    async def _run(self, asked: Asked) -> Answer:
        """Raises Invalid: ``invalid_from``, ``invalid_to``, ``invalid_bundle``. Forbidden, TooLarge, TryLater."""
        asked.identity.require_room(None)
        body: Simulate = asked.body
        since, until = self._between(body)
        files = {"candidate.cedar": body.bundle} if isinstance(body.bundle, str) else body.bundle
        question = orjson.dumps(
            {
                "workspace_id": asked.caller.workspace_id,
                "files": files,
                "from": since.isoformat(),
                "to": until.isoformat(),
                "limit": body.limit,
            }
        )
        if len(question) > MAX_BYTES:
            raise TooLarge("bundle_too_large", f"Policies are limited to {MAX_BYTES} bytes here.")
        try:
            reply = await self._client.request(subjects.POLICY_SIMULATE, question, timeout=ANSWER_S)
        except _AWAY:
            raise TryLater("policy_unavailable", "The policy service cannot be reached now; try again.") from None
        told = orjson.loads(reply.data)
        if told.get("busy"):
            raise TryLater("too_many_simulations", "Other simulations are at work; try again.")
        if "broken" in told:
            raise Invalid("invalid_bundle", f"These policies cannot be taken: {told['broken']}")
        return Answer(200, orjson.dumps({**told, "from": timestamp(since), "to": timestamp(until)}))

    def _between(self, body: Simulate) -> tuple[datetime, datetime]:
        until = time_of(body.until, "invalid_to") if body.until else self._clock.now()
        if body.since:
            since = time_of(body.since, "invalid_from")
        else:
            since = until - timedelta(days=DEFAULT_DAYS) if until.year > 1 else until
        if since > until:
            raise Invalid("invalid_from", "from must not be after to.")
        return since, until
