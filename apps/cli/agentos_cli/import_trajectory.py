"""``agentos import-trajectory``: recorded sessions into a room.

A session becomes a thread with all that was said, to the byte, and a run with a step and a tool call for each turn.

Every request carries an Idempotency-Key made from the files' content and the place in them, so running the command
again after it was cut short goes on where it stopped, and running it again after it was done changes nothing (for the
day that the API keeps keys).
"""

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import agentos
from agentos_cli import recorded_run, target
from agentos_cli.trajectory import Label, Session, Turn, Utterance, read_session
from agentos_runtime.errors import RuntimeFailure, Unreachable

#: JSON bytes of one message's text; an event's data may have 512 KiB, and has other members too.
MAX_TEXT_BYTES: Final = 480 * 1024
#: One request: small enough to show progress and stay far below the 8 MiB that the API takes.
BATCH_MESSAGES: Final = 100
BATCH_TURNS: Final = 20
BATCH_BYTES: Final = 2 * 1024 * 1024
CONCURRENT_SESSIONS: Final = 4
#: How long one request is retried while the API cannot be reached or is busy; shorter for the first one.
PATIENCE_S: Final = 30.0
FIRST_PATIENCE_S: Final = 3.0
ACTOR: Final = "import-trajectory"

Advance: TypeAlias = Callable[[Session, int], None]
Command: TypeAlias = tuple[str, Mapping[str, Any]]


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
    run_id: str
    run_status: str
    steps: int
    tool_calls: int
    patch_artifact_id: str | None


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
        _warn_of_long_texts(session)
    api = target.find(data_dir, url, token_file, workspace_id)
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
            session.path: progress.add_task(
                session.path.name, total=sum(1 for _ in _messages(session)) + len(session.turns)
            )
            for session in sessions
        }
        made_in, imported = asyncio.run(
            import_sessions(sessions, api, room_id, lambda session, count: progress.advance(bars[session.path], count))
        )
    _tell(made_in, imported, time.monotonic() - started, as_json, api)
    return 0


async def import_sessions(
    sessions: Sequence[Session], api: target.Target, room_id: str | None, advance: Advance
) -> tuple[str, list[Imported]]:
    """Import sessions concurrently, each in its order. Returns the room and what came of each session.

    Raises:
        RuntimeFailure: the API refused something. Unreachable: it could not be reached for long.
    """
    async with target.client(api, ACTOR, agentos.Retry(PATIENCE_S)) as client:
        sender = _Sender(client)
        await target.require_answer(api, FIRST_PATIENCE_S)
        made_in = room_id or await _make_room(sender, sessions)
        gate = asyncio.Semaphore(CONCURRENT_SESSIONS)

        async def one(session: Session) -> Imported:
            async with gate:
                return await _import_session(sender, session, made_in, advance)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(session)) for session in sessions]
        except* RuntimeFailure as failures:
            raise failures.exceptions[0] from None
        return made_in, [task.result() for task in tasks]


def parts_of(utterance: Utterance) -> list[Said]:
    """An utterance as messages that fit; together they are its text to the byte."""
    texts = list(_split(utterance.text))
    return [Said(utterance.label, text, place, len(texts)) for place, text in enumerate(texts, 1)]


def _warn_of_long_texts(session: Session) -> None:
    for utterance in session.utterances:
        count = len(parts_of(utterance))
        if count > 1:
            typer.secho(
                f"{session.path}: turn {utterance.turn}, {utterance.label}: is too long for one message; it becomes "
                f"{count}, labelled part:1/{count} and so on. In the run's step it is cut.",
                err=True,
                fg=typer.colors.YELLOW,
            )


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


async def _make_room(sender: "_Sender", sessions: Sequence[Session]) -> str:
    title = sessions[0].path.stem if len(sessions) == 1 else f"{len(sessions)} imported sessions"
    key = _key("room", *(part for session in sessions for part in (session.digest, session.title)))
    body = {"title": title, "topic": "Recorded agent sessions"}
    (made,) = await sender.send(key, [("room.create", body)])
    return str(made["room_id"])


async def _import_session(sender: "_Sender", session: Session, room_id: str, advance: Advance) -> Imported:
    opening = {"room_id": room_id, "title": session.title}
    (opened,) = await sender.send(_key("thread", room_id, session.digest, session.title), [("thread.create", opening)])
    thread_id = str(opened["thread_id"])
    sent = 0
    for place, batch in enumerate(_batches(session)):
        commands = [("message.create", _body(said, session, thread_id)) for said in batch]
        await sender.send(_key("messages", thread_id, session.digest, str(place)), commands)
        advance(session, len(batch))
        sent += len(batch)
    run_id, artifact_id = await _import_run(sender, session, room_id, thread_id, advance)
    return Imported(
        file=str(session.path),
        thread_id=thread_id,
        messages=sent,
        empty_skipped=session.empty,
        split=sum(len(parts_of(utterance)) > 1 for utterance in session.utterances),
        run_id=run_id,
        run_status="failed" if session.failed else "succeeded",
        steps=len(session.turns) + (artifact_id is not None),  # the patch is handed in in a step of its own
        tool_calls=sum(recorded_run.calls_tool(turn) for turn in session.turns),
        patch_artifact_id=artifact_id,
    )


