"""Commands of our own services: ``agentos.svc.<service>.<noun>.<verb>``, many in one message.

The subject is the identity: only the service's own NATS user may publish there. The body is ``{"commands": [...]}``,
each with its ``workspace_id`` and the id of its entity; the answer ``{"results": [...]}``, each with a ``status``.
Whatever a service asks for may be repeated: it says of itself when it was done already.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from agentos_api.append.submission import Answer, Outcome, Placed, RequestKey
from agentos_api.command_type import CommandType
from agentos_api.commands import Caller, Commands
from agentos_api.http.access import Access
from agentos_api.registry.registry import Registry
from agentos_shared.contracts import subjects
from agentos_shared.domain import principals
from agentos_shared.domain.errors import DomainError, NotFound

log = structlog.get_logger("agentos.commands")

#: What each service may ask for.
ALLOWED: Final[Mapping[str, frozenset[str]]] = {
    "engine": frozenset(
        {"run.claim", "run.release", "run.expire", "run.timeout", "evidence.finalize", "incident.open"}
    ),
    "gateway": frozenset(
        {
            "egress.request",
            "egress.proxy",
            "egress.send",
            "egress.refuse",
            "egress.finish",
            "incident.open",
            "secret.record",
            "secret.leak",
        }
    ),
}
MAX_RUNNING: Final = 64
STOP_S: Final = 2.0
#: Members of a command that are no part of its body.
_ABOUT: Final = frozenset({"workspace_id", "claimer", "key", "on_behalf_of", "credential"})


class ServiceCommands:
    """Answers the services, among the API processes.

    Args:
        registry: where an engine whose claim has waited is checked once more.
        access: where credentials are checked that somebody gave to a service.
    """

    def __init__(self, client: Client, commands: Commands, registry: Registry, access: Access) -> None:
        self._registry = registry
        self._access = access
        self._client = client
        self._commands = commands
        self._room = asyncio.Semaphore(MAX_RUNNING)
        self._running: set[asyncio.Task[None]] = set()
        self._subscription: Subscription | None = None

    async def start(self) -> None:
        """Begin to answer."""
        if self._subscription is None:
            self._subscription = await self._client.subscribe(
                subjects.SERVICE_COMMANDS, queue=subjects.COMMANDS_QUEUE, cb=self._on_message
            )

    async def stop(self) -> None:
        """Take no more, and let what runs finish for a moment."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None and not self._client.is_closed:
            await subscription.unsubscribe()
        if self._running:
            await asyncio.wait(self._running, timeout=STOP_S)

    async def _on_message(self, message: Msg) -> None:
        await self._room.acquire()
        task = asyncio.create_task(self._answer(message), name=message.subject)
        self._running.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._room.release()

    async def _answer(self, message: Msg) -> None:
        try:
            results = await self._execute(message.subject, orjson.loads(message.data)["commands"])
            body = orjson.dumps({"results": results})
        except Exception as error:
            if not isinstance(error, DomainError):
                log.exception("service_command_failed", subject=message.subject)
            body = orjson.dumps({"error": type(error).__name__})  # no results: it comes again
        if message.reply:
            await self._client.publish(message.reply, body)

    async def _execute(self, subject: str, commands: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        _, _, service, noun, verb = subject.split(".")
        kind = self._commands.service_types.get(f"{noun}.{verb}")
        if kind is None or kind.name not in ALLOWED.get(service, ()):
            raise NotFound("unknown_command", f"There is no command {noun}.{verb} of {service}.")
        return await asyncio.gather(*(self._one(kind, service, subject, command) for command in commands))

    async def _one(self, kind: CommandType, service: str, subject: str, command: dict[str, Any]) -> dict[str, Any]:
        workspace_id: str = command["workspace_id"]
        itself = {"actor_type": "service", "actor_id": service}
        claimer = command.get("claimer") or command.get("on_behalf_of") or itself
        actor = principals.actor(workspace_id, claimer["actor_type"], claimer["actor_id"])
        key = command.get("key")
        caller = Caller(workspace_id, subject, subject, actor, idempotency_key=key and key["idempotency_key"])
        body = {name: value for name, value in command.items() if name not in _ABOUT}
        if "claimer" in command:
            body["claimed_by_actor_id"] = claimer["actor_id"]
            body["actor_principal_id"] = claimer["principal_id"]
            body["engine_id"] = claimer["engine_id"]
        request_key = key and _key(workspace_id, key)
        try:
            if claimer.get("token_id") is not None:
                await self._registry.recheck(workspace_id, claimer["engine_id"], claimer["token_id"])
            if "credential" in command:
                caller = await self._as_proved(caller, command["credential"])
                answer = await self._commands.execute_each(kind, caller, [body], body, 0, lambda told: _render(told[0]))
            else:
                answer = await self._commands.serve(kind, caller, body, request_key, _render)
        except DomainError as error:
            return {"status": error.status, "error": error.code, "detail": error.detail}
        result: dict[str, Any] = orjson.loads(answer.body)
        if answer.replayed:
            result["replayed"] = True
        return result

    async def _as_proved(self, caller: Caller, token: str | None) -> Caller:
        """The caller as the credential proves it that came with the request, or in open mode as the body claims it.
        Nobody decides this way.

        Raises:
            Unauthorized, Forbidden, TryLater: as :meth:`Access.identify`.
        """
        headers = {} if token is None else {b"authorization": b"Bearer " + token.encode("latin-1", "replace")}
        identity = await self._access.identify(headers, caller.workspace_id)
        return caller._replace(
            actor=identity.actor, engine=identity.engine, capability=identity.capability, approver=None
        )


def _key(workspace_id: str, key: Mapping[str, str]) -> RequestKey:
    return RequestKey(workspace_id, key["scope"], key["idempotency_key"], bytes.fromhex(key["fingerprint"]))


def _render(outcome: Outcome) -> Answer:
    """A result: data of the first event and where the last one stands, and what the command's answer tells besides."""
    if isinstance(outcome, DomainError):
        result = {"status": outcome.status, "error": outcome.code, "detail": outcome.detail}
        return Answer(outcome.status, orjson.dumps(result))
    return Answer(200, orjson.dumps({"status": 200, **_told(outcome)}))


def _told(placed: Placed) -> dict[str, Any]:
    if placed:
        last = placed[-1]
        position = {
            "event_id": last.event_id,
            "stream_type": last.stream_type,
            "stream_id": last.stream_id,
            "stream_seq": last.stream_seq,
        }
        return {"data": placed[0].data, "position": position, **placed.extra}
    return {"data": None, "position": {}, **placed.extra}
