"""Tells people outside of the API that an approval waits: by a command of the user's own for each channel.

Channels stand in a file of the user, which is read for each message, so that a change counts at once. The process that
commits an escalation tells it, once; what is lost with the process is lost, and the next step comes anyway.
"""

import asyncio
import contextlib
import os
import signal
import stat
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import asyncpg
import orjson
import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agentos_api.append.appender import Committed
from agentos_api.append.submission import Answer, Outcome
from agentos_api.commands import Caller, Commands
from agentos_shared.domain import principals
from agentos_shared.domain.envelope import Event
from agentos_shared.domain.errors import DomainError
from agentos_shared.host import metrics
from agentos_shared.store import statements
from agentos_shared.store.reader import event_of

log = structlog.get_logger("agentos.approvals")

SQL: Final = statements.load("agentos_api", "notifications.sql")
ACTOR_ID: Final = "approvals"
COMMAND: Final = "approval.notify"
#: Seconds that a command may take; messages that wait, and that are told at once.
TIMEOUT_S: Final = 10.0
MAX_WAITING: Final = 1_000
AT_ONCE: Final = 4
MAX_TEXT: Final = 200
DROPPED: Final = metrics.counter("notifications_dropped", "Messages that found too many others waiting.")


class Channel(BaseModel):
    """How a channel is reached.

    Args:
        command: a program and its arguments; no shell looks at them. ``{title}`` and the like are replaced.
        requests: whether each new request is told here at once.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    command: list[Annotated[str, Field(min_length=1, max_length=4000)]] = Field(min_length=1, max_length=64)
    requests: bool = False


class Channels(BaseModel):
    """The file."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    channels: dict[str, Channel] = Field(default_factory=dict)


class Message(NamedTuple):
    """One event to be told on one channel."""

    event: Event
    channel: str


class Notifications:
    """What this process has to tell.

    Args:
        file: of the channels; None: there are none.
        url: address of the web application.
        environment: of the commands.
    """

    def __init__(
        self,
        pool: "asyncpg.Pool[asyncpg.Record]",
        commands: Commands,
        file: Path | None,
        url: str,
        environment: Mapping[str, str],
    ) -> None:
        self._pool = pool
        self._commands = commands
        self._file = file
        self._url = url
        self._environment = environment
        self._waiting: asyncio.Queue[Event] = asyncio.Queue(MAX_WAITING)

    def on_commit(self, batch: Sequence[Committed]) -> None:
        """Note what somebody may want to be told."""
        if self._file is None:
            return
        for event in (committed.event for committed in batch):
            if event.event_type in ("approval.escalated", "approval.requested"):
                try:
                    self._waiting.put_nowait(event)
                except asyncio.QueueFull:
                    DROPPED.inc()

    async def run(self) -> None:
        """Tell what is noted, for ever."""
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            event = await self._waiting.get()
            channels = await asyncio.to_thread(read, self._file) if self._file is not None else {}
            for message in wanted(event, channels):
                try:
                    await self._tell(message, channels[message.channel])
                except Exception as error:  # the next message must not suffer for it
                    log.warning("notification_lost", channel=message.channel, error=f"{type(error).__name__}: {error}")

    async def _tell(self, message: Message, channel: Channel) -> None:
        row = await self._pool.fetchrow(SQL["requested"], message.event.workspace_id, message.event.entity_id)
        if row is None:
            return
        members = members_of(message.event, event_of(row), self._url)
        failure = await self.spoken(filled(channel.command, members), members)
        if failure is not None:
            log.warning("notification_failed", channel=message.channel, approval_id=members["approval_id"], why=failure)
        workspace_id = message.event.workspace_id
        caller = Caller(workspace_id, COMMAND, COMMAND, principals.actor(workspace_id, "service", ACTOR_ID))
        body = {"approval_id": message.event.entity_id, "channel": message.channel, "step": members["step"]}
        await self._commands.serve(
            self._commands.service_types[COMMAND], caller, {**body, "failure": failure}, None, _render
        )

    async def spoken(self, command: Sequence[str], members: Mapping[str, Any]) -> str | None:
        """Why a command did not do it; None: it did."""
        pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=pipe,
                stdout=null,
                stderr=null,
                env=dict(self._environment),
                cwd="/",
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            return f"cannot be started: {error}"[:MAX_TEXT]
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await _feed(process, orjson.dumps(members))
                await process.wait()
        except TimeoutError:
            return f"not done within {TIMEOUT_S:.0f} s"
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        return None if process.returncode == 0 else f"exit code {process.returncode}"


async def _feed(process: asyncio.subprocess.Process, told: bytes) -> None:
    """Write a command's input. One that does not read it may have ended before, which the loop tells in its own way."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError, ConnectionResetError, RuntimeError):
        process.stdin.write(told)
        await process.stdin.drain()
    process.stdin.close()


def read(file: Path) -> Mapping[str, Channel]:
    """The channels of a file; none where it is missing, broken, or may be written by others: then the log says so."""
    try:
        with file.open("rb") as opened:
            about = os.fstat(opened.fileno())
            if about.st_uid != os.getuid() or about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                log.error("notifications_not_taken", file=str(file), why="others than its owner may write it")
                return {}
            return Channels.model_validate(tomllib.load(opened)).channels
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, ValidationError) as error:
        log.error("notifications_not_taken", file=str(file), why=str(error))
        return {}


def wanted(event: Event, channels: Mapping[str, Channel]) -> list[Message]:
    """On which channels an event is told."""
    if event.event_type == "approval.escalated":
        return [Message(event, event.data["notify"])] if event.data["notify"] in channels else []
    return [Message(event, name) for name, channel in channels.items() if channel.requests]


def members_of(event: Event, requested: Event, url: str) -> dict[str, Any]:
    """What a command is told, as JSON on its input and in place of ``{name}`` in its arguments."""
    asked = requested.data
    return {
        "approval_id": event.entity_id,
        "workspace_id": event.workspace_id,
        "room_id": event.room_id,
        "run_id": event.run_id,
        "event": event.event_type,
        "step": event.data.get("step"),
        "action": asked.get("action"),
        "title": asked.get("title") or asked.get("action"),
        "requested_by": requested.actor_id,
        "zone": event.zone,
        "decide_by": event.data.get("decide_by"),
        "url": f"{url}/approvals/{event.entity_id}",
    }


def filled(command: Sequence[str], members: Mapping[str, Any]) -> list[str]:
    """A command with its placeholders replaced: bounded, printable, and never taken for an option."""
    texts = {name: _plain("" if value is None else str(value)) for name, value in members.items()}

    def fill(argument: str) -> str:
        for name, text in texts.items():
            argument = argument.replace("{" + name + "}", text)
        return argument

    return [command[0], *map(fill, command[1:])]


def _plain(text: str) -> str:
    shown = "".join(sign if sign.isprintable() else " " for sign in text)
    return shown.replace("{", "(").replace("}", ")").lstrip("-")[:MAX_TEXT]


def _render(outcome: Outcome) -> Answer:
    return Answer(outcome.status if isinstance(outcome, DomainError) else 200, b"")
