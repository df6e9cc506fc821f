"""``agentos replay``: recorded sessions once more, through a real worker against the running stack.

Each session becomes a queued run; a worker of this process claims it, keeps its lease by heartbeats, and makes a step
and a tool call of each turn, which answers what was recorded.
"""

import asyncio
import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import agentos
from agentos_cli import recorded_run, target
from agentos_cli.trajectory import Session, Turn, read_session
from agentos_runtime.errors import RuntimeFailure, Unreachable

ACTOR: Final = "replay"
FIRST_PATIENCE_S: Final = 3.0
#: For all sessions together, beside what they are asked to take.
TIMEOUT_S: Final = 600.0
#: The shortest, so that heartbeats come soon: they are part of what is replayed.
LEASE_TTL_S: Final = 5
WAIT_S: Final = 1
CONCURRENCY: Final = 4

Advance: TypeAlias = Callable[[Session], None]


class SessionFailed(Exception):
    """The recording ends badly, and so does its run."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of one session."""

    file: str
    run_id: str
    status: str
    expected: str
    attempts: int
    steps: int
    tool_calls: int
    artifacts: int
    heartbeats: int

    @property
    def as_recorded(self) -> bool:
        """Whether the run ended as the recording did."""
        return self.status == self.expected


def run(
    files: Sequence[Path],
    data_dir: Path | None,
    url: str | None,
    token_file: Path | None,
    workspace_id: str,
    room_id: str | None,
    pace: float,
    as_json: bool,
) -> int:
    """Replay the files. Returns the exit code: 1 when a run ended otherwise than its recording.

    Args:
        pace: 1 takes as long as the recording says, 0 as long as it takes.
    """
    sessions = [read_session(path) for path in files]
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
        bars = [progress.add_task(session.path.name, total=len(session.turns)) for session in sessions]
        by_digest = {session.digest: bar for session, bar in zip(sessions, bars, strict=True)}
        made_in, replayed = asyncio.run(
            replay(sessions, api, room_id, pace, lambda session: progress.advance(by_digest[session.digest]))
        )
    _tell(made_in, replayed, time.monotonic() - started, as_json, api)
    return 0 if all(session.as_recorded for session in replayed) else 1


async def replay(
    sessions: Sequence[Session], api: target.Target, room_id: str | None, pace: float, advance: Advance
) -> tuple[str, list[Replayed]]:
    """Replay sessions, several at once. Returns the room and what came of each.

    Raises:
        RuntimeFailure: the API refused something, or it took too long. Unreachable: there is no API.
    """
    await target.require_answer(api, FIRST_PATIENCE_S)
    handler = f"replay-{uuid.uuid4().hex[:12]}"  # this process's runs alone
    try:
        heartbeats: dict[str, int] = {}
        async with target.client(api, ACTOR) as client:
            made_in = room_id or (await client.rooms.create(_title(sessions), topic="Replayed agent sessions")).room_id
            worker = await _worker(client, api, handler, _Play(sessions, pace, advance, heartbeats))
            working = asyncio.create_task(worker.serve_async())
            try:
                runs = [await _queue(client, made_in, handler, session) for session in sessions]
                limit_s = TIMEOUT_S + pace * sum(turn.duration_s or 0 for one in sessions for turn in one.turns)
                ended = (_ended(client, *pair, limit_s, heartbeats) for pair in zip(sessions, runs, strict=True))
                ending = asyncio.gather(*ended)
                first: set[asyncio.Future[Any]] = {working, ending}
                await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
                if not ending.done():  # the worker cannot work
                    ending.cancel()
                    working.result()
                return made_in, await ending
            finally:
                worker.stop()
                with suppress(agentos.AgentOSError):
                    await working
    except (agentos.Unreachable, agentos.Unavailable) as error:
        raise Unreachable(f"{api.url}: {error}. See `agentos status`.") from error
    except (agentos.AgentOSError, TimeoutError) as error:
        raise RuntimeFailure(f"The replay ended: {error}") from error


