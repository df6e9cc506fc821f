"""The desk for claims and leases: checks who asks, and passes the question on to the engine service.

Nothing is decided here. A claim is appended because the engine service asks for it (``service_commands.py``); its
answer comes back the same way.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Annotated, Any, ClassVar, Final, Literal

import nats.errors
import orjson
from nats.aio.client import Client
from pydantic import BaseModel, Field

from agentos_api.append.idempotency import KeyGate, checked
from agentos_api.append.submission import Answer, RequestKey
from agentos_api.claim_line import ClaimLine, away
from agentos_api.commands import Caller, Commands
from agentos_api.http import problem
from agentos_api.http.access import Access
from agentos_api.http.calls import Asked, Call
from agentos_shared.contracts import subjects
from agentos_shared.domain import engines, principals
from agentos_shared.domain.canonical import canonical
from agentos_shared.domain.decider import CommandBody
from agentos_shared.domain.engine_checks import VerifiedEngine, missing_token
from agentos_shared.domain.envelope import Actor
from agentos_shared.domain.errors import DomainError, Invalid, TryLater

#: How long an answer to a heartbeat is waited for, each time: together well below the shortest lease, so that who
#: renews it learns in time that it was not renewed.
ANSWER_S: Final = 1.0
ASKS: Final = 2

Name = Annotated[str, Field(min_length=1, max_length=200)]


class EngineBody(CommandBody):
    """What an engine may send in place of the headers ``x-engine-id`` and ``x-engine-token``, which win."""

    names_subject: ClassVar[bool] = True

    engine_id: Name | None = None
    engine_token: Annotated[str, Field(min_length=1, max_length=500)] | None = None


class ClaimRun(EngineBody):
    """Takes the next queued run, by priority and then by age, and holds it under a lease.

    Needs an engine's credentials; in open mode ``actor_id`` is enough. With ``wait_s`` the answer comes once there is a
    run, or when that time is over. The lease must be renewed by heartbeats. Who retries with the same
    ``idempotency-key`` gets the same claim. ``tags`` are those that the run must all have, ``handlers`` those of which
    its ``input.handler`` must be one.
    """

    room_id: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    tags: Annotated[list[Name], Field(max_length=50)] | None = None
    handlers: Annotated[list[Name], Field(max_length=200)] | None = None
    wait_s: Annotated[float, Field(ge=0, le=30)] = 0
    lease_ttl_s: Annotated[int, Field(ge=5, le=600)] = 30


class Heartbeat(EngineBody):
    """Renews a lease for as long as it was given at first. ``claim_token`` (required) is the claim's.

    It needs what the claim needed: credentials, which must be the holder's, or in open mode somebody's name. Where a
    kill switch asks the run to stop, the answer says so (``stop``), and the holder ends what it does. It then lets go
    of the run, or says ``stopped`` with its next heartbeat.
    """

    claim_token: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    stopped: bool = False


class Release(EngineBody):
    """Ends a lease: the run is queued again, for anybody to claim. ``claim_token`` (required) is the claim's."""

    claim_token: Annotated[str, Field(min_length=1, max_length=64)] | None = None


class ClaimedRun(BaseModel):
    """A run with its lease."""

    run_id: str
    workspace_id: str
    room_id: str | None
    thread_id: str | None
    experiment_id: str | None
    status: Literal["running"]
    title: str | None
    goal: str | None
    input: dict[str, Any]
    tags: list[str]
    correlation_id: str
    max_attempts: int
    priority: int
    timeout_s: int | None
    claim_token: str
    fencing_token: int
    attempt_no: int
    run_attempt_id: str
    claimed_by_actor_id: str
    engine_id: str | None
    lease_ttl_s: int
    lease_expires_at: str
    lease_heartbeat_at: str


class ClaimAnswer(BaseModel):
    """A run, or none."""

    claimed: bool
    run: ClaimedRun | None


class HeartbeatAnswer(BaseModel):
    """The lease as it is now."""

    ok: Literal[True]
    lease_expires_at: str
    lease_heartbeat_at: str
    stop: bool = Field(description="A kill switch asks this run to stop.", examples=[False])
    stop_reason: str | None = Field(description="Which one, and why.", examples=["workspace: wrong recipients"])


class ReleaseAnswer(BaseModel):
    """``released``: whether there was a lease to give back."""

    ok: Literal[True]
    released: bool


