"""uvicorn's HTTP protocol, with what a server that strangers may reach needs besides.

- A way to drop a connection, which ASGI lacks. Closing politely waits for the client to read what is buffered; a client
  that never reads would keep its buffers, and a stopping server, for ever.
- A way to answer in one write. ASGI's two messages and uvicorn's checks of each header cost more than an append does.
- A bound on the bytes and on the time of a request's head: without them one client could fill the memory, or hold a
  connection without ever asking anything (slowloris).
- Problem documents for what is no HTTP at all.
"""

import asyncio
from functools import partial
from http import HTTPStatus
from typing import Any, Final

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from agentos_api.http import problem
from agentos_shared.domain.errors import DomainError, Invalid

#: ASGI extension: closes the connection at once.
ABORT: Final = "agentos.abort"
#: ASGI extension: ``(status, head, body) -> bool`` sends a whole answer; ``head`` is its header lines. False: it could
#: not, because the client does not read: then ``send`` has to wait for it.
ANSWER: Final = "agentos.answer"
MAX_HEAD_BYTES: Final = 64 * 1024
HEAD_S: Final = 15.0


class HeadTooLarge(DomainError):
    """431: the request line and headers are larger than any honest client's."""

    status = 431


class Protocol(HttpToolsProtocol):
    """One connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_bytes = 0
        self._head_due: float | None = self.loop.time() + HEAD_S

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._head_due is None or self.transport.is_closing():
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(HeadTooLarge("headers_too_large", f"A request's head is limited to {MAX_HEAD_BYTES} bytes."))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {ABORT: self.transport.abort}  # type: ignore[dict-item]
        self._head_bytes = 0
        if self._head_due is None:
            self._head_due = self.loop.time() + HEAD_S

    def on_headers_complete(self) -> None:
        self._head_due = None
        super().on_headers_complete()
        if self.cycle is not None:
            self.scope["extensions"][ANSWER] = partial(_answer, self.cycle)  # type: ignore[assignment]

    def close_if_slow(self, now: float) -> None:
        """Close a connection whose request head does not come to its end. ``now``: the loop's time."""
        if self._head_due is not None and now > self._head_due:
            self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        self._refuse(Invalid("invalid_http", msg))

    def _refuse(self, error: DomainError) -> None:
        document: dict[str, Any] = problem.members(error, "")
        body = orjson.dumps(document)
        self.transport.write(
            b"HTTP/1.1 %d %s\r\ncontent-type: %s\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s"
            % (error.status, document["title"].encode(), problem.CONTENT_TYPE.encode(), len(body), body)
        )
        self.transport.close()


_STATUS_LINES: Final = {
    status.value: b"HTTP/1.1 %d %s\r\n" % (status.value, status.phrase.encode()) for status in HTTPStatus
}


def _answer(cycle: RequestResponseCycle, status: int, head: bytes, body: bytes) -> bool:
    """What ``cycle.send`` does with a response's two messages, for one that is known as a whole."""
    if cycle.flow.write_paused or cycle.response_started:
        return False
    if cycle.disconnected:
        return True
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    lines = [_STATUS_LINES[status]]
    for name, value in cycle.default_headers:
        lines += (name, b": ", value, b"\r\n")
    cycle.transport.write(b"".join((*lines, head, b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n", body)))
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()
    return True
