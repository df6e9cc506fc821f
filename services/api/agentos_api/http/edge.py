"""The ASGI edge: every request comes through here.

It checks who calls, gives each request its ids, and turns every error into a problem document. Writes and streams are
the hot paths and are served right here, with the same validation as everything else; reads go on to FastAPI, whose
routing and dependency injection would cost a write more than its append does.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias

import structlog
from prometheus_client import Counter
from starlette.types import ASGIApp, Receive, Scope, Send

from agentos_api.append.submission import Answer
from agentos_api.command_type import CommandType
from agentos_api.commands import Caller, Commands, correlation
from agentos_api.http import problem
from agentos_api.http.access import (
    MAX_HEADER_BYTES,
    PUBLIC,
    SESSION_COOKIE,
    Access,
    HeadersTooLarge,
    Identity,
    workspace_of,
)
from agentos_api.http.calls import Call
from agentos_api.http.pages import Page, Pages
from agentos_api.http.protocol import ANSWER
from agentos_api.http.read_scope import ReadScope
from agentos_shared.domain import ids
from agentos_shared.domain.canonical import parse
from agentos_shared.domain.errors import DomainError, Invalid, TooLarge, UnsupportedMediaType
from agentos_shared.host import metrics, telemetry
from agentos_shared.tokens import links

log = structlog.get_logger("agentos.http")

MAX_BODY: Final = 1024 * 1024
MAX_BULK_BODY: Final = 8 * 1024 * 1024
BODY_S: Final = 30.0
BULK_PATH: Final = "/v1/commands"
_WORKSPACE_ID = re.compile(rb"[A-Za-z0-9_-]{1,64}")
_TRACE_ID = re.compile(rb"[A-Za-z0-9._:-]{8,128}")

SECONDS: Final = metrics.histogram(
    "http_request_seconds", "From the first byte of a request to its answer.", ("route",)
)
REQUESTS: Final = metrics.counter("http_requests", "Requests answered.", ("route", "status"))

Headers: TypeAlias = list[tuple[bytes, bytes]]
StreamHandler: TypeAlias = Callable[[Scope, Receive, Send, str], Awaitable[None]]


class InternalError(DomainError):
    """500: our fault."""

    status = 500


class MethodNotAllowed(DomainError):
    """405: the path is known, the method is not."""

    status = 405


class RequestTimeout(DomainError):
    """408: the body came too slowly."""

    status = 408


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request, as far as every answer needs it."""

    scope: Scope
    headers: Mapping[bytes, bytes]
    request_id: bytes
    correlation_id: bytes
    traceparent: str

    @property
    def path(self) -> str:
        path: str = self.scope["path"]
        return path


