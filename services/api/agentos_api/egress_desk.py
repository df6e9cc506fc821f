"""``POST /v1/egress/requests``: a request to the world outside, decided here and sent by the gateway.

The decision is a command like any other. What is allowed the gateway is then asked to send, with headers and body,
which are in no event. Who repeats the call under its ``Idempotency-Key`` gets the decision of the first time again, and
the gateway is asked again, which sends nothing twice: so a call that was cut short goes on where it was.
"""

import asyncio
import base64
from collections.abc import Mapping, Sequence
from typing import Any, Final

import asyncpg
import nats.errors
import orjson
import structlog
from nats.aio.client import Client
from pydantic import BaseModel, Field

from agentos_api.append.appender import Committed
from agentos_api.append.submission import Answer, Outcome
from agentos_api.command_types.egress import REQUEST, target_of
from agentos_api.commands import Commands
from agentos_api.http import problem
from agentos_api.http.calls import Asked, Call
from agentos_api.live.decisions import Decisions
from agentos_shared.contracts import subjects
from agentos_shared.domain import approval_life
from agentos_shared.domain.approvals import OPEN, Approval
from agentos_shared.domain.egress_bodies import RequestEgress
from agentos_shared.domain.envelope import Event
from agentos_shared.domain.errors import DomainError, TryLater
from agentos_shared.store.reader import read_entities

log = structlog.get_logger("agentos.commands")

#: What sending may take besides the time that the request itself may take.
ANSWER_S: Final = 15.0
_ENDS: Final = frozenset({"egress.succeeded", "egress.failed", "egress.outcome_unknown"})
#: How often it is looked whether a request that waits for the gateway has ended without a word.
LOOK_S: Final = 1.0
_AWAY: Final = (nats.errors.Error, TimeoutError, OSError)


class EgressAnswer(BaseModel):
    """What was decided, and what came of it. ``outcome`` is there once it was sent: ``result`` is succeeded (there was
    an answer, whatever its ``status``), failed (nothing got there) or outcome_unknown.
    """

    egress_request_id: str = Field(examples=["egr_6f1d2f0e5d0c5e7a9c1b9f6c0a7d3b42"])
    decision: str = Field(description="allow, deny or require_approval.", examples=["allow"])
    reason_code: str = Field(examples=["egress.rule_allows"])
    reason: str | None = Field(None, examples=["What leaves this machine needs an approval."])
    approval_id: str | None = Field(examples=[None])
    action_digest: str = Field(examples=["sha256:" + "9f" * 32])
    retry_after: int | None = Field(None, description="Seconds, where a limit is used up.", examples=[None])
    outcome: dict[str, Any] | None = Field(
        examples=[{"result": "succeeded", "status": 200, "content": {"type": "text", "text": "hello"}}]
    )


