"""``/healthz``, ``/readyz`` and ``/metrics`` of a service that has no HTTP of its own."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import uvicorn

from agentos_shared.host import metrics
from agentos_shared.host.health import Health

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the service."""
        yield


def probes(health: Health) -> Callable[[_Message, _Receive, _Send], Awaitable[None]]:
    """An ASGI application."""

    async def app(scope: _Message, _: _Receive, send: _Send) -> None:
        if scope["type"] != "http":
            return
        status, kind, body = 404, "text/plain", b"not found\n"
        if scope["method"] not in ("GET", "HEAD"):
            status, body = 405, b"only GET\n"
        elif scope["path"] == "/healthz":
            report = health.live()
            status, kind, body = report.status, "application/json", report.json()
        elif scope["path"] == "/readyz":
            report = await health.ready()
            status, kind, body = report.status, "application/json", report.json()
        elif scope["path"] == "/metrics":
            status, kind, body = 200, metrics.CONTENT_TYPE, metrics.render()
        headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    return app


async def serve_probes(health: Health, host: str, port: int) -> None:
    """Serve until cancelled.

    Raises:
        OSError: the address is taken.
    """
    server = _Server(
        uvicorn.Config(
            probes(health),
            host=host,
            port=port,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=1,
            limit_concurrency=64,
        )
    )
    try:
        await server.serve()
    except SystemExit:
        raise OSError(f"cannot listen on {host}:{port}; is another copy running?") from None
    except asyncio.CancelledError:
        if server.started:
            await server.shutdown()
        raise