class Edge:
    """ASGI application around the read side.

    Args:
        reads: the FastAPI application.
        streams: handlers of event streams by the first segments of their path; see :meth:`_stream_of`.
        read_scope: holds reads to the rooms that credentials cover.
        calls: writes that are no commands.
        pages: what a browser is shown.
    """

    def __init__(
        self,
        reads: ASGIApp,
        commands: Commands,
        access: Access,
        streams: Mapping[str, StreamHandler],
        read_paths: Sequence[str],
        read_scope: ReadScope,
        calls: Sequence[Call] = (),
        pages: Pages | None = None,
    ) -> None:
        self._reads = reads
        self._read_scope = read_scope
        self._commands = commands
        self._access = access
        self._pages = pages
        self._streams = streams
        kinds: list[CommandType | Call] = [*(kind for kind in commands.types.values() if kind.path), *calls]
        self._fixed = {kind.path: kind for kind in kinds if "{" not in kind.path}
        self._routes = {_pattern(kind.path): kind for kind in kinds if "{" in kind.path}
        self._read_patterns = {_pattern(path) for path in read_paths}
        # Children are held: looking one up by its labels costs as much as all the rest of a metric.
        names = (*(kind.name for kind in kinds), "bulk", "read", "page", "other")
        self._seconds = {name: SECONDS.labels(name) for name in names}
        self._counters: dict[tuple[str, int], Counter] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._reads(scope, receive, send)
            return
        started = time.perf_counter()
        headers = dict(scope["headers"])
        exchange = _exchange(scope, headers)
        route = "other"
        try:
            _check_head(scope["headers"])
            parts = scope["path"].split("/")
            if scope["path"].startswith(links.LINK_PATH):
                await self._open_session(exchange, send)
                return
            page = self._page_of(scope, headers)
            if page is not None:
                route = "page"
                await self._show(exchange, send, page)
                return
            kind = self._command_of(scope["path"], parts, scope["method"])
            if kind is None and scope["path"] != BULK_PATH:
                stream = self._stream_of(parts)
                route = "stream" if stream else "read"
                await self._read(exchange, receive, send, stream)
                return
            route = kind.name if kind is not None else "bulk"
            with telemetry.span(
                "http.request", exchange.traceparent, {"http.route": route}, kind="server"
            ) as traceparent:
                answer = await self._write(exchange, receive, kind, parts, traceparent)
            await _respond(send, exchange, answer)
            self._count(route, answer.status)
        except DomainError as error:
            await respond_problem(send, exchange, error)
            self._count(route, error.status)
        except Exception:
            log.exception("request_failed", route=route, request_id=exchange.request_id.decode())
            await respond_problem(send, exchange, internal_error(exchange.request_id))
            self._count(route, 500)
        finally:
            if route != "stream":
                self._seconds[route].observe(time.perf_counter() - started)

    def _count(self, route: str, status: int) -> None:
        counter = self._counters.get((route, status))
        if counter is None:
            counter = self._counters[route, status] = REQUESTS.labels(route, str(status))
        counter.inc()

    async def _write(
        self,
        exchange: Exchange,
        receive: Receive,
        kind: CommandType | Call | None,
        parts: Sequence[str],
        traceparent: str,
    ) -> Answer:
        headers = exchange.headers
        if exchange.scope["method"] != "POST":
            raise MethodNotAllowed("method_not_allowed", "Use POST here.")
        call = kind if isinstance(kind, Call) else None
        in_body = call is not None and call.engine_in_body
        identity, workspace_id = await self._admit(exchange, write=True, engine_in_body=in_body)
        limit = MAX_BULK_BODY if kind is None else MAX_BODY
        raw = await _body(headers, receive, limit, _WAYS_OUT.get("" if kind is None else kind.name, _WAY_OUT))
        caller = Caller(
            workspace_id,
            "POST " + exchange.path,
            exchange.path,
            identity.actor,
            _text(headers.get(b"x-actor-type")),
            _text(headers.get(b"x-actor-id")),
            correlation(_text(headers.get(b"x-correlation-id"))),
            _text(headers.get(b"idempotency-key")),
            traceparent,
            _text(headers.get(b"x-claim-token")),
            identity.engine,
            identity.capability,
            approver=identity.approver,
        )
        body = parse(raw) if raw else {}
        if isinstance(kind, Call):
            named = tuple(part for part, name in zip(parts, kind.path.split("/"), strict=True) if name.startswith("{"))
            return await kind.run(kind.asked(caller, identity, body, named, len(raw), partial(_gone, receive)))
        if kind is None:
            return await self._commands.execute_bulk(caller, body, len(raw))
        if kind.member is not None and type(body) is dict:
            body = {**body, kind.member: parts[5]}
        return await self._commands.execute(kind, caller, body, _first_id(parts) if kind.parent else None, len(raw))

    async def _read(self, exchange: Exchange, receive: Receive, send: Send, stream: StreamHandler | None) -> None:
        scope = exchange.scope
        write = scope["method"] not in ("GET", "HEAD", "OPTIONS")
        if scope["path"] in PUBLIC:
            self._access.check(exchange.headers, write=write)
            identity, workspace_id = Identity(), "public"
        else:
            identity, workspace_id = await self._admit(exchange, write=write)
            if stream is not None:
                identity.require_room(scope["path"].rsplit("/", 1)[1] if "/rooms/" in scope["path"] else None)
            elif identity.rooms is not None:
                await self._read_scope.require(identity, scope["path"], scope["query_string"])
        started = False
        also_post = scope["path"] in self._fixed or _shape(scope["path"].split("/")) in self._routes

        async def stamped(message: MutableMapping[str, Any]) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = list(message.get("headers", ()))
                if message["status"] == 405 and also_post:
                    headers = [(name, value + b", POST" if name == b"allow" else value) for name, value in headers]
                message["headers"] = [*headers, *_stamp(exchange)]
            await send(message)

        scope.setdefault("state", {})
        scope["state"] |= {"workspace_id": workspace_id, "identity": identity, "exchange": exchange}
        try:
            if stream is not None:
                if scope["method"] not in ("GET", "HEAD"):
                    raise MethodNotAllowed("method_not_allowed", "Use GET here.")
                await stream(scope, receive, stamped, workspace_id)
                return
            await self._reads(scope, receive, stamped)
        except Exception:
            if started:
                # The answer is under way: only closing the connection tells the client that it is not whole.
                log.exception("response_broke_off", path=exchange.path, request_id=exchange.request_id.decode())
                return
            raise

    async def _open_session(self, exchange: Exchange, send: Send) -> None:
        """Answer a one-time link: the browser that follows it is the local user's from then on."""
        self._access.check(exchange.headers, write=False)
        if exchange.scope["method"] != "GET":  # whatever only looks at a link must not use it up
            raise MethodNotAllowed("method_not_allowed", "Open this link in a browser.")
        session = self._access.session(exchange.path.removeprefix(links.LINK_PATH))
        life = int(links.SESSION_LIFE.total_seconds())
        cookie = f"{SESSION_COOKIE}={session}; Path=/; Max-Age={life}; HttpOnly; SameSite=Strict"
        headers = [
            (b"location", b"/"),
            (b"set-cookie", cookie.encode()),
            (b"cache-control", b"no-store"),
            (b"referrer-policy", b"no-referrer"),
            (b"content-length", b"0"),
        ]
        self._count("other", 303)
        await send({"type": "http.response.start", "status": 303, "headers": [*headers, *_stamp(exchange)]})
        await send({"type": "http.response.body", "body": b""})

    def _page_of(self, scope: Scope, headers: Mapping[bytes, bytes]) -> Page | None:
        if self._pages is None or scope["method"] not in ("GET", "HEAD"):
            return None
        return self._pages.find(scope["path"], headers)

    async def _show(self, exchange: Exchange, send: Send, page: Page) -> None:
        """Pages are the same for everybody; what they show, they ask for with their browser's session."""
        self._access.check(exchange.headers, write=False)
        self._count("page", page.status)
        headers = [*page.headers, *_stamp(exchange)]
        await send({"type": "http.response.start", "status": page.status, "headers": headers})
        body = b"" if exchange.scope["method"] == "HEAD" else page.body
        await send({"type": "http.response.body", "body": body})

    async def _admit(self, exchange: Exchange, *, write: bool, engine_in_body: bool = False) -> tuple[Identity, str]:
        headers = exchange.headers
        self._access.check(headers, write=write)
        workspace_id = workspace_of(headers)
        return await self._access.identify(headers, workspace_id, engine_in_body=engine_in_body), workspace_id

    def _command_of(self, path: str, parts: Sequence[str], method: str) -> CommandType | Call | None:
        """The command or call that a path names; for other methods only where no read has the same path."""
        pattern = _shape(parts)
        kind = self._fixed.get(path) or self._routes.get(pattern)
        if kind is None or method == "POST":
            return kind
        return None if pattern in self._read_patterns or tuple(parts) in self._read_patterns else kind

    def _stream_of(self, parts: Sequence[str]) -> StreamHandler | None:
        if len(parts) < 4 or parts[1] != "v1" or parts[2] != "streams":
            return None
        return self._streams.get(parts[3]) if len(parts) == (5 if parts[3] == "rooms" else 4) else None