async def _import_run(
    sender: "_Sender", session: Session, room_id: str, thread_id: str, advance: Advance
) -> tuple[str, str | None]:
    """The run of a session, begun and ended. Returns its id and that of the patch's artifact."""

    def key(*parts: str) -> str:
        return _key("run", thread_id, session.digest, *parts)

    wish = {
        "room_id": room_id,
        "thread_id": thread_id,
        "title": session.title,
        "input": recorded_run.run_input(session),
        "tags": [recorded_run.TAG],
    }
    (created,) = await sender.send(key("create"), [("run.create", wish)])
    run_id = str(created["run_id"])
    await sender.send(key("start"), [("run.start", {"run_id": run_id})])
    for start in range(0, len(session.turns), BATCH_TURNS):
        turns = session.turns[start : start + BATCH_TURNS]
        await _import_turns(sender, turns, run_id, partial(key, "turns", str(start)))
        advance(session, len(turns))
    artifact_id = await _import_patch(sender, session, run_id, key)
    if session.failed:
        ending: Command = ("run.fail", {"run_id": run_id, "message": session.outcome})
    else:
        output = recorded_run.run_output(session, artifact_id)
        ending = ("run.complete", {"run_id": run_id, "summary": session.outcome or None, "output": output})
    await sender.send(key("end"), [ending])
    return run_id, artifact_id


async def _import_turns(sender: "_Sender", turns: Sequence[Turn], run_id: str, key: Callable[[str], str]) -> None:
    """Some turns, in three requests: what comes next needs the ids that came before."""
    begun = await sender.send(
        key("steps"),
        [
            (
                "step.create",
                {
                    "run_id": run_id,
                    "kind": recorded_run.STEP_KIND,
                    "title": recorded_run.step_title(turn),
                    "input": recorded_run.step_input(turn),
                },
            )
            for turn in turns
        ],
    )
    steps = [(turn, made["step_id"]) for turn, made in zip(turns, begun, strict=True)]
    calling = [(turn, step_id) for turn, step_id in steps if recorded_run.calls_tool(turn)]
    invoked = await sender.send(
        key("calls"),
        [
            (
                "tool.invoke",
                {"step_id": step_id, "tool_name": recorded_run.TOOL, "input": recorded_run.tool_input(turn)},
            )
            for turn, step_id in calling
        ],
    )
    ends: list[Command] = [
        ("tool.succeed", {"tool_call_id": made["tool_call_id"], "output": recorded_run.tool_output(turn)})
        for (turn, _), made in zip(calling, invoked, strict=True)
    ]
    ends += [("step.complete", {"step_id": step_id}) for turn, step_id in steps if not recorded_run.calls_tool(turn)]
    await sender.send(key("ends"), ends)


async def _import_patch(sender: "_Sender", session: Session, run_id: str, key: Callable[[str], str]) -> str | None:
    content = recorded_run.patch_of(session)
    if content is None:
        return None
    step = {"run_id": run_id, "kind": recorded_run.LAST_STEP_KIND, "title": "Hand in"}
    (begun,) = await sender.send(key("submission"), [("step.create", step)])
    step_id = begun["step_id"]
    artifact = {"step_id": step_id, "kind": recorded_run.PATCH, "title": session.title, "content": content}
    kept, _ = await sender.send(key("patch"), [("artifact.create", artifact), ("step.complete", {"step_id": step_id})])
    return str(kept["artifact_id"])


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


@dataclass(frozen=True, slots=True)
class _Sender:
    """Bulk commands: every request may be repeated, since its key makes it happen once."""

    client: agentos.AsyncClient

    async def send(self, key: str, commands: Sequence[Command]) -> Sequence[Mapping[str, Any]]:
        """Results of the commands, all of them done.

        Raises:
            RuntimeFailure: the API refused. Unreachable: it was out of reach, or busy, for :data:`PATIENCE_S`.
        """
        if not commands:
            return []
        try:
            return await self.client.bulk(commands, atomic=True, idempotency_key=key)
        except agentos.APIError as refusal:
            if refusal.transient:
                raise Unreachable(_away(self.client.url, refusal)) from refusal
            raise RuntimeFailure(f"The API refused the import: {refusal}") from refusal
        except agentos.Unreachable as error:
            raise Unreachable(_away(self.client.url, error)) from error


def _away(url: str, why: Exception) -> str:
    return (
        f"{url}: no answer for {PATIENCE_S:.0f} s ({why}). Start the stack with `agentos up`, then run the same "
        "command again; it goes on where it stopped."
    )


def _tell(room_id: str, imported: Sequence[Imported], seconds: float, as_json: bool, api: target.Target) -> None:
    messages = sum(session.messages for session in imported)
    steps = sum(session.steps for session in imported)
    if as_json:
        summary = {
            "room_id": room_id,
            "workspace_id": api.workspace_id,
            "url": api.url,
            "messages": messages,
            "steps": steps,
            "seconds": round(seconds, 3),
            "sessions": [asdict(session) for session in imported],
        }
        typer.echo(json.dumps(summary, indent=1))
        return
    for session in imported:
        texts = "text" if session.empty_skipped == 1 else "texts"
        skipped = f", {session.empty_skipped} empty {texts} skipped" if session.empty_skipped else ""
        typer.echo(
            f"{session.file}: {session.messages} messages in thread {session.thread_id}{skipped}; "
            f"{session.steps} steps in run {session.run_id} ({session.run_status})"
        )
    typer.echo(
        f"{len(imported)} sessions, {messages} messages, {steps} steps, in room {room_id} ({seconds:.1f} s). "
        f"See `agentos tail {room_id}`."
    )
