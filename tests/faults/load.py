"""The load under which faults are injected: writers and SSE viewers that behave like good clients, and keep a history.

A writer gives each wish one Idempotency-Key and asks with it until it hears an answer that settles it, at the next
address if one does not answer. A few give up early, as a real client's deadline would have them: their outcome is
unknown. A viewer reconnects with ``Last-Event-ID``; some hang up by themselves now and then.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import httpx

from tests.checkers.history import Acknowledged, Frame, History, Operation, Outcome, Transcript, Window

#: An answer takes at most as long as a request waits for another one with its key.
TIMEOUT: Final = httpx.Timeout(12.0, connect=2.0)
STREAM_TIMEOUT: Final = httpx.Timeout(5.0, read=20.0)
#: Refusals that pass: asking again with the same key is the right thing to do.
PASSING: Final = frozenset({409, 429, 503})
PATIENCE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Place:
    """A thread to write to."""

    room_id: str
    thread_id: str


@dataclass(frozen=True, slots=True)
class Request:
    """What an operation sends. ``texts``: of the entities that it makes."""

    path: str
    body: dict[str, Any]
    texts: tuple[str, ...]


class Load:
    """Clients of one workspace.

    Args:
        urls: addresses of the API processes; clients are spread over them, and move on when one does not answer.
        seed: of every choice that the clients make.
        giving_up: share of the writes whose client gives up at the first sign of trouble.
    """

    def __init__(
        self,
        urls: Sequence[str],
        workspace_id: str,
        seed: int,
        *,
        rooms: int = 3,
        writers: int = 6,
        giving_up: float = 0.1,
    ) -> None:
        self.urls = list(urls)
        self.history = History(workspace_id)
        self._seed = seed
        self._rooms = rooms
        self._writers = writers
        self._giving_up = giving_up
        self._places: list[Place] = []
        self._sent: dict[str, Request] = {}
        self._acked = 0
        self._progress = asyncio.Event()
        self._still = asyncio.Event()
        self._closed = asyncio.Event()
        self._writing: list[asyncio.Task[None]] = []
        self._viewing: list[asyncio.Task[None]] = []
        self._client = httpx.AsyncClient(
            headers={"x-workspace-id": workspace_id}, timeout=TIMEOUT, limits=httpx.Limits(max_connections=None)
        )

    async def start(self) -> None:
        """Make the rooms, then let writers and viewers loose."""
        for number in range(self._rooms):
            room = await self._make(0, f"room-{number}", "/v1/rooms")
            thread = await self._make(0, f"thread-{number}", f"/v1/rooms/{room}/threads")
            self._places.append(Place(room, thread))
        for place in self._places:
            self.view(place.room_id, "steady")
        self.view(self._places[0].room_id, "restless", hangs_up=True)
        self._writing = [asyncio.create_task(self._write(number)) for number in range(self._writers)]

    async def acked(self, more: int, timeout_s: float = PATIENCE_S) -> None:
        """Wait until so many more writes have been acknowledged. Raises what a client died of."""
        wanted = self._acked + more
        async with asyncio.timeout(timeout_s):
            while self._acked < wanted:
                self._raise_errors()
                self._progress.clear()
                await self._progress.wait()

    @contextlib.contextmanager
    def fault(self) -> Iterator[None]:
        """The time in which operations may fail; it ends when the stack is healthy again."""
        began = time.monotonic()
        yield
        self.history.windows.append(Window(began, time.monotonic()))

    async def stop_writing(self) -> None:
        """Let every writer settle what it is about."""
        self._still.set()
        async with asyncio.timeout(PATIENCE_S + 5):
            await asyncio.gather(*self._writing)

    def view(self, room_id: str, name: str, *, hangs_up: bool = False) -> Transcript:
        """One more SSE client of a room, from its first event on."""
        transcript = Transcript(room_id, f"{name} viewer {len(self.history.transcripts)}")
        self.history.transcripts.append(transcript)
        self._viewing.append(asyncio.create_task(self._watch(transcript, len(self._viewing), hangs_up)))
        return transcript

    def view_all_anew(self) -> None:
        """A client that comes late to each room: it gets everything from the store."""
        for place in self._places:
            self.view(place.room_id, "late")

    async def viewed(self, heads: dict[str, int], timeout_s: float) -> bool:
        """Wait until every viewer has come as far as the rooms have; False when some have not in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while any(t.last < heads.get(t.room_id, 0) for t in self.history.transcripts):
                    self._raise_errors()
                    self._progress.clear()
                    await self._progress.wait()
                return True
        return False

    async def ask_again(self, operations: Sequence[Operation]) -> None:
        """Send operations once more: an answer under a key stays what it was, and an unknown outcome becomes known."""
        for operation in operations:
            again = Operation(operation.key, operation.texts, time.monotonic())
            await self._settle(again, 0, self._sent[operation.key], patient=True)
            operation.answers += again.answers
            if operation.outcome is Outcome.UNKNOWN:
                operation.outcome, operation.ended_s = again.outcome, again.ended_s
            elif again.outcome is not Outcome.OK:
                operation.outcome = again.outcome
                operation.tries += again.tries

    async def close(self) -> None:
        """Hang up everywhere."""
        self._closed.set()
        for task in (*self._writing, *self._viewing):
            task.cancel()
        await asyncio.gather(*self._writing, *self._viewing, return_exceptions=True)
        await self._client.aclose()

    def _raise_errors(self) -> None:
        for task in (*self._writing, *self._viewing):
            if task.done() and not task.cancelled() and (error := task.exception()):
                raise error

    # -- writers

    async def _make(self, writer: int, text: str, path: str) -> str:
        operation = await self._operate(writer, Request(path, {"title": text}, (text,)), patient=True)
        assert operation.outcome is Outcome.OK, operation
        return operation.answers[0][0].entity_id

    async def _write(self, writer: int) -> None:
        rng = random.Random(self._seed * 1000 + writer)
        number = 0
        while not self._still.is_set():
            number += 1
            place = rng.choice(self._places)
            texts = tuple(
                f"{writer}/{number}/{part} " + "x" * rng.randrange(200) for part in range(rng.choice((1, 1, 1, 3)))
            )
            body = [{"content_md": text, "sender_type": "user", "sender_id": f"writer-{writer}"} for text in texts]
            if len(texts) == 1:
                request = Request(f"/v1/threads/{place.thread_id}/messages", body[0], texts)
            else:
                commands = [{"type": "message.create", "body": {**one, "thread_id": place.thread_id}} for one in body]
                request = Request("/v1/commands", {"atomic": True, "commands": commands}, texts)
            await self._operate(writer, request, patient=rng.random() >= self._giving_up)

    async def _operate(self, writer: int, request: Request, *, patient: bool) -> Operation:
        key = f"{self.history.workspace_id}-{len(self.history.operations)}"
        operation = Operation(key, request.texts, time.monotonic())
        self.history.operations.append(operation)
        self._sent[key] = request
        await self._settle(operation, writer, request, patient=patient)
        return operation

    async def _settle(self, operation: Operation, writer: int, request: Request, *, patient: bool) -> None:
        """Ask until the outcome is known. A client that is not patient leaves it at the first trouble."""
        deadline = time.monotonic() + PATIENCE_S
        pause_s = 0.02
        turn = writer
        while True:
            status, answer = await self._ask(operation.key, self.urls[turn % len(self.urls)], request)
            operation.tries.append(status)
            operation.ended_s = time.monotonic()
            if answer is not None:
                operation.outcome = Outcome.OK
                operation.answers.append(answer)
                self._acked += 1
                self._progress.set()
                return
            if status.isdecimal() and 400 <= int(status) < 500 and int(status) not in PASSING:
                operation.outcome = Outcome.FAILED
                return
            if not patient or time.monotonic() > deadline:
                return
            turn += 1
            await self._pause(pause_s)
            pause_s = min(0.25, pause_s * 2)

    async def _ask(self, key: str, url: str, request: Request) -> tuple[str, tuple[Acknowledged, ...] | None]:
        try:
            response = await self._client.post(url + request.path, json=request.body, headers={"idempotency-key": key})
        except httpx.TransportError as error:
            return type(error).__name__, None
        if not response.is_success:
            return str(response.status_code), None
        body = response.json()
        results: list[dict[str, Any]] = body.get("results", [body])
        return str(response.status_code), tuple(
            Acknowledged(
                result.get("message_id") or result.get("thread_id") or result["room_id"],
                result["event_id"],
                result["stream_id"],
                result["stream_seq"],
            )
            for result in results
        )

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._closed.wait(), seconds)

    # -- viewers

    async def _watch(self, transcript: Transcript, number: int, hangs_up: bool) -> None:
        rng = random.Random(self._seed * 1000 + 500 + number)
        tries = 0
        while not self._closed.is_set():
            url = self.urls[(number + tries) % len(self.urls)]
            headers = {"accept": "text/event-stream"}
            if transcript.frames:
                headers["last-event-id"] = str(transcript.last)
            tries += 1
            most = rng.randrange(20, 200) if hangs_up else None
            with contextlib.suppress(httpx.TransportError):
                async with self._client.stream(
                    "GET", f"{url}/v1/streams/rooms/{transcript.room_id}", headers=headers, timeout=STREAM_TIMEOUT
                ) as response:
                    if response.status_code == 200:
                        transcript.connections += 1
                        await self._read(transcript, response.aiter_lines(), most)
                    elif response.status_code != 503:
                        raise AssertionError(f"an event stream answered {response.status_code}")
            await self._pause(0.05)

    async def _read(self, transcript: Transcript, lines: AsyncIterator[str], most: int | None) -> None:
        members: dict[str, str] = {}
        frames = 0
        async for line in lines:
            if line:
                name, _, value = line.partition(": ")
                members[name] = value
                continue
            event, data = members.get("event"), members.get("data")
            if event is None and data is not None:
                transcript.frames.append(Frame(transcript.connections, int(members["id"]), data))
                self._progress.set()
                frames += 1
            elif event == "reset":
                transcript.resets += 1
            members.clear()
            if most is not None and frames >= most:
                return
