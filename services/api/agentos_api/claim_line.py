"""Claims of this process on their way to the engine service and back: many in one message, each way.

A claim may wait for half a minute, so its answer comes by itself, on a subject of this process. That a message with
claims was taken is acknowledged at once: when nobody takes it, its claims need not wait to learn that.
"""

import asyncio
import itertools
from collections.abc import Mapping
from typing import Any, Final

import nats.errors
import orjson
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from agentos_shared.contracts import subjects
from agentos_shared.domain import ids
from agentos_shared.domain.errors import TryLater

log = structlog.get_logger("agentos.commands")

#: What an answer may take besides the time that a claim may wait for a run.
ANSWER_S: Final = 15.0
TAKEN_S: Final = 5.0
MOST: Final = 200
MAX_BYTES: Final = 500_000


class ClaimLine:
    """Asks for runs. Idempotent to start and stop."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._reply_to = subjects.claims_of(ids.random_bytes(8).hex())
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[Mapping[str, Any]]] = {}
        self._leaving: list[tuple[int, bytes]] = []
        self._sending: asyncio.Task[None] | None = None
        self._subscription: Subscription | None = None

    async def start(self) -> None:
        """Begin to listen for answers."""
        if self._subscription is None:
            self._subscription = await self._client.subscribe(self._reply_to, cb=self._on_answers)

    async def stop(self) -> None:
        """End it; who still waits is told to ask again."""
        self.drain()
        subscription, self._subscription = self._subscription, None
        if subscription is not None and not self._client.is_closed:
            await subscription.unsubscribe()
        if self._sending is not None:
            await asyncio.wait([self._sending])

    def drain(self) -> None:
        """This process stops: who waits is told to ask again. What is granted after all the same key gets again."""
        for number in list(self._waiting):
            self._refuse(number, TryLater("draining", "This process stops; ask again."))

    async def ask(self, question: Mapping[str, Any], wait_s: float) -> Mapping[str, Any]:
        """The engine service's answer to one claim.

        Raises:
            TryLater: ``engine_unavailable``, ``draining``.
        """
        if not self._client.is_connected:
            raise away()
        number = next(self._numbers)
        future: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        self._leaving.append((number, orjson.dumps({"number": number, **question})))
        if self._sending is None:
            self._sending = asyncio.create_task(self._send_all())
        try:
            async with asyncio.timeout(wait_s + ANSWER_S):
                return await future
        except TimeoutError:
            raise away() from None
        finally:
            del self._waiting[number]

    async def _send_all(self) -> None:
        try:
            await asyncio.sleep(0)  # noqa: TID251 - no time passes: claims of the same turn of the loop come along
            while self._leaving:
                await self._send(self._take())
        finally:
            self._sending = None

    def _take(self) -> list[tuple[int, bytes]]:
        taken: list[tuple[int, bytes]] = []
        size = 0
        for number, question in self._leaving[:MOST]:
            size += len(question)
            if taken and size > MAX_BYTES:
                break
            taken.append((number, question))
        del self._leaving[: len(taken)]
        return taken

    async def _send(self, claims: list[tuple[int, bytes]]) -> None:
        body = b'{"reply_to":"%b","claims":[%b]}' % (self._reply_to.encode(), b",".join(asked for _, asked in claims))
        try:
            await self._client.request(subjects.ENGINE_CLAIM, body, timeout=TAKEN_S)
        except (nats.errors.Error, TimeoutError, OSError) as error:
            log.debug("claims_not_taken", claims=len(claims), error=f"{type(error).__name__}: {error}")
            for number, _ in claims:
                self._refuse(number, away())

    async def _on_answers(self, message: Msg) -> None:
        for number, answer in orjson.loads(message.data)["answers"]:
            future = self._waiting.get(number)
            if future is not None and not future.done():
                future.set_result(answer)

    def _refuse(self, number: int, error: TryLater) -> None:
        future = self._waiting.get(number)
        if future is not None and not future.done():
            future.set_exception(error)


def away() -> TryLater:
    """503 while the engine service or NATS is away."""
    return TryLater("engine_unavailable", "The engine service cannot be reached now; try again.")
