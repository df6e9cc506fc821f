"""``agentos tail ROOM``: events as they happen, over any number of reconnects, none twice and none missing."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import typer

from agentos.frames import Frame, Parser
from agentos_cli import target
from agentos_runtime.errors import RuntimeFailure, Unreachable

#: The server sends a comment every 15 s; a connection that is silent for three of them is dead.
SILENCE_S: Final = 45.0
FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 10.0


@dataclass(slots=True)
class Tail:
    """Where a tail is: the position to resume from, and what it prints."""

    room_id: str
    api: target.Target
    from_seq: str
    as_json: bool
    follow: bool
    last_seq: int | None = None
    connected_once: bool = False

    async def run(self) -> None:
        """Until Ctrl-C, or until history is done when it does not follow."""
        pause = FIRST_PAUSE_S
        timeout = httpx.Timeout(10.0, read=SILENCE_S)
        async with httpx.AsyncClient(headers=self.api.headers(), timeout=timeout, trust_env=False) as client:
            while True:
                try:
                    async for frame in self._frames(client):
                        pause = FIRST_PAUSE_S
                        if self._take(frame) and not self.follow:
                            return
                except httpx.TransportError as error:
                    if not self.connected_once:
                        raise Unreachable(f"No answer from {self.api.url} ({error}): see `agentos status`.") from error
                wait = min(LONGEST_PAUSE_S, pause) * (0.5 + random.random())  # noqa: S311 - spreads reconnects
                typer.secho(f"(connection lost; again in {wait:.1f} s)", err=True, fg=typer.colors.YELLOW)
                await asyncio.sleep(wait)
                pause *= 2

    async def _frames(self, client: httpx.AsyncClient) -> AsyncIterator[Frame]:
        headers = {"accept": "text/event-stream"}
        if self.last_seq is not None:
            headers["last-event-id"] = str(self.last_seq)
        url = f"{self.api.url}/v1/streams/rooms/{self.room_id}"
        async with client.stream("GET", url, params={"from_seq": self.from_seq}, headers=headers) as answer:
            if answer.status_code in (429, 502, 503, 504) and self.connected_once:
                return
            if answer.status_code != 200:
                raise RuntimeFailure(_refusal(self.room_id, answer.status_code, await answer.aread()))
            self.connected_once = True
            parser = Parser()
            async for chunk in answer.aiter_bytes():
                for frame in parser.feed(chunk):
                    yield frame

    def _take(self, frame: Frame) -> bool:
        """Prints an event; True once history is done."""
        text = frame.data.decode()
        if frame.name == "message":
            event = json.loads(text)
            self.last_seq = int(event["stream_seq"])
            typer.echo(text if self.as_json else pretty(event))  # flushes: a reader behind a pipe sees it at once
        elif frame.name == "reset":
            self.last_seq = int(json.loads(text)["head_seq"])
            typer.secho(f"(the room ends at {self.last_seq}; going on from there)", err=True, fg=typer.colors.YELLOW)
        return frame.name in ("caught_up", "reset")


def tail(
    room_id: str,
    data_dir: Path | None,
    url: str | None,
    token_file: Path | None,
    workspace_id: str | None,
    from_seq: str,
    as_json: bool,
    follow: bool,
) -> int:
    """Follows a room. Returns the exit code."""
    api = target.find(data_dir, url, token_file, workspace_id)
    asyncio.run(Tail(room_id, api, from_seq, as_json, follow).run())
    return 0


def pretty(event: dict[str, Any]) -> str:
    """One line of one event. What agents wrote must not steer the terminal: control characters are spelt out."""
    data = event.get("data") or {}
    said = next((data[name] for name in ("content_md", "title", "summary", "reason") if data.get(name)), "")
    actor = f"{event['actor_type']}:{event['actor_id']}"
    when = typer.style(str(event["occurred_at"])[11:23], dim=True)
    kind = typer.style(f"{event['event_type']:<18}", fg=typer.colors.CYAN)
    return f"{when} {event['stream_seq']:>6} {kind} {plain(actor)}  {plain(str(said))}".rstrip()


def plain(text: str, width: int = 160) -> str:
    """On one line, printable, not too long."""
    short = text[: width * 2].replace("\n", " ⏎ ").replace("\t", " ")
    shown = "".join(character if character.isprintable() else repr(character)[1:-1] for character in short)
    return shown if len(shown) <= width and len(text) <= width * 2 else shown[: width - 1] + "…"


def _refusal(room_id: str, status: int, body: bytes) -> str:
    try:
        detail = json.loads(body).get("detail")
    except (ValueError, AttributeError):
        detail = None
    hint = " GET /v1/rooms lists them; another workspace's need --workspace." if status == 404 else ""
    return f"{room_id}: {detail or f'HTTP {status}'}.{hint}".replace("..", ".")
