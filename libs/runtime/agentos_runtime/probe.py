"""Asking a server whether it can serve, over a bare socket: no driver is imported and no password is needed."""

import asyncio
import json
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias


class Answer(Enum):
    """SILENT: nobody answered. NOT_READY: it lives, but cannot serve now."""

    SILENT = "silent"
    NOT_READY = "not_ready"
    READY = "ready"


@dataclass(frozen=True, slots=True)
class Readiness:
    """What a probe found; ``detail`` tells a person why it is not ready."""

    answer: Answer
    detail: str = ""


READY = Readiness(Answer.READY)
Probe: TypeAlias = Callable[[], Awaitable[Readiness]]


async def ask(host: str, port: int, talk: Callable[..., Awaitable[Readiness]], timeout_s: float = 2.0) -> Readiness:
    """Connects and holds one conversation; whatever goes wrong is SILENT."""
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                return await talk(reader, writer)
            finally:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError) as error:
        return Readiness(Answer.SILENT, str(error) or type(error).__name__)


async def postgres(host: str, port: int) -> Readiness:
    """As ``pg_isready``: a server that asks for a password accepts connections."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Readiness:
        body = struct.pack("!i", 196608) + b"user\0agentos\0database\0agentos\0\0"
        writer.write(struct.pack("!i", len(body) + 4) + body)
        kind = await reader.readexactly(1)
        if kind == b"R":
            return READY
        length = struct.unpack("!i", await reader.readexactly(4))[0]
        fields = (await reader.readexactly(min(length - 4, 8192))).split(b"\0")
        text = next((field[1:].decode(errors="replace") for field in fields if field[:1] == b"M"), "no reason given")
        return Readiness(Answer.NOT_READY, text)

    return await ask(host, port, talk)


async def nats(host: str, port: int, user: str | None, password: str | None) -> Readiness:
    """Ready when JetStream answers."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Readiness:
        await reader.readline()
        options = {"verbose": False, "pedantic": False, "lang": "probe", "version": "1", "name": "supervisor"}
        if user is not None:
            options |= {"user": user, "pass": password or ""}
        inbox = f"_INBOX_{user or 'supervisor'}.probe"
        writer.write(f"CONNECT {json.dumps(options)}\r\nSUB {inbox} 1\r\nPUB $JS.API.INFO {inbox} 0\r\n\r\n".encode())
        while line := await reader.readline():
            if line.startswith(b"MSG"):
                reply = json.loads(await reader.readline())
                if "error" in reply:
                    return Readiness(Answer.NOT_READY, str(reply["error"].get("description")))
                return READY
            if line.startswith(b"-ERR"):
                return Readiness(Answer.NOT_READY, line[4:].decode(errors="replace").strip())
            if line.startswith(b"PING"):
                writer.write(b"PONG\r\n")
        return Readiness(Answer.SILENT, "the connection was closed")

    return await ask(host, port, talk)


async def http(host: str, port: int, path: str = "/readyz") -> Readiness:
    """Ready when the path answers 200."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Readiness:
        name = f"[{host}]" if ":" in host else host
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {name}:{port}\r\nConnection: close\r\n\r\n".encode())
        status = (await reader.readline()).split(b" ", 2)
        if len(status) < 2:
            return Readiness(Answer.SILENT, "the connection was closed")
        if status[1] == b"200":
            return READY
        rest = await reader.read(16384)
        return Readiness(Answer.NOT_READY, reason(rest.partition(b"\r\n\r\n")[2]) or f"HTTP {status[1].decode()}")

    return await ask(host, port, talk, timeout_s=4.0)


def reason(body: bytes) -> str:
    """The sentence of a problem document or health answer, on one line."""
    try:
        document = json.loads(body)
    except ValueError:
        return ""
    if isinstance(document, dict) and isinstance(document.get("detail"), str):
        return " ".join(document["detail"].split())
    return ""