class LeaseDesk:
    """Claims, heartbeats and releases of this process.

    Args:
        access: where engine credentials are checked.
    """

    def __init__(self, client: Client, access: Access, commands: Commands) -> None:
        self._client = client
        self._access = access
        self._commands = commands
        self._gate = KeyGate(keeps=lambda answer: not answer.body.startswith(_NOTHING))
        self._line = ClaimLine(client, self._let_go)
        self._letting_go: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begin to take claims. Idempotent."""
        await self._line.start()

    async def stop(self) -> None:
        """Idempotent."""
        await self._line.stop()

    def drain(self) -> None:
        """This process stops: claims that wait are told to ask again, so that nobody waits for them."""
        self._line.drain()

    @property
    def calls(self) -> tuple[Call, ...]:
        """What is asked for here."""
        return (
            Call(
                "run.claim",
                "/v1/runs/claim",
                ClaimRun,
                ClaimAnswer,
                self.claim,
                engine_in_body=True,
                summary="Claim a run",
                example={"actor_id": "summariser", "wait_s": 10},
            ),
            Call(
                "run.heartbeat",
                "/v1/runs/{run_id}/lease/heartbeat",
                Heartbeat,
                HeartbeatAnswer,
                self.heartbeat,
                engine_in_body=True,
                summary="Renew a lease",
                example={"claim_token": "7b1c1f0e-6a55-4a0e-9f5e-0c1a9c2b7d11"},
            ),
            Call(
                "run.release",
                "/v1/runs/{run_id}/lease/release",
                Release,
                ReleaseAnswer,
                self.release,
                engine_in_body=True,
                summary="Give a run back to the queue",
                example={"claim_token": "7b1c1f0e-6a55-4a0e-9f5e-0c1a9c2b7d11"},
            ),
        )

    async def claim(self, asked: Asked) -> Answer:
        """``POST /v1/runs/claim``."""
        caller, body = asked.caller, asked.body
        engine = await self._engine(asked, engines.CLAIM, body.room_id)
        actor = _claimer(caller, body, engine)
        rooms = None if engine is None or engine.rooms is None else sorted(engine.rooms)
        key = _request_key(asked, actor)
        question = {
            "workspace_id": caller.workspace_id,
            "rooms": [body.room_id] if body.room_id is not None else rooms,
            "handlers": body.handlers,
            "tags": body.tags,
            "wait_s": body.wait_s,
            "lease_ttl_s": body.lease_ttl_s,
            "claimer": {
                "actor_type": actor.type,
                "actor_id": actor.id,
                "principal_id": actor.principal_id,
                "engine_id": None if engine is None else engine.engine_id,
                "token_id": None if engine is None else engine.token_id,
            },
        }
        if key is not None:
            question["key"] = {"idempotency_key": key.key, "scope": key.scope, "fingerprint": key.fingerprint.hex()}

        async def ask() -> Answer:
            return _answer(await self._line.ask(question, body.wait_s), caller.instance)

        asking = ask() if key is None else self._gate.run(key, ask)
        if asked.gone is None or not body.wait_s:
            return await asking
        return await _while_there(asked.gone, asking)

    async def heartbeat(self, asked: Asked) -> Answer:
        """``POST /v1/runs/{run_id}/lease/heartbeat``."""
        caller, (run_id,) = asked.caller, asked.ids
        location = await self._commands.location(("run", run_id), caller.workspace_id)
        room_id = location.stream.id if location.stream.type == "room" else None
        engine = await self._engine(asked, engines.HEARTBEAT, room_id)
        actor = _claimer(caller, asked.body, engine)
        if asked.body.stopped:
            answer = await self._acknowledge(caller._replace(actor=actor, engine=engine), asked, run_id)
            if answer.status >= 400:
                return answer
        question = {
            "workspace_id": caller.workspace_id,
            "run_id": run_id,
            "claim_token": _token(asked.body),
            "engine_id": None if engine is None else engine.engine_id,
        }
        return await self._ask(subjects.ENGINE_HEARTBEAT, question, caller.instance)

    async def _acknowledge(self, caller: Caller, asked: Asked, run_id: str) -> Answer:
        kind = self._commands.service_types["run.acknowledge_stop"]
        caller = caller._replace(idempotency_key=None)  # saying it twice says nothing more
        return await self._commands.execute(kind, caller, {"claim_token": _token(asked.body)}, run_id, asked.size)

    async def release(self, asked: Asked) -> Answer:
        """``POST /v1/runs/{run_id}/lease/release``: an ordinary append, which the engine service learns of like any."""
        caller, (run_id,) = asked.caller, asked.ids
        location = await self._commands.location(("run", run_id), caller.workspace_id)
        room_id = location.stream.id if location.stream.type == "room" else None
        engine = await self._engine(asked, engines.RELEASE, room_id)
        if engine is not None:
            caller = caller._replace(actor=engine.actor, engine=engine)
        elif asked.body.actor_id is not None:
            caller = caller._replace(claimed_type=asked.body.actor_type or "service", claimed_id=asked.body.actor_id)
        kind = self._commands.service_types["run.release"]
        given: dict[str, Any] = {"claim_token": _token(asked.body)}
        if asked.body.correlation_id is not None:
            given["correlation_id"] = asked.body.correlation_id
        return await self._commands.execute(kind, caller, given, run_id, asked.size)

    def _let_go(self, run: Mapping[str, Any]) -> None:
        """Release a run that was given to a claim for which nobody waits any more."""
        task = asyncio.create_task(self._release_undelivered(run))
        self._letting_go.add(task)
        task.add_done_callback(self._letting_go.discard)

    async def _release_undelivered(self, run: Mapping[str, Any]) -> None:
        kind = self._commands.service_types["run.release"]
        actor = principals.actor(run["workspace_id"], "service", "engine")
        caller = Caller(run["workspace_id"], kind.name, kind.name, actor)
        with contextlib.suppress(DomainError):  # its lease runs out then
            await self._commands.execute(kind, caller, {"claim_token": run["claim_token"]}, run["run_id"], 0)

    async def _engine(self, asked: Asked, action: str, room_id: str | None) -> VerifiedEngine | None:
        body: EngineBody = asked.body
        workspace_id = asked.caller.workspace_id
        return await self._access.engine(
            asked.identity, workspace_id, body.engine_id, body.engine_token, action, room_id
        )

    async def _ask(self, subject: str, question: Mapping[str, Any], instance: str) -> Answer:
        """Raises TryLater: ``engine_unavailable`` when nobody answers."""
        body = orjson.dumps(question)
        for _ in range(ASKS):  # a process that died with the question under way may have left another
            if not self._client.is_connected:
                break
            try:
                reply = await self._client.request(subject, body, timeout=ANSWER_S)
            except TimeoutError:
                continue
            except (nats.errors.Error, asyncio.InvalidStateError):
                break
            return _answer(orjson.loads(reply.data), instance)
        raise away()


def _answer(answer: Mapping[str, Any], instance: str) -> Answer:
    """What the engine service said, for whoever asked. Raises TryLater."""
    if answer["status"] == 503:
        raise TryLater(answer["error"], answer["detail"])
    if answer["status"] >= 400:
        return problem.answer(_refusal(answer), instance)
    return Answer(answer["status"], orjson.dumps(answer["body"]), replayed=answer.get("replayed", False))


_NOTHING: Final = b'{"claimed":false'


async def _while_there(gone: Callable[[], Awaitable[None]], asking: Coroutine[Any, Any, Answer]) -> Answer:
    """What ``asking`` answers; it is given up when ``gone`` returns, and then nobody reads the answer."""
    task, watch = asyncio.ensure_future(asking), asyncio.ensure_future(gone())
    try:
        await asyncio.wait((task, watch), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return await task
        return Answer(200, _NOTHING + b',"run":null}')
    finally:
        watch.cancel()
        task.cancel()


def _claimer(caller: Caller, body: EngineBody, engine: VerifiedEngine | None) -> Actor:
    """Who claims, or holds what was claimed. Raises Unauthorized: ``missing_engine_token`` when nothing says."""
    if engine is not None:
        return engine.actor
    name = body.actor_id or caller.claimed_id
    if name is None:
        raise missing_token()
    return principals.actor(caller.workspace_id, body.actor_type or "service", name)


def _request_key(asked: Asked, actor: Actor) -> RequestKey | None:
    caller = asked.caller
    if caller.idempotency_key is None:
        return None
    scope = f"{actor.principal_id} {caller.origin}"
    fingerprint = hashlib.sha256(canonical(asked.raw)).digest()
    return RequestKey(caller.workspace_id, scope, checked(caller.idempotency_key), fingerprint)


def _token(body: Heartbeat | Release) -> str:
    if body.claim_token is None:
        raise Invalid("missing_claim_token", "claim_token is required: the one that the claim answered.")
    return body.claim_token


def _refusal(answer: Mapping[str, Any]) -> DomainError:
    extra = {name: value for name, value in answer.items() if name not in ("status", "error", "detail")}
    error = DomainError(answer["error"], answer["detail"], **extra)
    error.status = answer["status"]
    return error
