"""``agentos import-trajectory``: recorded sessions into a room, one thread a session, in their order, to the byte.

Every request carries an Idempotency-Key made from the files' content and the place in them, so running the command
again after it was cut short goes on where it stopped, and running it again after it was done changes nothing (for the
day that the API keeps keys).
"""

import asyncio
import hashlib
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from agentos_cli.trajectory import Label, Session, Utterance, read_session
from agentos_runtime import settings as runtime_settings
from agentos_runtime.datadir import DataDir
from agentos_runtime.errors import RuntimeFailure, Unreachable, UsageError
from agentos_runtime.supervisor import read_status

#: JSON bytes of one message's text; an event's data may have 512 KiB, and has other members too.
MAX_TEXT_BYTES: Final = 480 * 1024
#: One request: small enough to show progress and stay far below the 8 MiB that the API takes.
BATCH_MESSAGES: Final = 100
BATCH_BYTES: Final = 2 * 1024 * 1024
CONCURRENT_SESSIONS: Final = 4
TIMEOUT_S: Final = 30.0
#: How long one request is retried while the API cannot be reached or is busy; shorter for one that never answered.
PATIENCE_S: Final = 30.0
FIRST_PATIENCE_S: Final = 3.0
FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class Target:
    """Where to import to. ``room_id`` None makes a room."""

    url: str
    token: str | None
    workspace_id: str
    room_id: str | None


