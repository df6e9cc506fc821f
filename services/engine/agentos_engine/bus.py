"""The engine's side of NATS: questions it answers, hints it takes, commands that it gives to the API."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import nats.errors
import orjson
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from agentos_shared.bus.connection import connect
from agentos_shared.contracts import subjects
from agentos_shared.contracts.positions import Hint, StreamKey, decode_ping
from agentos_shared.host.lifecycle import Rng

log = structlog.get_logger("agentos.engine")

COMMAND_S: Final = 5.0
#: Bytes of one message with commands; the server takes 1 MB.
MAX_BYTES: Final = 800_000
MAX_RUNNING: Final = 20_000

Handler = Callable[[dict[str, Any]], Awaitable[Mapping[str, Any]]]
OnHints = Callable[[list[Hint], bool], Awaitable[None]]


class Unanswered(Exception):
    """A command may or may not have been carried out: nobody answered."""


def problem(status: int, code: str, detail: str) -> dict[str, Any]:
    """An answer that refuses; the API makes a problem document of it."""
    return {"status": status, "error": code, "detail": detail}


BUSY: Final = problem(503, "engine_busy", "Too many questions wait; try again.")
BROKEN: Final = problem(500, "internal_error", "Something went wrong in the engine service; its log has more.")


class EngineBus:
    """One connection. What it is subscribed to survives reconnects."""

    def __init__(self, url: str, rng: Rng) -> None:
        self._url = url
        self._name = rng.token(8).hex()
        self._client = Client()
        self._running: set[asyncio.Task[None]] = set()
        self._answers: dict[str, list[bytes]] = {}
        self._telling: asyncio.Task[None] | None = None
        self._asked: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._told = self._taken = 0
        self._taking = asyncio.Condition()

    @property
    def hinted(self) -> bool:
        """Whether there are hints that have not been taken yet."""
        return self._taken < self._told

    async def settled(self) -> None:
        """Wait until the hints that are there now have been taken."""
        told = self._told
        async with self._taking:
            await self._taking.wait_for(lambda: self._taken >= told)

    @property
    def connected(self) -> bool:
        """Whether hints can arrive."""
        return self._client.is_connected

    async def answer(self, subject: str, handler: Handler) -> None:
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

        await self._client.subscribe(subject, queue=subjects.ENGINE_QUEUE, cb=on_message)

    async def take_claims(self, handler: Handler) -> None:
        """Take messages with many claims, and answer each claim by itself, once there is an answer to it.

        ``handler`` is cancelled when nobody waits for its answer any more.
        """

        taken = orjson.dumps({"by": self._name})

        async def on_alive(message: Msg) -> None:
            await message.respond(b"{}")

        async def on_message(message: Msg) -> None:
            asked = orjson.loads(message.data)
            await message.respond(taken)
            for question in asked["claims"]:
                if (asked["reply_to"], question["number"]) in self._asked:
                    continue  # asked again, because this process could not be reached for a moment
                if len(self._running) >= MAX_RUNNING:
                    self._tell(asked["reply_to"], question["number"], BUSY)
                    continue
                task = asyncio.create_task(self._claim(asked["reply_to"], question, handler))
                self._asked[asked["reply_to"], question["number"]] = task
                self._running.add(task)
                task.add_done_callback(self._running.discard)

        async def on_withdraw(message: Msg) -> None:
            gone = orjson.loads(message.data)
            for number in gone["numbers"]:
                if (task := self._asked.pop((gone["reply_to"], number), None)) is not None:
                    task.cancel()

        await self._client.subscribe(subjects.ENGINE_WITHDRAW, cb=on_withdraw)
        await self._client.subscribe(subjects.alive(self._name), cb=on_alive)
        await self._client.subscribe(subjects.ENGINE_CLAIM, queue=subjects.ENGINE_QUEUE, cb=on_message)

    async def _claim(self, reply_to: str, question: dict[str, Any], handler: Handler) -> None:
        try:
            answer = await handler(question)
        except Exception:
            log.exception("claim_failed")
            answer = BROKEN
        finally:
            self._asked.pop((reply_to, question["number"]), None)
        self._tell(reply_to, question["number"], answer)

    def _tell(self, reply_to: str, number: int, answer: Mapping[str, Any]) -> None:
        """Answer a claim, together with those that are answered in this same turn of the loop."""
        self._answers.setdefault(reply_to, []).append(b"[%d,%b]" % (number, orjson.dumps(answer)))
        if self._telling is None:
            self._telling = asyncio.create_task(self._tell_all())

    async def _tell_all(self) -> None:
        try:
            await asyncio.sleep(0)  # noqa: TID251 - no time passes
            while self._answers:
                reply_to, answers = self._answers.popitem()
                for body in _messages(b"answers", answers):
                    with contextlib.suppress(nats.errors.Error, OSError):  # who asked finds out by its own clock
                        await self._client.publish(reply_to, body)
        finally:
            self._telling = None

    async def _reply(self, message: Msg, handler: Handler) -> None:
        try:
            answer = await handler(orjson.loads(message.data) if message.data else {})
        except Exception:
            log.exception("question_failed", subject=message.subject)
            answer = BROKEN
        await self._client.publish(message.reply, orjson.dumps(answer))

    async def follow(self, on_hints: OnHints) -> None:
        """Take hints about runs; what arrives while ``on_hints`` works is handed over together afterwards."""
        waiting: dict[StreamKey, int] = {}
        complete = True
        arrived = asyncio.Event()
        self._taken = self._told  # what an earlier connection had told is found by comparing

        async def on_ping(message: Msg) -> None:
            nonlocal complete
            positions, all_told = decode_ping(message.data)
            for stream, seq in positions.items():
                stream_type, _, stream_id = stream.partition("/")
                waiting[StreamKey(stream_type, stream_id)] = seq
            complete = complete and all_told
            self._told += 1
            arrived.set()

        await self._client.subscribe(subjects.PING_RUNS, queue=subjects.ENGINE_QUEUE, cb=on_ping)
        while True:
            await arrived.wait()
            arrived.clear()
            hints, whole, told = [Hint(key, seq) for key, seq in waiting.items()], complete, self._told
            waiting.clear()
            complete = True
            await on_hints(hints, whole)
            async with self._taking:
                self._taken = told
                self._taking.notify_all()

    async def command(self, noun: str, verb: str, commands: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Give commands to the API, as many at once as fit into a message; their answers, in order.

        Raises:
            Unanswered: of some it is not known what became of them. All commands of this service may be repeated.
        """
        subject = subjects.service_command("engine", noun, verb)
        bodies = _messages(b"commands", [orjson.dumps(command) for command in commands])
        parts = await asyncio.gather(*(self._ask(subject, body) for body in bodies))
        return [result for part in parts for result in part]

    async def _ask(self, subject: str, body: bytes) -> list[dict[str, Any]]:
        try:
            reply = await self._client.request(subject, body, timeout=COMMAND_S)
            results: list[dict[str, Any]] = orjson.loads(reply.data)["results"]
        except (nats.errors.Error, TimeoutError, OSError, orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise Unanswered(f"{subject}: {type(error).__name__}: {error}") from error
        return results

    async def connect(self, on_back: Callable[[], None]) -> None:
        """Connect, before anything is subscribed to; from then on the client sees to it.

        Args:
            on_back: called once connected and after every reconnect, since hints may have been lost.

        Raises:
            HandshakeFailed: the server did not take us in.
        """

        async def back() -> None:
            on_back()

        self._client = await connect(self._url, "engine", on_back=back)
        on_back()

    async def flush(self) -> None:
        """Raises unless the server answers within a second."""
        await self._client.flush(timeout=1)

    async def close(self) -> None:
        """Answer what is being answered for a moment, then leave."""
        if self._client.is_connected and self._running:
            await asyncio.wait(self._running, timeout=1)
        if self._telling is not None:
            await asyncio.wait([self._telling], timeout=1)
        for task in self._running:
            task.cancel()
        await self._client.close()


def _messages(name: bytes, members: Sequence[bytes]) -> list[bytes]:
    """Objects with one list, each small enough for a message; the lists together are ``members``."""
    bodies: list[bytes] = []
    part: list[bytes] = []
    size = 0
    for member in members:
        if part and size + len(member) > MAX_BYTES:
            bodies.append(_body(name, part))
            part, size = [], 0
        part.append(member)
        size += len(member) + 1
    if part:
        bodies.append(_body(name, part))
    return bodies


def _body(name: bytes, members: Sequence[bytes]) -> bytes:
    return b'{"%b":[%b]}' % (name, b",".join(members))
