"""Requests with a whole URL: seen to the last byte, so secrets are put in, found and taken out as in any request."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

import structlog

from agentos_gateway.address import BadTarget, Guard, Opening, Pinned, parse
from agentos_gateway.proxy.bodies import BodyBroken, ClientBody
from agentos_gateway.proxy.callers import Named
from agentos_gateway.proxy.head import Head
from agentos_gateway.proxy.held import HeldOpen
from agentos_gateway.proxy.passage import Gate, Passage, Wanted
from agentos_gateway.proxy.refusals import Refusal, plain
from agentos_gateway.requests import outcome
from agentos_gateway.requests.contents import Contents, Leak, Outgoing
from agentos_gateway.send import Limits as Bounds
from agentos_gateway.send import Outbound, OutboundRequest, Ready, RequestRefused, Response, SendFailed, Timeouts
from agentos_gateway.send.headers import Header, end_to_end, is_value, values
from agentos_gateway.vault.inject import NotAllowed
from agentos_shared.dlp import REDACTED, Stream, cut
from agentos_shared.host.failpoints import failpoint
from agentos_shared.host.lifecycle import Clock

log = structlog.get_logger("agentos.gateway")

#: A body of so many bytes is read first: what is asked for is then exactly this.
WHOLE_BYTES: Final = 64 * 1024
_TIMES: Final = Timeouts(first_byte_s=120.0, between_bytes_s=300.0, whole_s=None)
_BOUNDS: Final = Bounds(body_bytes=None, decoded_bytes=1 << 40)
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_TEXT: Final = ("text/", "json", "xml", "javascript", "x-www-form-urlencoded", "yaml", "graphql", "event-stream")
_REDACTED: Final = REDACTED.encode()


class _TooMuch(Exception):
    """A body is longer than a rule allows."""


class Forward:
    """Sends such requests on."""

    def __init__(
        self, gate: Gate, guard: Guard, outbound: Outbound, contents: Contents, held: HeldOpen, clock: Clock
    ) -> None:
        self._gate = gate
        self._guard = guard
        self._outbound = outbound
        self._contents = contents
        self._held = held
        self._clock = clock
        self._running: set[asyncio.Task[bool]] = set()

    async def serve(self, head: Head, named: Named, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answers; whether the connection can take another request. The outcome goes on record meanwhile: nobody waits
        for that.

        Raises:
            Refusal: nothing was answered yet.
        """
        answered: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(self._serve(head, named, reader, writer, answered))
        self._running.add(task)
        task.add_done_callback(self._over)
        try:
            await asyncio.wait((task, answered), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            task.cancel()
            raise
        return answered.result() if answered.done() else task.result()

    async def drain(self, timeout_s: float) -> None:
        """Wait for outcomes that are still to go on record."""
        if self._running:
            await asyncio.wait(self._running, timeout=timeout_s)

    def _over(self, task: asyncio.Task[bool]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, Refusal):
            log.error("proxied_request_failed", error=f"{type(error).__name__}: {error}")

    async def _serve(
        self,
        head: Head,
        named: Named,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answered: "asyncio.Future[bool]",
    ) -> bool:
        try:
            target = parse(head.target)
        except BadTarget as error:
            raise plain(400, error.code, f"{error.detail}.") from error
        body = ClientBody(reader, head.framing or 0, (lambda: writer.write(_CONTINUE)) if head.expects else None)
        whole: bytes | None = None
        if head.framing is None or (head.framing != "chunked" and head.framing <= WHOLE_BYTES):
            try:
                whole = await body.whole()
            except BodyBroken as error:
                raise plain(400, "bad_body", f"{error}.") from error
        headers = [(n, v) for n, v in end_to_end(head.headers) if n.lower() not in ("host", "content-length")]
        size = head.framing if isinstance(head.framing, int) else None if head.framing == "chunked" else 0
        sha256 = None if whole is None else hashlib.sha256(whole).hexdigest()
        names = tuple(dict.fromkeys(name.lower() for name, _ in headers))
        async with self._gate.passing(Wanted(named, head.method, target, names, size, sha256)) as passage:
            most = passage.bound("request_bytes")
            if most is not None and size is not None and size > most:
                detail = f"A rule allows bodies of {most} bytes here."
                raise await self._gate.refused(passage, "limits", "egress.too_large", detail)
            try:
                workspace_id = passage.wish.workspace_id
                outgoing = await self._contents.outgoing(workspace_id, head.method, target.url, headers, whole or b"")
            except NotAllowed as error:
                raise await self._gate.not_filled(passage, error) from error
            sending = _Sending(body, Stream(outgoing.opened.exact), most)
            request = OutboundRequest(
                head.method,
                outgoing.request.headers,
                outgoing.request.body if whole is not None else sending.pieces(),
                content_length=None if whole is not None else size,
                decode=True,
                limits=_BOUNDS,
                timeouts=_TIMES,
            )
            pinned, ready = await self._gate.connected(
                passage, lambda openings: self._connected(outgoing, request, openings)
            )
            try:
                await self._gate.announce(passage, pinned)
            except BaseException:
                self._outbound.give_back(ready)
                raise
            await self._gate.injected(passage, outgoing.used)
            passage.told["dns_ms"] = round(pinned.dns_ms, 1)

            def on_answer(whole_answer: bool) -> None:
                answered.set_result(head.persistent and body.complete and whole_answer)

            await self._exchanged(passage, outgoing, request, ready, head, sending, writer, on_answer)
        return answered.result()

    async def _connected(
        self, outgoing: Outgoing, request: OutboundRequest, openings: Sequence[Opening]
    ) -> tuple[Pinned, Ready]:
        pinned = await self._guard.resolve(parse(outgoing.request.url), openings)
        return pinned, await self._outbound.connect(pinned, request)

    async def _exchanged(
        self,
        passage: Passage,
        outgoing: Outgoing,
        request: OutboundRequest,
        ready: Ready,
        head: Head,
        sending: "_Sending",
        writer: asyncio.StreamWriter,
        on_answer: Callable[[bool], None],
    ) -> None:
        begun = self._clock.monotonic()
        reasons: list[str] = []

        def stop(reason_code: str) -> None:
            reasons.append(reason_code)
            ready.stop()

        with self._held.hold(passage.wish, None, by_approval=passage.by_approval, cut=stop):
            try:
                response = await self._outbound.send(ready, request)
            except RequestRefused as error:
                passage.announced = False  # not a byte of it was written
                await self._gate.ended(passage, "failed", {"error_code": error.code, "detail": error.detail})
                raise plain(400, error.code, error.detail) from error
            except SendFailed as error:
                passage.told |= {"bytes_out": sending.size(request)}
                if reasons:
                    raise await self._gate.failed(passage, error.phase, "cut", reasons[0]) from error
                if sending.leak is not None:
                    raise await self._leaked(passage, sending.leak) from error
                passage.announced = error.bytes_sent
                raise await self._gate.failed(passage, error.phase, error.code, error.detail) from error
            failpoint("proxy.after_head")
            passage.told |= {
                "status": response.status,
                "headers": outcome.headers_told(outgoing.scrubbed_headers(response.headers)),
                "address": response.address,
                "ttfb_ms": round(response.ttfb_ms, 1),
            }
            answer = _Answer(response, outgoing, head, passage.bound("response_bytes"))
            try:
                done = await answer.passed_on(writer)
            except BaseException:
                writer.transport.abort()  # half an answer must not be followed by another
                raise
            on_answer(done)
        await response.aclose()
        passage.told |= {
            "bytes_out": sending.size(request),
            "bytes_in": response.bytes_in,
            "truncated": not done,
            "total_ms": round((self._clock.monotonic() - begun) * 1000, 1),
            "content": {"type": "none"},
            **answer.told,
        }
        if reasons:
            passage.told |= {"error_code": "cut", "reason_code": reasons[0]}
        event_id = await self._gate.ended(passage, "succeeded", {})
        if sending.leak is not None:
            await self._gate.leaked(passage, sending.leak, event_id, "succeeded")

    async def _leaked(self, passage: Passage, leak: Leak) -> Exception:
        told = {"phase": "request", "error_code": leak.code, "detail": leak.detail}
        event_id = await self._gate.ended(passage, "outcome_unknown", told)
        await self._gate.leaked(passage, leak, event_id, "outcome_unknown")
        return self._gate.denied(passage, "dlp", leak.code, leak.detail)


class _Sending:
    """A body on its way out: it ends where a secret is found in it, or more than a rule allows."""

    def __init__(self, body: ClientBody, stream: Stream, most: int | None) -> None:
        self._body = body
        self._stream = stream
        self._most = most
        self.leak: Leak | None = None

    def size(self, request: OutboundRequest) -> int:
        return len(request.body) if isinstance(request.body, bytes) else self._body.size

    async def pieces(self) -> AsyncIterator[bytes]:
        async for piece in self._body:
            if self._most is not None and self._body.size > self._most:
                raise _TooMuch
            settled = self._stream.feed(piece)
            self._require_clean()
            if settled:
                yield settled
        rest = self._stream.finish()
        self._require_clean()
        if rest:
            yield rest

    def _require_clean(self) -> None:
        if self._stream.found:
            self.leak = Leak([(match.rule_id, match.match_preview) for match in self._stream.matches])
            raise self.leak


class _Answer:
    """An answer on its way back, without the secrets of the vault, and its text without any."""

    def __init__(self, response: Response, outgoing: Outgoing, head: Head, most: int | None) -> None:
        self._response = response
        self._outgoing = outgoing
        self._most = most
        self._head = head
        self.told: dict[str, str] = {}
        kind = next(iter(values(response.headers, "content-type")), "text/").lower()
        scrub = bool(outgoing.used) or any(part in kind for part in _TEXT)
        self._stream = Stream(outgoing.opened.exact, redact=True) if scrub else None
        self._bodiless = head.method == "HEAD" or response.status in (204, 304)
        self._chunked = not self._bodiless and not head.old and (scrub or response.decoded or not self._lengths())

    def _lengths(self) -> list[str]:
        return values(self._response.headers, "content-length")

    async def passed_on(self, writer: asyncio.StreamWriter) -> bool:
        """Whether all of it was; the client is gone, or the other side, or it is too long, where it was not."""
        size = 0
        try:
            writer.write(self._head_bytes())
            if self._bodiless:
                async for _ in self._response.body:
                    pass
                await writer.drain()
                return True
            async for piece in self._response.body:
                size += len(piece)
                if self._most is not None and size > self._most:
                    self.told = {"error_code": "response_too_large", "detail": "A rule bounds answers here."}
                    return False
                await self._write(writer, piece if self._stream is None else self._stream.feed(piece))
            if self._stream is not None:
                await self._write(writer, self._stream.finish())
            if self._chunked:
                writer.write(b"0\r\n\r\n")
            await writer.drain()
        except SendFailed as error:
            self.told = {"phase": error.phase, "error_code": error.code, "detail": error.detail}
            return False
        except OSError:
            self.told = {"error_code": "client_gone", "detail": "The client did not take all of the answer."}
            return False
        return self._chunked or not self._head.old

    async def _write(self, writer: asyncio.StreamWriter, piece: bytes) -> None:
        if piece:
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if self._chunked else piece)
            await writer.drain()

    def _head_bytes(self) -> bytes:
        response = self._response
        lines = [f"HTTP/1.1 {response.status} {response.reason}"]
        lines += [f"{name}: {value}" for name, value in self._fields() if is_value(value)]
        if self._chunked:
            lines.append("Transfer-Encoding: chunked")
        if not self._head.persistent:
            lines.append("Connection: close")
        return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n"

    def _fields(self) -> list[Header]:
        left_out = set()
        if self._chunked or (self._head.old and not self._bodiless):
            left_out.add("content-length")
        if self._response.decoded and not self._bodiless:
            left_out |= {"content-encoding", "content-length"}
        exact = self._outgoing.opened.exact
        found = []
        for name, value in end_to_end(self._response.headers):
            if name.lower() not in left_out:
                raw = value.encode("latin-1")
                found.append((name, cut(raw, exact.find(raw), _REDACTED).decode("latin-1")))
        return found