class EgressDesk:
    """Serves the call."""

    def __init__(
        self, client: Client, pool: "asyncpg.Pool[asyncpg.Record]", commands: Commands, decisions: Decisions
    ) -> None:
        self._client = client
        self._pool = pool
        self._commands = commands
        self._decisions = decisions
        self._telling: set[asyncio.Task[None]] = set()

    def on_commit(self, batch: Sequence[Committed]) -> None:
        """Tell the gateway of each kill switch that is engaged, so that it cuts what is on its way."""
        for event in (committed.event for committed in batch):
            if event.event_type == "kill_switch.engaged" and self._client.is_connected:
                told = {
                    "workspace_id": event.workspace_id,
                    "scope": event.data["scope"],
                    "target": event.data["target"],
                }
                task = asyncio.create_task(self._client.publish(subjects.GATEWAY_STOP, orjson.dumps(told)))
                self._telling.add(task)
                task.add_done_callback(self._told)

    def _told(self, task: asyncio.Task[None]) -> None:
        self._telling.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("gateway_not_told", error=f"{type(error).__name__}: {error}")

    @property
    def call(self) -> Call:
        return Call(
            name=REQUEST,
            path="/v1/egress/requests",
            body=RequestEgress,
            answer=EgressAnswer,
            run=self._run,
            summary="Send a request to the world outside",
            example={"target_url": "https://example.org/", "method": "GET", "wait_s": 30},
            status=201,
        )

    async def _run(self, asked: Asked) -> Answer:
        """Raises Invalid: ``invalid_target_url``, ``invalid_header``, ``invalid_request_body``.

        TryLater: ``gateway_unavailable``.
        """
        body: RequestEgress = asked.body
        target_of(body)
        body.checked_headers()
        body.content()
        if not self._client.is_connected:
            raise _away()
        kind = self._commands.service_types[REQUEST]
        caller = asked.caller

        def render(outcomes: Sequence[Outcome]) -> Answer:
            return _decided(outcomes[0], caller.instance)

        answer = await self._commands.execute_each(kind, caller, [asked.raw], asked.raw, asked.size, render)
        if answer.status >= 400:
            return answer
        told: dict[str, Any] = orjson.loads(answer.body)
        if told["decision"] == "require_approval" and told["approval_id"] is not None:
            await self._wait(told, body.wait_s)
        if told["decision"] == "allow":
            await self._send(asked, told, again=answer.replayed)
        return answer._replace(body=orjson.dumps(told))

    async def _wait(self, told: dict[str, Any], wait_s: float) -> None:
        """Until its approval is decided; the gate looks again when it is sent."""
        approval_id: str = told["approval_id"]

        async def look() -> Approval | None:
            async with self._pool.acquire() as connection:
                events = (await read_entities(connection, [approval_id])).get(approval_id, [])
            state: Approval | None = None
            for event in events:
                state = approval_life.evolve(state, event)
            return state

        def stream(found: Approval | None) -> tuple[str, str]:
            if found is None:
                return "", ""
            return ("room", found.room_id) if found.room_id else ("workspace", found.workspace_id)

        found = await self._decisions.until(
            approval_id, wait_s, look, lambda found: found is None or found.status not in OPEN, stream
        )
        if found is not None and found.status == "approved":
            told["decision"], told["reason_code"] = "allow", "approval_allows_action"
        elif found is not None and found.status not in OPEN:
            told["decision"], told["reason_code"] = "deny", f"approval_{found.status}"
            told["reason"] = f"The approval that it needs is {found.status}."

    async def _answered(self, question: Mapping[str, Any], timeout_s: float) -> Mapping[str, Any]:
        """The gateway's answer; or what has come on record meanwhile, where the gateway died that had the question."""
        before = await self._last(question["egress_request_id"]) if question["again"] else None
        asking = asyncio.ensure_future(
            self._client.request(subjects.GATEWAY_REQUEST, orjson.dumps(question), timeout=timeout_s)
        )
        try:
            while not asking.done():
                await asyncio.wait((asking,), timeout=LOOK_S)
                if asking.done():
                    break
                last = await self._last(question["egress_request_id"])
                if last.event_type in _ENDS and (before is None or last.event_id != before.event_id):
                    return _settled(last)
            answer: Mapping[str, Any] = orjson.loads((await asking).data)
        except _AWAY:
            raise _away() from None
        finally:
            asking.cancel()
        return answer

    async def _last(self, request_id: str) -> Event:
        async with self._pool.acquire() as connection:
            return (await read_entities(connection, [request_id]))[request_id][-1]

    async def _send(self, asked: Asked, told: dict[str, Any], *, again: bool) -> None:
        """Have the gateway send it, and tell what came of it.

        Raises:
            DomainError: what the gateway refuses; TryLater where it cannot be reached.
        """
        body: RequestEgress = asked.body
        question = {
            "workspace_id": asked.caller.workspace_id,
            "egress_request_id": told["egress_request_id"],
            "method": body.verb,
            "url": target_of(body).url,
            "headers": body.headers,
            "body": base64.b64encode(body.content()).decode(),
            "limits": body.limits.model_dump(),
            "again": again,
            "obligations": told["obligations"],
        }
        sent = await self._answered(question, body.limits.timeout_s + ANSWER_S)
        if sent["status"] != 200:
            raise _refusal(sent)
        told.update(sent["decided"])
        told["outcome"] = sent["outcome"]


def _decided(outcome: Outcome, instance: str) -> Answer:
    if isinstance(outcome, DomainError):
        return problem.answer(outcome, instance)
    first, last = outcome[0], outcome[-1]
    decided: dict[str, Any] = outcome.extra["decided"]
    told = {
        "egress_request_id": first.entity_id,
        **decided,
        "outcome": None,
        "event_id": last.event_id,
        "stream_type": last.stream_type,
        "stream_id": last.stream_id,
        "stream_seq": last.stream_seq,
    }
    return Answer(201, orjson.dumps(told), passing=outcome.extra["passing"])


def _settled(last: Event) -> Mapping[str, Any]:
    told = {name: value for name, value in last.data.items() if name != "egress_request_id"}
    return {"status": 200, "decided": {}, "outcome": {"result": last.event_type.removeprefix("egress."), **told}}


def _refusal(told: Mapping[str, Any]) -> DomainError:
    if told["status"] >= 500:
        return TryLater(told["error"], told["detail"])
    error = DomainError(told["error"], told["detail"])
    error.status = told["status"]
    return error


def _away() -> TryLater:
    """503 while the gateway or NATS is away. What was allowed is sent once the call is repeated under its key."""
    return TryLater(
        "gateway_unavailable", "The gateway cannot be reached now; try again, with the same Idempotency-Key if any."
    )