@dataclass(frozen=True, slots=True)
class _Play:
    """What the worker's handler does: one session again, turn by turn.

    Args:
        heartbeats: run id -> how often its lease was renewed, filled in here.
    """

    sessions: Sequence[Session]
    pace: float
    advance: Advance
    heartbeats: dict[str, int]

    async def handle(self, run: agentos.AsyncRunContext) -> dict[str, Any]:
        session = next(session for session in self.sessions if session.digest == run.input["sha256"])
        try:
            for turn in session.turns:
                await self._turn(run, turn)
                self.advance(session)
            artifact_id = await self._hand_in(run, session)
        finally:
            self.heartbeats[run.id] = run.heartbeats
        run.summary = session.outcome or None
        if session.failed:
            raise SessionFailed(session.outcome)
        return recorded_run.run_output(session, artifact_id)

    async def _turn(self, run: agentos.AsyncRunContext, turn: Turn) -> None:
        title, thought = recorded_run.step_title(turn), recorded_run.step_input(turn)
        async with run.step(recorded_run.STEP_KIND, title=title, input=thought) as step:
            if recorded_run.calls_tool(turn):
                async with step.call(recorded_run.TOOL, recorded_run.tool_input(turn)) as call:
                    await asyncio.sleep(self.pace * (turn.duration_s or 0))
                    call.output = recorded_run.tool_output(turn)

    async def _hand_in(self, run: agentos.AsyncRunContext, session: Session) -> str | None:
        content = recorded_run.patch_of(session)
        if content is None:
            return None
        async with run.step(recorded_run.LAST_STEP_KIND, title="Hand in") as step:
            return (await step.artifact(recorded_run.PATCH, title=session.title, text=content["text"])).artifact_id


async def _worker(client: agentos.AsyncClient, api: target.Target, handler: str, play: _Play) -> agentos.Worker:
    engine_id, engine_token = await _credentials(client)
    worker = agentos.Worker(
        ACTOR,
        url=api.url,
        workspace_id=api.workspace_id,
        token=None if engine_token else api.token,
        engine_id=engine_id,
        engine_token=engine_token,
        concurrency=CONCURRENCY,
        lease_ttl_s=LEASE_TTL_S,
        wait_s=WAIT_S,
    )
    worker.run(handler)(play.handle)
    return worker


async def _credentials(client: agentos.AsyncClient) -> tuple[str | None, str | None]:
    """Those of an engine, where claims need them; a claim that finds nothing tells."""
    try:
        await client.runs.claim(actor_id=ACTOR, handlers=["none-at-all"])
    except agentos.AccessDenied:
        registered = await client.engines.register(ACTOR)
        return registered.engine.engine_id, registered.token.engine_token
    return None, None


async def _queue(client: agentos.AsyncClient, room_id: str, handler: str, session: Session) -> str:
    thread = await client.threads.create(room_id, session.title)
    wish = recorded_run.run_input(session)
    made = await client.runs.create(
        room_id,
        handler=handler,
        thread_id=thread.thread_id,
        title=session.title,
        input=wish,
        tags=[recorded_run.TAG],
    )
    return made.run_id


async def _ended(
    client: agentos.AsyncClient, session: Session, run_id: str, limit_s: float, heartbeats: Mapping[str, int]
) -> Replayed:
    ended = await client.runs.wait(run_id, timeout_s=limit_s)
    return Replayed(
        file=str(session.path),
        run_id=run_id,
        status=ended.status,
        expected="failed" if session.failed else "succeeded",
        attempts=len(await client.runs.attempts(run_id)),
        steps=len(await client.steps.list(run_id).all()),
        tool_calls=len(await client.tool_calls.list(run_id=run_id).all()),
        artifacts=len(await client.artifacts.list(run_id=run_id).all()),
        heartbeats=heartbeats.get(run_id, 0),
    )


def _title(sessions: Sequence[Session]) -> str:
    return f"Replay of {sessions[0].path.stem if len(sessions) == 1 else f'{len(sessions)} sessions'}"


def _tell(room_id: str, replayed: Sequence[Replayed], seconds: float, as_json: bool, api: target.Target) -> None:
    if as_json:
        summary = {
            "room_id": room_id,
            "workspace_id": api.workspace_id,
            "url": api.url,
            "seconds": round(seconds, 3),
            "sessions": [asdict(session) | {"as_recorded": session.as_recorded} for session in replayed],
        }
        typer.echo(json.dumps(summary, indent=1))
        return
    for session in replayed:
        typer.secho(
            f"{session.file}: run {session.run_id} {session.status} in attempt {session.attempts}: "
            f"{session.steps} steps, {session.tool_calls} tool calls, {session.artifacts} artifacts, "
            f"{session.heartbeats} heartbeats",
            fg=None if session.as_recorded else typer.colors.RED,
        )
    typer.echo(f"{len(replayed)} sessions in room {room_id} ({seconds:.1f} s). See `agentos tail {room_id}`.")
