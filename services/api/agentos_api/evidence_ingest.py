"""``POST /v1/engines/evidence/ingest``: an engine hands in up to 100 events of its own systems, each once."""

from collections.abc import Sequence
from typing import Any, Final

import orjson
from pydantic import BaseModel, ConfigDict, Field

from agentos_api.append.submission import Answer, Outcome
from agentos_api.commands import Commands
from agentos_api.http import problem
from agentos_api.http.access import Access
from agentos_api.http.calls import Asked, Call
from agentos_shared.domain.engine_checks import missing_token
from agentos_shared.domain.engines import INGEST
from agentos_shared.domain.envelope import timestamp
from agentos_shared.domain.errors import DomainError, Invalid
from agentos_shared.domain.messages import SCHEMA_VERSIONS
from agentos_shared.host.lifecycle import CLOCK, Clock

MAX_EVENTS: Final = 100
COMMAND: Final = "engine_evidence.ingest"


class IngestRequest(BaseModel):
    """Hands in events of an engine's own systems. Each becomes an `engine.evidence.ingested` on the workspace stream,
    once: its own `event_id` tells. Needs an engine token with the action `evidence.ingest`, in headers or here.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    schema_version: str = Field(min_length=1, json_schema_extra={"enum": list(SCHEMA_VERSIONS)})
    engine_id: str | None = Field(None, max_length=200)
    engine_token: str | None = Field(None, max_length=500)
    events: list[Any] = Field(
        max_length=MAX_EVENTS,
        description="Objects with `event_id`, `event_type`, and whatever else they say; `occurred_at` is RFC 3339.",
    )


class IngestResult(BaseModel):
    """What became of one event."""

    index: int
    status: str = Field(description="accepted, deduped or rejected", examples=["accepted"])
    reason_code: str | None = Field(None, description="Why it was rejected.", examples=["missing_event_id"])


class IngestWarning(BaseModel):
    """What was odd with an event that was accepted."""

    index: int
    code: str = Field(examples=["secret_redacted"])


class IngestAnswer(BaseModel):
    """What became of each event."""

    schema_version: str
    server_time: str
    accepted: int
    deduped: int
    rejected: int
    warnings: list[IngestWarning]
    results: list[IngestResult]


class Ingest:
    """Serves the call.

    Args:
        access: where engine credentials are checked.
    """

    def __init__(self, access: Access, commands: Commands, clock: Clock = CLOCK) -> None:
        self._access = access
        self._commands = commands
        self._clock = clock

    @property
    def call(self) -> Call:
        return Call(
            name="engine_evidence.ingest",
            path="/v1/engines/evidence/ingest",
            body=IngestRequest,
            answer=IngestAnswer,
            run=self._run,
            engine_in_body=True,
            summary="Hand in evidence of an engine",
            example={
                "schema_version": "2.1",
                "events": [{"event_id": "ci-4711", "event_type": "build.finished", "data": {"ok": True}}],
            },
        )

    async def _run(self, asked: Asked) -> Answer:
        body: IngestRequest = asked.body
        if body.schema_version not in SCHEMA_VERSIONS:
            raise Invalid(
                "invalid_schema_version",
                f"schema_version must be one of {', '.join(SCHEMA_VERSIONS)}.",
                reason_code="unsupported_version",
            )
        engine = await self._access.engine(
            asked.identity, asked.caller.workspace_id, body.engine_id, body.engine_token, INGEST
        )
        if engine is None:
            raise missing_token()
        caller = asked.caller._replace(actor=engine.actor, engine=engine)
        wishes = [{"engine_id": engine.engine_id, "event": event} for event in body.events]

        def render(outcomes: Sequence[Outcome]) -> Answer:
            if len(outcomes) < len(wishes) and isinstance(outcomes[0], DomainError):  # of the idempotency key
                return problem.answer(outcomes[0], caller.instance)
            return Answer(200, orjson.dumps(self._told(body.schema_version, outcomes)))

        kind = self._commands.service_types[COMMAND]
        return await self._commands.execute_each(kind, caller, wishes, asked.raw, asked.size, render)

    def _told(self, schema_version: str, outcomes: Sequence[Outcome]) -> dict[str, Any]:
        results: list[dict[str, Any]] = []
        warnings: list[dict[str, Any]] = []
        for index, outcome in enumerate(outcomes):
            if isinstance(outcome, DomainError):
                results.append({"index": index, "status": "rejected", "reason_code": outcome.code})
                continue
            results.append({"index": index, "status": "accepted" if outcome else "deduped", "reason_code": None})
            if outcome and outcome[0].contains_secrets:
                warnings.append({"index": index, "code": "secret_redacted"})
        statuses = [result["status"] for result in results]
        return {
            "schema_version": schema_version,
            "server_time": timestamp(self._clock.now()),
            "accepted": statuses.count("accepted"),
            "deduped": statuses.count("deduped"),
            "rejected": statuses.count("rejected"),
            "warnings": warnings,
            "results": results,
        }