async def respond_problem(send: Send, exchange: Exchange, error: DomainError) -> None:
    """Send an error as a problem document."""
    extra = b"".join(f"{name}: {value}\r\n".encode() for name, value in problem.headers(error).items())
    await _respond(send, exchange, problem.answer(error, exchange.path), extra)


def internal_error(request_id: bytes) -> InternalError:
    """500, with what helps to find the cause in the log and nothing else."""
    return InternalError(
        "internal_error", f"Something went wrong here; the log has more under request id {request_id.decode()}."
    )


async def _respond(send: Send, exchange: Exchange, answer: Answer, extra: bytes = b"") -> None:
    method = exchange.scope["method"]
    lines = [
        b"content-type: %b\r\ncontent-length: %d\r\n"
        % (b"application/json" if answer.status < 400 else problem.CONTENT_TYPE.encode(), len(answer.body)),
        *(b"%b: %b\r\n" % header for header in _stamp(exchange)),
        extra,
    ]
    if answer.replayed:
        lines.append(b"idempotency-replayed: true\r\n")
    if answer.status == 401:
        lines.append(b"www-authenticate: Bearer\r\n")
    if answer.status == 405:
        lines.append(b"allow: POST\r\n" if method != "POST" else b"allow: GET\r\n")
    head, body = b"".join(lines), b"" if method == "HEAD" else answer.body
    whole = exchange.scope.get("extensions", {}).get(ANSWER)
    if whole is not None and whole(answer.status, head, body):
        return
    headers = [tuple(line.split(b": ", 1)) for line in head.split(b"\r\n") if line]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _check_head(headers: Headers) -> None:
    hosts = size = 0
    for name, value in headers:
        size += len(name) + len(value)
        hosts += name == b"host"
    if hosts > 1:
        raise Invalid("invalid_host", "Send exactly one Host header.")
    if size > MAX_HEADER_BYTES:
        raise HeadersTooLarge("headers_too_large", f"Request headers are limited to {MAX_HEADER_BYTES} bytes.")


