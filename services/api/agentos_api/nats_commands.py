"""Commands over NATS request/reply: ``agentos.cmd.<workspace>.<noun>.<verb>``, validated and answered as over HTTP."""

import asyncio
from typing import Final

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from agentos_api.append.submission import Answer
from agentos_api.commands import Caller, Commands, correlation
from agentos_api.http import problem
from agentos_api.http.access import Access
from agentos_api.http.edge import internal_error
from agentos_shared.contracts import subjects
from agentos_shared.domain.canonical import parse
from agentos_shared.domain.errors import DomainError, Invalid, NotFound
from agentos_shared.host import telemetry

log = structlog.get_logger("agentos.commands")

MAX_RUNNING: Final = 512
STOP_S: Final = 2.0


class NatsCommands:
    """Answers commands of one queue group among the API processes."""

    def __init__(self, client: Client, commands: Commands, access: Access) -> None:
        self._client = client
        self._commands = commands
        self._access = access
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
        await self._room.acquire()  # a full house holds up the subscription, whose own buffer is bounded
        task = asyncio.create_task(self._answer(message), name=message.subject)
        self._running.add(task)
        task.add_done_callback(self._done)

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
        kind = self._commands.types.get(name)
        if kind is None:
            known = ", ".join(sorted(self._commands.types))
            raise NotFound(
                "unknown_command",
                f"There is no command {name!r}. The subject is agentos.cmd.<workspace>.<command>, of {known}.",
            )
        headers = {name.lower(): value for name, value in (message.headers or {}).items()}
        identity = await self._access.identify(
            {name.encode(): value.encode("latin-1", "replace") for name, value in headers.items()}, workspace_id
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
            )
            body = parse(message.data) if message.data else {}
            return await self._commands.execute(kind, caller, body, None, len(message.data))
