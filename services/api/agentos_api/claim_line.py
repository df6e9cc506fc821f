"""Claims of this process on their way to the engine service and back: many in one message, each way.

A claim may wait for half a minute, so its answer comes by itself, on a subject of this process. That a message with
claims was taken is acknowledged at once: when nobody takes it, its claims need not wait to learn that. Who took it is
asked now and then whether it is still there: the claims of a process that died are asked for again.

A claim that nobody waits for any more is withdrawn, so that no run is given to somebody who is gone.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
from agentos_shared.host.lifecycle import CLOCK

log = structlog.get_logger("agentos.commands")

#: What an answer may take besides the time that a claim may wait for a run.
ANSWER_S: Final = 15.0
TAKEN_S: Final = 5.0
WATCH_S: Final = 1.0
MOST: Final = 200
MAX_BYTES: Final = 500_000
#: Claims of which it is remembered that they were withdrawn, for the moment that their answer may be under way.
REMEMBERED: Final = 1000


@dataclass(slots=True)
class _Waiting:
    """A claim under way; ``taker`` is the process of the engine service that has it."""

    question: Mapping[str, Any]
    until: float
    answer: asyncio.Future[Mapping[str, Any]]
    taker: str | None = None


class ClaimLine:
    """Asks for runs. Idempotent to start and stop.

    Args:
        undelivered: told of each run that was given to a claim which had been withdrawn, unless it had an idempotency
            key: under that it may be asked for again.
    """

    def __init__(self, client: Client, undelivered: Callable[[Mapping[str, Any]], None]) -> None:
        self._client = client
        self._undelivered = undelivered
        self._withdrawn: deque[int] = deque(maxlen=REMEMBERED)
        self._withdrawing: set[asyncio.Task[None]] = set()
        self._reply_to = subjects.claims_of(ids.random_bytes(8).hex())
        self._numbers = itertools.count()
        self._waiting: dict[int, _Waiting] = {}
        self._leaving: list[tuple[int, bytes]] = []
        self._sending: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._subscription: Subscription | None = None

    async def start(self) -> None:
        """Begin to listen for answers."""
        if self._subscription is None:
            self._subscription = await self._client.subscribe(self._reply_to, cb=self._on_answers)

    async def stop(self) -> None:
        """End it; who still waits is told to ask again."""
        self.drain()
        if self._withdrawing:
            await asyncio.wait(self._withdrawing, timeout=1)
        subscription, self._subscription = self._subscription, None
        if subscription is not None and not self._client.is_closed:
            await subscription.unsubscribe()
        for task in (self._sending, self._watching):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])

    def drain(self) -> None:
        """This process stops: who waits is told to ask again. What is granted after all the same key gets again."""
        self._withdraw(list(self._waiting))
        for number in list(self._waiting):
            self._refuse(number, TryLater("draining", "This process stops; ask again."))

    async def ask(self, question: Mapping[str, Any], wait_s: float) -> Mapping[str, Any]:
        """The engine service's answer to one claim.

        Raises:
            TryLater: ``engine_unavailable``, ``draining``.
        """
        if not self._client.is_connected:
            raise away()
        loop = asyncio.get_running_loop()
        number = next(self._numbers)
        waiting = self._waiting[number] = _Waiting(question, loop.time() + wait_s, loop.create_future())
        self._leave(number, waiting.question)
        if wait_s > 0 and self._watching is None:
            self._watching = asyncio.create_task(self._watch())
        try:
            async with asyncio.timeout(wait_s + ANSWER_S):
                return await waiting.answer
        except TimeoutError:
            self._withdraw([number])
            raise away() from None
        except asyncio.CancelledError:
            self._withdraw([number])
            raise
        finally:
            del self._waiting[number]

    def _withdraw(self, numbers: list[int]) -> None:
        """Say that nobody waits for these any more. When that is lost, a run may wait for its lease to run out."""
        if not numbers or not self._client.is_connected:
            return
        self._leaving = [(number, asked) for number, asked in self._leaving if number not in numbers]
        self._withdrawn += [number for number in numbers if self._waiting[number].question.get("key") is None]
        body = orjson.dumps({"reply_to": self._reply_to, "numbers": numbers})
        task = asyncio.create_task(self._client.publish(subjects.ENGINE_WITHDRAW, body))
        self._withdrawing.add(task)
        task.add_done_callback(self._sent)

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._withdrawing.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.debug("claims_not_withdrawn", error=f"{type(error).__name__}: {error}")

    def _leave(self, number: int, question: Mapping[str, Any]) -> None:
        self._leaving.append((number, orjson.dumps({**question, "number": number})))
        if self._sending is None:
            self._sending = asyncio.create_task(self._send_all())

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
            reply = await self._client.request(subjects.ENGINE_CLAIM, body, timeout=TAKEN_S)
            taker = orjson.loads(reply.data)["by"]
        except (nats.errors.Error, TimeoutError, OSError) as error:
            log.debug("claims_not_taken", claims=len(claims), error=f"{type(error).__name__}: {error}")
            for number, _ in claims:
                self._refuse(number, away())
            return
        for number, _ in claims:
            if (waiting := self._waiting.get(number)) is not None:
                waiting.taker = taker

    async def _watch(self) -> None:
        """While claims wait, see whether those who have them are there."""
        try:
            while self._waiting:
                await CLOCK.sleep(WATCH_S)
                for taker in {waiting.taker for waiting in self._waiting.values()} - {None}:
                    if taker is not None and await self._is_gone(taker):
                        self._ask_again(taker)
        finally:
            self._watching = None

    async def _is_gone(self, taker: str) -> bool:
        try:
            await self._client.request(subjects.alive(taker), timeout=WATCH_S)
        except nats.errors.NoRespondersError:
            return True
        except (nats.errors.Error, TimeoutError, OSError):
            return False  # slow, or NATS is away: that is not death
        return False

    def _ask_again(self, taker: str) -> None:
        now = asyncio.get_running_loop().time()
        for number, waiting in self._waiting.items():
            if waiting.taker == taker and not waiting.answer.done():
                waiting.taker = None
                self._leave(number, {**waiting.question, "wait_s": max(0.0, waiting.until - now)})

    async def _on_answers(self, message: Msg) -> None:
        for number, answer in orjson.loads(message.data)["answers"]:
            waiting = self._waiting.get(number)
            if waiting is not None and not waiting.answer.done():
                waiting.answer.set_result(answer)
            elif number in self._withdrawn and answer["status"] == 200 and answer["body"]["run"] is not None:
                self._undelivered(answer["body"]["run"])

    def _refuse(self, number: int, error: TryLater) -> None:
        waiting = self._waiting.get(number)
        if waiting is not None and not waiting.answer.done():
            waiting.answer.set_exception(error)


def away() -> TryLater:
    """503 while the engine service or NATS is away."""
    return TryLater("engine_unavailable", "The engine service cannot be reached now; try again.")
