"""The proxy's port: connections, each with one request after the other."""

import asyncio
from typing import Final

import structlog

from agentos_gateway.proxy.callers import BadCredentials, named
from agentos_gateway.proxy.forward import Forward
from agentos_gateway.proxy.head import MAX_HEAD_BYTES, BadHead, Head, parse_head
from agentos_gateway.proxy.held import HeldOpen
from agentos_gateway.proxy.refusals import Refusal, plain
from agentos_gateway.proxy.tunnels import Tunnels
from agentos_shared.domain.egress_match import TUNNEL
from agentos_shared.host import metrics

log = structlog.get_logger("agentos.gateway")

#: Seconds for a head to come, from its first byte or from the last answer.
HEAD_S: Final = 30.0
MAX_CONNECTIONS: Final = 2_000
CONNECTIONS: Final = metrics.counter("gateway_proxy_connections", "Connections that the forward proxy took.")
_BUSY: Final = plain(503, "gateway_busy", "Too many connections are open; try again.")


class Proxy:
    """Takes connections."""

    def __init__(self, tunnels: Tunnels, forward: Forward, held: HeldOpen) -> None:
        self._tunnels = tunnels
        self._forward = forward
        self._held = held
        self._server: asyncio.Server | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._idle: set[asyncio.Task[None]] = set()
        self._stopping = False

    async def start(self, host: str, port: int) -> None:
        """Listen. Raises OSError: somebody else does there."""
        self._server = await asyncio.start_server(self._take, host, port, limit=MAX_HEAD_BYTES)

    async def stop(self, timeout_s: float) -> None:
        """Take no more, end what is open, and give its end the time to go on record."""
        if self._server is None:
            return
        self._server.close()
        self._stopping = True
        for task in self._idle:
            task.cancel()
        self._held.cut_all("gateway_stops")
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=timeout_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self._forward.drain(timeout_s)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        CONNECTIONS.inc()
        try:
            if len(self._running) > MAX_CONNECTIONS:
                writer.write(_BUSY.answer(close=True))
            else:
                while not self._stopping and (head := await self._next(task, reader, writer)) is not None:
                    if not await self._serve(head, reader, writer):
                        break
        except OSError:
            log.debug("client_gone")
        except asyncio.CancelledError:
            if not self._stopping:
                raise
        finally:
            writer.close()

    async def _next(
        self, task: "asyncio.Task[None]", reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Head | None:
        """The next request; None where there is none, or where it is none."""
        self._idle.add(task)
        try:
            return await _head(reader)
        except BadHead as bad:
            writer.write(plain(bad.status, bad.code, bad.detail).answer(close=True))
            return None
        finally:
            self._idle.discard(task)

    async def _serve(self, head: Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether another request may follow."""
        try:
            caller = named(head.headers)
            if head.method == TUNNEL:
                await self._tunnels.serve(head, caller, reader, writer)
                return False
            if head.target.startswith("/") or head.target == "*":
                raise plain(
                    400, "not_a_proxy_request", "This is a forward proxy: set HTTP_PROXY and HTTPS_PROXY to it."
                )
            return await self._forward.serve(head, caller, reader, writer)
        except BadCredentials as error:
            refusal = plain(407, "invalid_proxy_credentials", str(error))
        except Refusal as refused:
            refusal = refused
        except ConnectionError:
            raise
        except Exception:
            log.exception("proxy_failed")
            refusal = plain(500, "internal_error", "Something went wrong in the gateway; its log has more.")
        # The body of what was refused may still be coming: only without one can the connection go on.
        goes_on = head.persistent and head.framing is None and head.method != TUNNEL
        writer.write(refusal.answer(close=not goes_on, bodiless=head.method == "HEAD"))
        await writer.drain()
        return goes_on


async def _head(reader: asyncio.StreamReader) -> Head | None:
    """The next head; None where the client has left. Raises BadHead."""
    try:
        async with asyncio.timeout(HEAD_S):
            raw = await reader.readuntil(b"\r\n\r\n")
    except TimeoutError:
        raise BadHead(408, "head_timeout", f"No request came in {HEAD_S:g} seconds.") from None
    except asyncio.LimitOverrunError:
        raise BadHead(431, "head_too_large", f"A head has at most {MAX_HEAD_BYTES} bytes.") from None
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise BadHead(400, "bad_request_line", "The request broke off.") from None
        return None
    if len(raw) > MAX_HEAD_BYTES:
        raise BadHead(431, "head_too_large", f"A head has at most {MAX_HEAD_BYTES} bytes.")
    return parse_head(raw)
