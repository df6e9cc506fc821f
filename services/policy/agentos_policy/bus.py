"""The policy service's side of NATS: the questions that it answers."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import orjson
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from agentos_shared.bus.connection import connect
from agentos_shared.contracts import subjects
from agentos_shared.host.lifecycle import CLOCK

log = structlog.get_logger("agentos.policy")

MAX_RUNNING: Final = 5_000

Handler = Callable[[dict[str, Any]], Awaitable[Mapping[str, Any]]]


class PolicyBus:
    """One connection. What it is subscribed to survives reconnects. A question that fails is not answered."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client = Client()
        self._running: set[asyncio.Task[None]] = set()

    @property
    def connected(self) -> bool:
        """Whether questions can arrive."""
        return self._client.is_connected

    async def answer(self, subject: str, handler: Handler) -> None:
        """Answer questions on ``subject``, each in a task of its own, among all processes of this service."""

        async def on_message(message: Msg) -> None:
            if not message.reply or len(self._running) >= MAX_RUNNING:
                return
            task = asyncio.create_task(self._reply(message, handler))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

        await self._client.subscribe(subject, queue=subjects.POLICY_QUEUE, cb=on_message)

    async def _reply(self, message: Msg, handler: Handler) -> None:
        try:
            answer = await handler(orjson.loads(message.data) if message.data else {})
        except Exception:
            log.exception("question_failed", subject=message.subject)
            return
        await self._client.publish(message.reply, orjson.dumps(answer))

    async def serve(self, handlers: Mapping[str, Handler]) -> None:
        """Connect, before anything is subscribed to, and answer for ever.

        Raises:
            HandshakeFailed: the server did not take us in.
        """
        self._client = await connect(self._url, "policy")
        for subject, handler in handlers.items():
            await self.answer(subject, handler)
        while True:
            await CLOCK.sleep(3600)

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