@dataclass(frozen=True, slots=True)
class Said:
    """One message to be: an utterance, or a part of one that is too long for an event."""

    label: Label
    text: str
    part: int
    parts: int


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of one session."""

    file: str
    thread_id: str
    messages: int
    empty_skipped: int
    split: int


def run(
    files: Sequence[Path],
    data_dir: Path | None,
    url: str | None,
    token_file: Path | None,
    workspace_id: str,
    room_id: str | None,
    as_json: bool,
) -> int:
    """Import the files. Returns the exit code.

    Raises:
        RuntimeFailure: a file or a request was refused. Nothing is written before all files are read and checked.
    """
    sessions = [read_session(path) for path in files]
    for session in sessions:
        for utterance in session.utterances:
            count = len(parts_of(utterance))
            if count > 1:
                typer.secho(
                    f"{session.path}: turn {utterance.turn}, {utterance.label}: is too long for one message; "
                    f"it becomes {count}, labelled part:1/{count} and so on.",
                    err=True,
                    fg=typer.colors.YELLOW,
                )
    target = _target(data_dir, url, token_file, workspace_id, room_id)
    started = time.monotonic()
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        disable=as_json or not Console(stderr=True).is_terminal,
    )
    with progress:
        bars = {
            session.path: progress.add_task(session.path.name, total=sum(1 for _ in _messages(session)))
            for session in sessions
        }
        made_in, imported = asyncio.run(
            import_sessions(sessions, target, lambda session, count: progress.advance(bars[session.path], count))
        )
    _tell(made_in, imported, time.monotonic() - started, as_json, target)
    return 0


async def import_sessions(
    sessions: Sequence[Session], target: Target, advance: Callable[[Session, int], None]
) -> tuple[str, list[Imported]]:
    """Import sessions concurrently, each in its order. Returns the room and what came of each session.

    Raises:
        RuntimeFailure: the API refused something. Unreachable: it could not be reached for long.
    """
    headers = {"x-workspace-id": target.workspace_id, "x-actor-type": "service", "x-actor-id": "import-trajectory"}
    if target.token:
        headers["authorization"] = f"Bearer {target.token}"
    async with httpx.AsyncClient(base_url=target.url, headers=headers, timeout=TIMEOUT_S, trust_env=False) as client:
        api = _Api(client)
        room_id = target.room_id or await _make_room(api, sessions)
        gate = asyncio.Semaphore(CONCURRENT_SESSIONS)

        async def one(session: Session) -> Imported:
            async with gate:
                return await _import_session(api, session, room_id, advance)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(session)) for session in sessions]
        except* RuntimeFailure as failures:
            raise failures.exceptions[0] from None
        return room_id, [task.result() for task in tasks]


def parts_of(utterance: Utterance) -> list[Said]:
    """An utterance as messages that fit; together they are its text to the byte."""
    texts = list(_split(utterance.text))
    return [Said(utterance.label, text, place, len(texts)) for place, text in enumerate(texts, 1)]


def _split(text: str) -> Iterator[str]:
    if len(text) * 6 <= MAX_TEXT_BYTES or len(json.dumps(text, ensure_ascii=False).encode()) <= MAX_TEXT_BYTES:
        yield text
        return
    middle = len(text) // 2
    yield from _split(text[:middle])
    yield from _split(text[middle:])


def _messages(session: Session) -> Iterator[Said]:
    for utterance in session.utterances:
        yield from parts_of(utterance)


def _batches(session: Session) -> Iterator[list[Said]]:
    batch: list[Said] = []
    size = 0
    for said in _messages(session):
        grown = size + len(said.text.encode())
        if batch and (len(batch) >= BATCH_MESSAGES or grown > BATCH_BYTES):
            yield batch
            batch, grown = [], len(said.text.encode())
        batch.append(said)
        size = grown
    if batch:
        yield batch


async def _make_room(api: "_Api", sessions: Sequence[Session]) -> str:
    title = sessions[0].path.stem if len(sessions) == 1 else f"{len(sessions)} imported sessions"
    key = _key("room", *(part for session in sessions for part in (session.digest, session.title)))
    results = await api.send(
        key, [{"type": "room.create", "body": {"title": title, "topic": "Recorded agent sessions"}}]
    )
    room_id: str = results[0]["room_id"]
    return room_id


async def _import_session(
    api: "_Api", session: Session, room_id: str, advance: Callable[[Session, int], None]
) -> Imported:
    opening = {"type": "thread.create", "body": {"room_id": room_id, "title": session.title}}
    opened = await api.send(_key("thread", room_id, session.digest, session.title), [opening])
    thread_id: str = opened[0]["thread_id"]
    sent = 0
    for place, batch in enumerate(_batches(session)):
        commands = [{"type": "message.create", "body": _body(said, session, thread_id)} for said in batch]
        await api.send(_key("messages", thread_id, session.digest, str(place)), commands)
        advance(session, len(batch))
        sent += len(batch)
    split = sum(len(parts_of(utterance)) > 1 for utterance in session.utterances)
    return Imported(str(session.path), thread_id, sent, session.empty, split)


def _body(said: Said, session: Session, thread_id: str) -> dict[str, Any]:
    answers = said.label == "observation"
    return {
        "thread_id": thread_id,
        "content_md": said.text,
        "sender_type": "service" if answers else "agent",
        "sender_id": session.environment if answers else session.agent,
        "labels": [said.label] if said.parts == 1 else [said.label, f"part:{said.part}/{said.parts}"],
    }


def _key(*parts: str) -> str:
    return "import-" + hashlib.sha256("\n".join(parts).encode()).hexdigest()


class _Api:
    """Bulk commands with retries: every request may be repeated, since its key makes it happen once."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._answered = False

    async def send(self, key: str, commands: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Results of the commands, all of them done.

        Raises:
            RuntimeFailure: the API refused. Unreachable: it was out of reach, or busy, for :data:`PATIENCE_S`.
        """
        started = time.monotonic()
        pause = FIRST_PAUSE_S
        while True:
            try:
                answer = await self._client.post(
                    "/v1/commands", json={"atomic": True, "commands": commands}, headers={"idempotency-key": key}
                )
            except httpx.InvalidURL as error:
                raise UsageError(f"{self._client.base_url} is no address of an API: {error}.") from error
            except httpx.TransportError as error:
                why = f"{type(error).__name__}: {error}"
            else:
                self._answered = True
                if answer.status_code == 200:
                    results: list[dict[str, Any]] = answer.json()["results"]
                    return results
                why = _why(answer)
                if not _may_pass(answer):
                    raise RuntimeFailure(f"The API refused the import: {why}")
            patience = PATIENCE_S if self._answered else FIRST_PATIENCE_S
            if time.monotonic() + pause > started + patience:
                raise Unreachable(
                    f"{self._client.base_url}: no answer for {patience:.0f} s ({why}). Start the stack with "
                    "`agentos up`, then run the same command again; it goes on where it stopped."
                )
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads retries, guards nothing
            pause = min(pause * 2, LONGEST_PAUSE_S)


def _may_pass(answer: httpx.Response) -> bool:
    """Whether trying again may help."""
    return answer.status_code in (429, 502, 503, 504) or _problem(answer).get("error") == "idempotency_key_in_flight"


def _why(answer: httpx.Response) -> str:
    told = _problem(answer)
    return f"{answer.status_code} {told.get('error', answer.reason_phrase)}: {told.get('detail', answer.text[:200])}"


def _problem(answer: httpx.Response) -> dict[str, Any]:
    try:
        told = answer.json()
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _target(
    data_dir: Path | None, url: str | None, token_file: Path | None, workspace_id: str, room_id: str | None
) -> Target:
    if url is not None:
        if not url.startswith(("http://", "https://")):
            raise UsageError(f"--url {url}: must start with http:// or https://.")
        return Target(url, _token(token_file) if token_file else None, workspace_id, room_id)
    data = DataDir(runtime_settings.load(data_dir).data_dir)
    found = read_status(data)
    if found is None or not found.get("url"):
        raise Unreachable(f"Nothing runs on {data.root}. Start it with `agentos up`, or name an API with --url.")
    own = token_file or (data.local_token if data.local_token.exists() else None)
    return Target(str(found["url"]), _token(own) if own else None, workspace_id, room_id)


def _token(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: holds no readable token: {error}.") from error


def _tell(room_id: str, imported: Sequence[Imported], seconds: float, as_json: bool, target: Target) -> None:
    messages = sum(session.messages for session in imported)
    if as_json:
        summary = {
            "room_id": room_id,
            "workspace_id": target.workspace_id,
            "url": target.url,
            "messages": messages,
            "seconds": round(seconds, 3),
            "sessions": [
                {
                    "file": session.file,
                    "thread_id": session.thread_id,
                    "messages": session.messages,
                    "empty_skipped": session.empty_skipped,
                    "split": session.split,
                }
                for session in imported
            ],
        }
        typer.echo(json.dumps(summary, indent=1))
        return
    for session in imported:
        texts = "text" if session.empty_skipped == 1 else "texts"
        skipped = f", {session.empty_skipped} empty {texts} skipped" if session.empty_skipped else ""
        typer.echo(f"{session.file}: {session.messages} messages in thread {session.thread_id}{skipped}")
    typer.echo(
        f"{len(imported)} sessions, {messages} messages, in room {room_id} ({seconds:.1f} s). "
        f"See `agentos tail {room_id}`."
    )
