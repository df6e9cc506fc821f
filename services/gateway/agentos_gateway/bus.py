"""The gateway's side of NATS: questions it answers, questions it asks, commands that it gives to the API."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import nats.errors
import orjson
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from agentos_shared.bus.connection import connect
from agentos_shared.contracts import subjects
from agentos_shared.host.lifecycle import CLOCK

log = structlog.get_logger("agentos.gateway")

COMMAND_S: Final = 5.0
#: Requests that are on their way or wait for an approval.
MAX_RUNNING: Final = 5_000

Handler = Callable[[dict[str, Any]], Awaitable[Mapping[str, Any]]]
Listener = Callable[[dict[str, Any]], None]
NOTHING: Final[Mapping[str, Listener]] = MappingProxyType({})


class Unanswered(Exception):
    """A command may or may not have been carried out: nobody answered."""


def problem(status: int, code: str, detail: str) -> dict[str, Any]:
    """An answer that refuses; the API makes a problem document of it."""
    return {"status": status, "error": code, "detail": detail}


BUSY: Final = problem(503, "gateway_busy", "Too many requests are on their way; try again.")
BROKEN: Final = problem(500, "internal_error", "Something went wrong in the gateway; its log has more.")


class GatewayBus:
    """One connection. What it is subscribed to survives reconnects."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client = Client()
        self._running: set[asyncio.Task[None]] = set()

    @property
    def connected(self) -> bool:
        """Whether questions can arrive."""
        return self._client.is_connected

    async def serve(self, handlers: Mapping[str, Handler], heard: Mapping[str, Listener] = NOTHING) -> None:
        """Connect, before anything is subscribed to, and answer for ever.

        Args:
            heard: what every process of this service is told, and nobody answers.

        Raises:
            HandshakeFailed: the server did not take us in.
        """
        self._client = await connect(self._url, "gateway")
        for subject, handler in handlers.items():
            await self._answer(subject, handler)
        for subject, listener in heard.items():
            await self._hear(subject, listener)
        while True:
            await CLOCK.sleep(3600)

    async def _answer(self, subject: str, handler: Handler) -> None:
        """Answer questions on ``subject``, each in a task of its own, among all processes of this service."""

        async def on_message(message: Msg) -> None:
            if not message.reply:
                return
            if len(self._running) >= MAX_RUNNING:
                await message.respond(orjson.dumps(BUSY))
                return
            task = asyncio.create_task(self._reply(message, handler))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

        await self._client.subscribe(subject, queue=subjects.GATEWAY_QUEUE, cb=on_message)

    async def _hear(self, subject: str, listener: Listener) -> None:
        async def on_message(message: Msg) -> None:
            try:
                listener(orjson.loads(message.data))
            except Exception:
                log.exception("not_heard", subject=message.subject)

        await self._client.subscribe(subject, cb=on_message)

    async def _reply(self, message: Msg, handler: Handler) -> None:
        try:
            answer = await handler(orjson.loads(message.data) if message.data else {})
        except Exception:
            log.exception("question_failed", subject=message.subject)
            answer = BROKEN
        await self._client.publish(message.reply, orjson.dumps(answer))

    async def command(self, noun: str, verb: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Give one command to the API; its answer, which may be a refusal with ``status`` and ``error``.

        Raises:
            Unanswered: it is not known what became of it. With the same key it may be given again.
        """
        subject = subjects.service_command("gateway", noun, verb)
        try:
            reply = await self._client.request(subject, orjson.dumps({"commands": [body]}), timeout=COMMAND_S)
            results: list[dict[str, Any]] = orjson.loads(reply.data)["results"]
            return results[0]
        except (nats.errors.Error, TimeoutError, OSError, ValueError, KeyError, IndexError, TypeError) as error:
            raise Unanswered(f"{subject}: {type(error).__name__}: {error}") from error

    async def ask(self, subject: str, question: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        """Ask another service.

        Raises:
            Unanswered.
        """
        try:
            reply = await self._client.request(subject, orjson.dumps(question), timeout=timeout)
            answer: dict[str, Any] = orjson.loads(reply.data)
        except (nats.errors.Error, TimeoutError, OSError, ValueError) as error:
            raise Unanswered(f"{subject}: {type(error).__name__}: {error}") from error
        return answer

    async def flush(self) -> None:
        """Raises unless the server answers within a second."""
        await self._client.flush(timeout=1)

    async def close(self) -> None:
        """Answer what is being answered for a moment, then leave."""
        if self._client.is_connected and self._running:
            await asyncio.wait(self._running, timeout=1)
        for task in self._running:
            task.cancel()
        await self._client.close()
