"""Bytes both ways between two connections: what is behind CONNECT, and behind 101.

Each side is read only while the other takes what it is given, so a tunnel holds a bounded number of bytes. The end of
one direction is passed on and the other goes on (half-close); the tunnel ends when both have ended, or when one side
breaks, nothing moves for too long, or somebody cuts it.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, cast

from agentos_gateway.address import ConnectFailed, Pinned, dial
from agentos_gateway.send.failures import SendFailed
from agentos_gateway.send.response import Response

Ending = Literal["closed", "reset", "idle", "limit", "cut"]
HELD: Final = 256 * 1024
_SHUTDOWN_S: Final = 2.0
_LINGER_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a tunnel ended, and what went through it: ``up`` from the client, ``down`` to it, in bytes."""

    ending: Ending
    up: int
    down: int


class End(asyncio.Protocol):
    """One side of a tunnel. Until it is joined nothing is read from it, so nothing gets lost."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: End | None = None
        self.tunnel: Tunnel | None = None
        self.passed = 0
        self.early = b""
        self.read_to_end = False
        self.gone = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but its class
        self.transport.pause_reading()

    def join(self, tunnel: "Tunnel", other: "End") -> None:
        """Passes on from now on, first what came early."""
        assert self.transport is not None
        self.other, self.tunnel = other, tunnel
        self.transport.set_write_buffer_limits(high=HELD)

    def start(self) -> None:
        """Reads."""
        assert self.transport is not None
        if self.early:
            early, self.early = self.early, b""
            self.data_received(early)
        if self.gone and self.tunnel is not None:
            self.tunnel.lost(self, None)
        elif self.read_to_end:
            self._pass_end()
        elif not self.transport.is_closing() and not self.transport.is_reading():
            self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        if self.other is None or self.tunnel is None or self.other.transport is None:
            self.early += data
            return
        self.passed += len(data)
        self.tunnel.moved()
        self.other.transport.write(data)

    def pause_writing(self) -> None:
        if self.other is not None and self.other.transport is not None and not self.other.transport.is_closing():
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        other = self.other
        if other is None or other.transport is None or other.read_to_end or other.transport.is_closing():
            return
        if not other.transport.is_reading():
            other.transport.resume_reading()

    def eof_received(self) -> bool:
        self.read_to_end = True
        if self.other is not None:
            self._pass_end()
        # TLS has no half-close here: its transport closes.
        return self.transport is not None and self.transport.get_extra_info("sslcontext") is None

    def connection_lost(self, error: Exception | None) -> None:
        self.read_to_end = self.gone = True
        if self.tunnel is not None:
            self.tunnel.lost(self, error)

    def _pass_end(self) -> None:
        assert self.other is not None
        assert self.tunnel is not None
        there = self.other.transport
        if there is not None and not there.is_closing() and there.can_write_eof():
            with contextlib.suppress(OSError):
                there.write_eof()
            if self.other.read_to_end:
                self.tunnel.finish("closed")
        else:
            self.tunnel.finish("closed")


class Tunnel:
    """Two ends, joined.

    Args:
        idle_s: without a byte in either direction for so long it ends.
        most: bytes in both directions together; None is no bound.
        on_bytes: called with what has gone up and down so far, for each piece.
    """

    def __init__(
        self,
        client: End,
        upstream: End,
        *,
        idle_s: float = 300.0,
        most: int | None = None,
        on_bytes: Callable[[int, int], None] | None = None,
    ) -> None:
        self._client = client
        self._upstream = upstream
        self._idle_s = idle_s
        self._most = most
        self._on_bytes = on_bytes
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[Ending] = self._loop.create_future()
        self._moved_at = self._loop.time()
        self._timer = self._loop.call_later(idle_s, self._tick)

    async def run(self) -> Outcome:
        """Until the tunnel has ended. Being cancelled cuts it."""
        self._client.join(self, self._upstream)
        self._upstream.join(self, self._client)
        self._client.start()
        self._upstream.start()
        try:
            ending = await self._done
        finally:
            self._timer.cancel()
            self._close()
        return Outcome(ending, self._client.passed, self._upstream.passed)

    def cut(self) -> None:
        """Ends it at once."""
        self.finish("cut")

    def moved(self) -> None:
        """A piece went through."""
        self._moved_at = self._loop.time()
        up, down = self._client.passed, self._upstream.passed
        if self._on_bytes is not None:
            self._on_bytes(up, down)
        if self._most is not None and up + down > self._most:
            self.finish("limit")

    def lost(self, end: End, error: Exception | None) -> None:
        """A side is gone: what it said before still reaches the other."""
        self.finish("closed" if error is None else "reset")

    def finish(self, ending: Ending) -> None:
        """The first word counts."""
        if not self._done.done():
            self._done.set_result(ending)

    def _close(self) -> None:
        graceful = self._done.done() and not self._done.cancelled() and self._done.result() in ("closed", "reset")
        for end in (self._client, self._upstream):
            if end.transport is None:
                continue
            if graceful:
                end.transport.close()  # after what is still to be written, if it is taken
                self._loop.call_later(_LINGER_S, end.transport.abort)
            else:
                end.transport.abort()

    def _tick(self) -> None:
        left = self._moved_at + self._idle_s - self._loop.time()
        if left <= 0:
            self.finish("idle")
        else:
            self._timer = self._loop.call_later(left, self._tick)


async def reach(pinned: Pinned, *, connect_s: float = 10.0, tls: ssl.SSLContext | None = None) -> End:
    """The upstream side: a connection to a judged address, with TLS where a context is given.

    Raises:
        SendFailed: in phase ``connect`` or ``tls``; nothing was sent.
    """
    try:
        sock, _ = await dial(pinned, connect_s)
    except ConnectFailed as error:
        raise SendFailed("connect", error.code, error.detail, bytes_sent=False) from error
    end = End()
    loop = asyncio.get_running_loop()
    try:
        if tls is None:
            await loop.create_connection(lambda: end, sock=sock)
        else:
            host = pinned.target.host
            await loop.create_connection(
                lambda: end, sock=sock, ssl=tls, server_hostname=host, ssl_handshake_timeout=connect_s,
                ssl_shutdown_timeout=_SHUTDOWN_S,
            )  # fmt: skip
    except OSError as error:
        sock.close()
        detail = f"no connection: {getattr(error, 'reason', None) or type(error).__name__}"
        raise SendFailed("tls" if tls else "connect", "tls_failed", detail, bytes_sent=False) from error
    return end


def adopt(transport: asyncio.Transport, early: bytes = b"") -> End:
    """The client's side: a connection that spoke another protocol until now, with what of it was read too far."""
    end = End()
    end.early = early
    transport.set_protocol(end)
    end.connection_made(transport)
    return end


def detach(response: Response) -> End:
    """The upstream side behind an answer of 101."""
    end = End()
    end.early = response.leftover
    end.connection_made(response.link.detach(end))
    return end
