"""Commands over NATS request/reply: ``agentos.cmd.<workspace>.<noun>.<verb>``, validated and answered as over HTTP."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from agentos_api.append.submission import Answer
from agentos_api.commands import Caller, Commands, correlation
from agentos_api.http import problem
from agentos_api.http.access import Access
from agentos_api.http.calls import Call
from agentos_api.http.edge import internal_error
from agentos_shared.contracts import subjects
from agentos_shared.domain.canonical import parse
from agentos_shared.domain.errors import DomainError, Invalid, NotFound, TryLater
from agentos_shared.host import telemetry

log = structlog.get_logger("agentos.commands")

MAX_RUNNING: Final = 512
MAX_CALLS: Final = 2048
STOP_S: Final = 2.0


class NatsCommands:
    """Answers commands of one queue group among the API processes."""

    def __init__(self, client: Client, commands: Commands, access: Access, calls: Sequence[Call] = ()) -> None:
        self._client = client
        self._commands = commands
        self._access = access
        self._calls = {call.name: call for call in calls}
        self._room = asyncio.Semaphore(MAX_RUNNING)
        self._running: set[asyncio.Task[None]] = set()
        self._subscription: Subscription | None = None

    async def start(self) -> None:
        """Begin to answer."""
        if self._subscription is None:
            self._subscription = await self._client.subscribe(
                subjects.COMMANDS, queue=subjects.COMMANDS_QUEUE, cb=self._on_message
            )

    async def stop(self) -> None:
        """Take no more, and let what runs finish for a moment."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None and not self._client.is_closed:
            await subscription.unsubscribe()
        if self._running:
            await asyncio.wait(self._running, timeout=STOP_S)

    async def _on_message(self, message: Msg) -> None:
        if not message.reply:
            log.warning("command_without_reply_subject", subject=message.subject)
            return
        # Calls may wait for long, and must not hold up commands.
        called = message.subject.split(".", 3)[-1] in self._calls
        if called and len(self._running) >= MAX_CALLS:
            busy = problem.answer(TryLater("too_many_calls", "Too many calls wait here; try again."), message.subject)
            await self._client.publish(message.reply, busy.body, headers={"status": str(busy.status)})
            return
        if not called:
            await self._room.acquire()  # a full house holds up the subscription, whose own buffer is bounded
        task = asyncio.create_task(self._answer(message), name=message.subject)
        self._running.add(task)
        task.add_done_callback(self._called if called else self._done)

    def _called(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._room.release()

    async def _answer(self, message: Msg) -> None:
        try:
            answer = await self._execute(message)
        except DomainError as error:
            answer = problem.answer(error, message.subject)
        except Exception:
            log.exception("command_failed", subject=message.subject)
            answer = problem.answer(internal_error(message.subject.encode()), message.subject)
        headers = {"status": str(answer.status)}
        if answer.replayed:
            headers["idempotency-replayed"] = "true"
        await self._client.publish(message.reply, answer.body, headers=headers)

    async def _execute(self, message: Msg) -> Answer:
        _, _, workspace_id, *words = message.subject.split(".")
        if subjects.WORKSPACE_ID.fullmatch(workspace_id) is None:
            raise Invalid("invalid_workspace_id", "The workspace must be 1 to 64 of the characters A-Z a-z 0-9 _ -.")
        name = ".".join(words)
        kind = self._commands.types.get(name) or self._calls.get(name)
        if kind is None:
            known = ", ".join(sorted([*self._commands.types, *self._calls]))
            raise NotFound(
                "unknown_command",
                f"There is no command {name!r}. The subject is agentos.cmd.<workspace>.<command>, of {known}.",
            )
        headers = {name.lower(): value for name, value in (message.headers or {}).items()}
        identity = await self._access.identify(
            {name.encode(): value.encode("latin-1", "replace") for name, value in headers.items()},
            workspace_id,
            engine_in_body=isinstance(kind, Call) and kind.engine_in_body,
        )
        with telemetry.span(
            "nats.command", headers.get("traceparent"), {"agentos.command": kind.name}, kind="server"
        ) as traceparent:
            caller = Caller(
                workspace_id,
                f"POST {kind.name}",
                message.subject,
                identity.actor,
                headers.get("x-actor-type"),
                headers.get("x-actor-id"),
                correlation(headers.get("x-correlation-id")),
                headers.get("idempotency-key"),
                traceparent,
                headers.get("x-claim-token"),
                identity.engine,
                identity.capability,
                approver=identity.approver,
            )
            body = parse(message.data) if message.data else {}
            if isinstance(kind, Call):
                ids, body = _named(kind, body)
                return await kind.run(kind.asked(caller, identity, body, ids, len(message.data)))
            return await self._commands.execute(kind, caller, body, None, len(message.data))


def _named(call: Call, body: Any) -> tuple[tuple[str, ...], Any]:
    """The ids that the path of HTTP names, and the body without them."""
    if type(body) is not dict:
        return (), body
    ids = []
    for name in call.parameters:
        if not isinstance(body.get(name), str) or not body[name]:
            raise Invalid(f"missing_{name}", f"{name} is required here, since there is no path to name it.")
        ids.append(body[name])
    return tuple(ids), {name: value for name, value in body.items() if name not in call.parameters}
