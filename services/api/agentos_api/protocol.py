"""uvicorn's HTTP protocol, with the one thing that ASGI lacks: a way to drop a connection.

Closing it politely waits for the client to read what is buffered. A client that never reads would keep its buffers,
and a stopping server, for ever.
"""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from agentos_api.sse import ABORT


class Protocol(HttpToolsProtocol):
    """Offers ``scope["extensions"]["agentos.abort"]``."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {ABORT: self.transport.abort}  # type: ignore[dict-item]
