"""Conversations over HTTP/1.1: one request, its answer with its body, the next request that depends on it."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from bench.load import http1


class Refused(Exception):
    """An answer that is not 2xx, or a connection that broke."""


class Talk:
    """One keep-alive connection of one client."""

    def __init__(self, port: int, headers: Mapping[str, str] | None = None) -> None:
        self._port = port
        self._head = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        self._status: asyncio.Future[int] | None = None
        self._connection: http1.Connection | None = None

    async def open(self) -> "Talk":
        """Connects."""
        (self._connection,) = await http1.connect(self._port, 1, self._answered)
        return self

    def close(self) -> None:
        """Ends the connection."""
        if self._connection is not None:
            self._connection.close()

    async def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Raises Refused."""
        return await self._ask("POST", path, json.dumps(body))

    async def get(self, path: str) -> dict[str, Any]:
        """Raises Refused."""
        return await self._ask("GET", path, "")

    async def _ask(self, method: str, path: str, text: str) -> dict[str, Any]:
        assert self._connection is not None
        self._status = asyncio.get_running_loop().create_future()
        self._connection.send(
            f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n{self._head}"
            f"Content-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode()
        )
        status = await self._status
        body = self._connection.body
        if not 200 <= status < 300:
            raise Refused(f"{method} {path} was answered with {status}: {body[:300].decode(errors='replace')}")
        answer: dict[str, Any] = json.loads(body)
        return answer

    def _answered(self, _: http1.Connection, status: int) -> None:
        assert self._status is not None
        if not self._status.done():
            self._status.set_result(status)