def _exchange(scope: Scope, headers: Mapping[bytes, bytes]) -> Exchange:
    request_id = _trace_id(headers.get(b"x-request-id")) or b"req_" + ids.random_bytes(16).hex().encode()
    given = _trace_id(headers.get(b"x-correlation-id"))
    header = headers.get(b"traceparent")
    traceparent = telemetry.continue_trace(_text(header))
    return Exchange(scope, headers, request_id, b"ext_" + given if given else request_id, traceparent)


def _stamp(exchange: Exchange) -> Headers:
    """Headers of every answer."""
    stamp = [
        (b"x-request-id", exchange.request_id),
        (b"x-correlation-id", exchange.correlation_id),
        (b"traceparent", exchange.traceparent.encode()),
        (b"x-content-type-options", b"nosniff"),
    ]
    workspace = exchange.headers.get(b"x-workspace-id")
    if workspace is not None and _WORKSPACE_ID.fullmatch(workspace):
        stamp.append((b"x-workspace-id", workspace))
    return stamp


#: What to do with what is too large for a body.
_WAY_OUT: Final = "larger content belongs in an artifact"
_WAYS_OUT: Final = {
    "artifact.create": "keep larger content elsewhere, and name it here by its address: content {type: uri, uri}"
}


async def _body(headers: Mapping[bytes, bytes], receive: Receive, limit: int, way_out: str) -> bytes:
    """The request's body.

    Args:
        way_out: told to who sends too much.

    Raises:
        TooLarge: ``body_too_large``. UnsupportedMediaType: not plain application/json.
    """
    length = headers.get(b"content-length")
    if length is not None and (not length.isdigit() or len(length) > 18 or int(length) > limit):
        raise _too_large(limit, way_out)
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        body += await _rest(receive, limit - len(body), limit, way_out)
    elif message["type"] == "http.disconnect":
        raise _incomplete()
    if len(body) > limit:
        raise _too_large(limit, way_out)
    if body:
        media = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if media != b"application/json":
            raise UnsupportedMediaType("unsupported_media_type", "Send the body as content-type: application/json.")
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise UnsupportedMediaType("unsupported_content_encoding", "Send the body without content-encoding.")
    return body


async def _gone(receive: Receive) -> None:
    """Return once the client of a request whose body was read has hung up."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _rest(receive: Receive, room: int, limit: int, way_out: str) -> bytes:
    parts: list[bytes] = []
    try:
        async with asyncio.timeout(BODY_S):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise _incomplete()
                part: bytes = message.get("body", b"")
                room -= len(part)
                if room < 0:
                    raise _too_large(limit, way_out)
                parts.append(part)
                if not message.get("more_body"):
                    return b"".join(parts)
    except TimeoutError:
        raise RequestTimeout("request_timeout", f"The body did not come within {BODY_S:.0f} s.") from None


def _incomplete() -> Invalid:
    return Invalid("incomplete_body", "The connection closed before the whole body came.")


def _too_large(limit: int, way_out: str) -> TooLarge:
    return TooLarge("body_too_large", f"A body here is limited to {limit} bytes; {way_out}.")


def _trace_id(value: bytes | None) -> bytes | None:
    return value if value is not None and _TRACE_ID.fullmatch(value) else None


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


def _pattern(path: str) -> tuple[str | None, ...]:
    return tuple(None if part.startswith("{") else part for part in path.split("/"))


def _in_group(parts: Sequence[str]) -> bool:
    """Whether nouns stand below the name of their group: ``/v1/egress/requests/<id>/<verb>``."""
    return len(parts) > 4 and parts[2] == "egress"


def _first_id(parts: Sequence[str]) -> str:
    return parts[4] if _in_group(parts) else parts[3]


def _shape(parts: Sequence[str]) -> tuple[str | None, ...]:
    """A path with its ids left out: they stand at the places of ``/v1/<nouns>/<id>/<nouns>/<id>/<verb>``."""
    if _in_group(parts):
        return (*parts[:4], None, *parts[5:])
    if len(parts) == 7:
        return (parts[0], parts[1], parts[2], None, parts[4], None, parts[6])
    if len(parts) > 3:
        return (parts[0], parts[1], parts[2], None, *parts[4:])
    return tuple(parts)
