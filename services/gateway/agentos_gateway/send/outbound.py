"""The sender: a judged target and a request in, an answer out. HTTP/1.1 only, to pinned addresses only.

It reads no proxy settings, follows no redirect, and sends nothing twice but this: a safe request without a body (GET,
HEAD, OPTIONS) whose kept connection turns out to be closed before any byte of an answer.
"""

import asyncio
import ssl
from dataclasses import dataclass

from agentos_gateway.address import ConnectFailed, Pinned, dial
from agentos_gateway.send.failures import SendFailed
from agentos_gateway.send.link import Link
from agentos_gateway.send.pool import Bounds, Pool
from agentos_gateway.send.request import OutboundRequest, Timeouts, head
from agentos_gateway.send.response import Response
from agentos_shared.host.lifecycle import CLOCK, Clock

_SHUTDOWN_S = 2.0


@dataclass(slots=True)
class Ready:
    """A connection on which nothing of the request has been written yet.

    Between :meth:`Outbound.connect` and :meth:`Outbound.send` the caller records that it sends. ``link`` is always the
    connection in use, also where the first had to be replaced.
    """

    pinned: Pinned
    link: Link
    reused: bool
    stopped: bool = False

    def stop(self) -> None:
        """Ends the request wherever it is; what has not been written yet never is."""
        self.stopped = True
        self.link.abort()


class Outbound:
    """All outbound HTTP of a process.

    Args:
        tls: for ``https`` targets, from :func:`agentos_gateway.send.tls.client_context`.
    """

    def __init__(self, tls: ssl.SSLContext, *, bounds: Bounds | None = None, clock: Clock = CLOCK) -> None:
        self._tls = tls
        self._clock = clock
        self._pool = Pool(bounds or Bounds(), clock)

    @property
    def open_connections(self) -> int:
        """Busy and idle ones."""
        return len(self._pool)

    @property
    def idle_connections(self) -> int:
        """Those that wait for a request."""
        return self._pool.idle

    async def open(self, pinned: Pinned, request: OutboundRequest) -> Response:
        """Connects, or takes a kept connection, and sends.

        Raises:
            RequestRefused: the request cannot be sent as it is; nothing was.
            SendFailed: no answer; its ``bytes_sent`` says whether anything left.
        """
        written = head(pinned.target, request)
        return await self._sent(await self.connect(pinned, request), request, written)

    async def connect(self, pinned: Pinned, request: OutboundRequest) -> Ready:
        """A connection for this request, kept or new. Give it to :meth:`send` or :meth:`give_back`.

        Raises:
            SendFailed: in phase ``connect`` or ``tls``; nothing was sent.
        """
        kept = self._pool.take(pinned, repeatable=request.repeatable)
        if kept is not None:
            return Ready(pinned, kept, reused=True)
        return Ready(pinned, await self._connected(pinned, request.timeouts), reused=False)

    def give_back(self, ready: Ready) -> None:
        """The request is not sent after all."""
        if ready.link.alive:
            self._pool.release(ready.link)

    async def send(self, ready: Ready, request: OutboundRequest) -> Response:
        """Sends on a connection of :meth:`connect`.

        A connection that was closed in the meantime is replaced: nothing was written on it.

        Raises:
            RequestRefused, SendFailed: as :meth:`open`.
        """
        try:
            written = head(ready.pinned.target, request)
        except BaseException:
            self.give_back(ready)
            raise
        return await self._sent(ready, request, written)

    async def _sent(self, ready: Ready, request: OutboundRequest, written: bytes) -> Response:
        if not ready.link.alive:
            await self._replace(ready, request)
        try:
            return await self._send(ready, written, request)
        except SendFailed as failure:
            again = ready.reused and request.repeatable and failure.phase == "first_byte"
            if not again or failure.code not in ("connection_reset", "connection_closed"):
                raise
        await self._replace(ready, request)
        return await self._send(ready, written, request)

    async def _replace(self, ready: Ready, request: OutboundRequest) -> None:
        if not ready.stopped:
            ready.link, ready.reused = await self._connected(ready.pinned, request.timeouts), False

    def cut(self, host: str | None = None) -> int:
        """Ends all connections to a host, or all, with the requests in them; says how many. For the kill switch."""
        return self._pool.end(lambda link: host is None or link.host == host)

    def sweep(self) -> None:
        """Ends connections that have been idle for too long; to be called now and then."""
        self._pool.sweep()

    async def close(self) -> None:
        """Ends everything."""
        self.cut()

    async def _send(self, ready: Ready, written: bytes, request: OutboundRequest) -> Response:
        link = ready.link
        if ready.stopped:
            link.abort()
            raise SendFailed("connect", "cut", "the request was stopped before anything was sent", bytes_sent=False)
        begun = self._clock.monotonic()
        exchange = link.send(written, request)
        answer = await link.answered(exchange)
        ttfb_ms = (self._clock.monotonic() - begun) * 1000
        return Response(answer, exchange, link, decode=request.decode, limits=request.limits, ttfb_ms=ttfb_ms)

    async def _connected(self, pinned: Pinned, timeouts: Timeouts) -> Link:
        if not self._pool.room():
            self._pool.sweep()
            if not self._pool.room():
                raise SendFailed("connect", "too_many_connections", "the gateway is busy", bytes_sent=False)
        self._pool.opening(1)
        try:
            link = await self._dialled(pinned, timeouts)
        finally:
            self._pool.opening(-1)
        self._pool.add(link)
        return link

    async def _dialled(self, pinned: Pinned, timeouts: Timeouts) -> Link:
        try:
            sock, address = await dial(pinned, timeouts.connect_s, self._clock)
        except ConnectFailed as error:
            raise SendFailed("connect", error.code, error.detail, bytes_sent=False) from error
        link = Link(pinned, address, released=self._pool.release, lost=self._pool.lost)
        loop = asyncio.get_running_loop()
        secure = pinned.target.scheme == "https"
        try:
            if secure:
                async with asyncio.timeout(timeouts.tls_s):
                    await loop.create_connection(
                        lambda: link,
                        sock=sock,
                        ssl=self._tls,
                        server_hostname=pinned.target.host,
                        ssl_handshake_timeout=timeouts.tls_s + 1,
                        ssl_shutdown_timeout=_SHUTDOWN_S,
                    )
            else:
                await loop.create_connection(lambda: link, sock=sock)
        except TimeoutError as error:
            sock.close()
            raise SendFailed("tls", "tls_timeout", "no TLS in time", bytes_sent=False) from error
        except ssl.SSLCertVerificationError as error:
            detail = f"the certificate is not valid for this host: {error.verify_message}"
            raise SendFailed("tls", "tls_certificate", detail, bytes_sent=False) from error
        except OSError as error:
            sock.close()
            code = "tls_failed" if secure else "connect_failed"
            detail = f"no connection: {getattr(error, 'reason', None) or type(error).__name__}"
            raise SendFailed("tls" if secure else "connect", code, detail, bytes_sent=False) from error
        except asyncio.CancelledError:
            sock.close()
            raise
        return link
