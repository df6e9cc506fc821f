"""What the API asks for: a request that was allowed, to be sent. Every way ends with an outcome on record.

In order: a row says that this process has the request, limits are taken, the address is judged, a connection is made;
then ``egress.sent`` is appended, for which the gate looks once more, and only then the first byte leaves. Whatever ends
it before that is certain (``failed``); what ends it after that without an answer is not (``outcome_unknown``).
"""

import asyncio
import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import structlog

from agentos_gateway.address import AddressDenied, BadTarget, Guard, Opening, Pinned, Target, parse, parse_opening
from agentos_gateway.address.resolve import ResolveFailed
from agentos_gateway.bus import Unanswered, problem
from agentos_gateway.limits.limits import Exceeded, Limits, charges
from agentos_gateway.requests import outcome
from agentos_gateway.requests.book import Book
from agentos_gateway.requests.contents import Contents, Leak, Outgoing
from agentos_gateway.requests.sends import Sends
from agentos_gateway.send import Limits as Bounds
from agentos_gateway.send import Outbound, OutboundRequest, Ready, RequestRefused, SendFailed, Timeouts
from agentos_gateway.vault.inject import NotAllowed
from agentos_shared.domain.egress_match import host_fits
from agentos_shared.domain.errors import DomainError
from agentos_shared.domain.policy.reasons import REASONS
from agentos_shared.host.failpoints import failpoint
from agentos_shared.host.lifecycle import Clock, Rng
from agentos_shared.store.blobs import Blobs

log = structlog.get_logger("agentos.gateway")

#: Scopes of kill switches that stop whatever leaves a workspace.
_STOPS_ALL: Final = frozenset({"workspace", "external_write"})
#: Events of a request that has ended, and what the API calls it.
_RESULTS: Final = {
    "egress.succeeded": "succeeded",
    "egress.failed": "failed",
    "egress.outcome_unknown": "outcome_unknown",
}
_NOT_SENT: Final = problem(
    503, "egress_not_recorded", "Nobody answers for the event store: nothing is sent. Try again."
)


@dataclass(frozen=True, slots=True)
class _Asked:
    workspace_id: str
    request_id: str
    method: str
    url: str = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)
    timeout_s: float
    most: int
    again: bool
    obligations: tuple[Mapping[str, Any], ...]

    def outbound(self) -> OutboundRequest:
        """As the sender takes it."""
        part = self.timeout_s
        times = Timeouts(
            connect_s=min(10.0, part),
            tls_s=min(10.0, part),
            write_s=part,
            first_byte_s=part,
            between_bytes_s=part,
            whole_s=part,
        )
        # What is beyond `most` is not read; the sender's own bound only stands against a peer that sends on and on.
        bounds = Bounds(body_bytes=None, decoded_bytes=max(self.most, 1 << 20) * 2)
        return OutboundRequest(self.method, self.headers, self.body, decode=True, limits=bounds, timeouts=times)


class Desk:
    """Sends what it is asked to, each request once.

    Args:
        openings: addresses that the operator opened for all workspaces.
        per_hour: requests of a workspace in an hour; 0: no quota.
    """

    def __init__(
        self,
        book: Book,
        sends: Sends,
        guard: Guard,
        outbound: Outbound,
        limits: Limits,
        blobs: Blobs,
        contents: Contents,
        openings: Sequence[Opening],
        clock: Clock,
        rng: Rng,
        per_hour: int = 0,
    ) -> None:
        self._per_hour = per_hour
        self._book = book
        self._sends = sends
        self._guard = guard
        self._outbound = outbound
        self._limits = limits
        self._blobs = blobs
        self._contents = contents
        self._openings = tuple(openings)
        self._clock = clock
        self._rng = rng
        self._running: dict[str, asyncio.Task[Mapping[str, Any]]] = {}
        self._out: dict[str, tuple[_Asked, Ready]] = {}

    async def answer(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        """``{status: 200, decided, outcome}``, or a problem. Whoever asks again while it runs gets the same answer."""
        limits = question["limits"]
        asked = _Asked(
            question["workspace_id"],
            question["egress_request_id"],
            question["method"],
            question["url"],
            tuple(question["headers"].items()),
            base64.b64decode(question["body"]),
            limits["timeout_s"],
            limits["max_response_bytes"],
            question["again"],
            tuple(question["obligations"]),
        )
        task = self._running.get(asked.request_id)
        if task is None:
            task = self._running[asked.request_id] = asyncio.create_task(self._serve(asked))
            task.add_done_callback(lambda _: self._over(asked.request_id))
        return await asyncio.shield(task)  # what was sent is accounted for, whether or not somebody waits

    def _over(self, request_id: str) -> None:
        self._running.pop(request_id, None)
        self._out.pop(request_id, None)

    def stop(self, switch: Mapping[str, Any]) -> None:
        """Cut what is on its way and a kill switch of the workspace, of what leaves, or of a host stops."""
        for asked, ready in list(self._out.values()):
            host = ready.pinned.target.host
            named = switch["scope"] == "egress_host" and host_fits(host, switch["target"] or "")
            if asked.workspace_id == switch["workspace_id"] and (named or switch["scope"] in _STOPS_ALL):
                log.warning("request_cut", egress_request_id=asked.request_id, scope=switch["scope"])
                ready.stop()

    async def drain(self, timeout_s: float) -> None:
        """Wait for what is on its way."""
        if self._running:
            await asyncio.wait(self._running.values(), timeout=timeout_s)

    async def _serve(self, asked: _Asked) -> Mapping[str, Any]:
        failpoint("gateway.before_begin")
        if not await self._sends.begin(asked.request_id, asked.workspace_id):
            return await self._standing(asked)
        try:
            answer = await self._sent(asked)
        except Unanswered as error:
            log.warning("not_announced", egress_request_id=asked.request_id, error=str(error))
            await self._sends.let_go(asked.request_id, unsent=True)
            return _NOT_SENT
        except BaseException:
            await self._sends.let_go(asked.request_id, unsent=False)
            raise
        await self._sends.end(asked.request_id)
        return answer

    async def _sent(self, asked: _Asked) -> Mapping[str, Any]:
        """Raises Unanswered: before anything was sent."""
        sender = self._rng.token(12).hex()
        if (bound := bound_of(asked.obligations, "request_bytes")) is not None and len(asked.body) > bound:
            return await self._refused(asked, "egress.too_large", f"A rule allows bodies of {bound} bytes here.")
        exceeded = await self._limits.take(charges(asked.workspace_id, asked.obligations, self._per_hour))
        if exceeded is not None:
            code = exceeded.charge.reason_code
            return await self._refused(asked, code, REASONS[code].text, exceeded)
        try:
            outgoing = await self._contents.outgoing(
                asked.workspace_id, asked.method, asked.url, asked.headers, asked.body
            )
        except Leak as leak:
            return await self._leaked(asked, leak)
        except NotAllowed as refused:
            return await self._refused(asked, refused.code, refused.detail)
        asked = replace(asked, url=outgoing.request.url, headers=outgoing.request.headers, body=outgoing.request.body)
        request = asked.outbound()
        try:
            pinned, ready = await self._connected(asked, request)
        except AddressDenied as denied:
            return await self._refused(asked, denied.code, denied.detail)
        except (BadTarget, RequestRefused) as refused:
            return await self._failed(asked, sender, "request", refused.code, refused.detail)
        except ResolveFailed as failed:
            return await self._failed(asked, sender, "dns", failed.code, failed.detail)
        except SendFailed as failed:
            return await self._failed(asked, sender, failed.phase, failed.code, failed.detail)
        try:
            failpoint("gateway.before_sent")
            body = {"sender": sender, "addresses": list(pinned.addresses), "again": asked.again}
            announced = await self._command("send", asked, body)
        except BaseException:
            self._outbound.give_back(ready)
            raise
        if announced["status"] >= 400 or not announced["sent"]:
            self._outbound.give_back(ready)
            if announced.get("error") in ("egress_in_flight", "egress_already_finished"):
                return await self._standing(asked)
            return _refusal(announced)
        failpoint("gateway.after_sent")
        await self._book.injected(asked.workspace_id, asked.request_id, outgoing.used)
        self._out[asked.request_id] = asked, ready
        return await self._exchanged(asked, sender, announced, pinned, ready, request, outgoing)

    async def _connected(self, asked: _Asked, request: OutboundRequest) -> tuple[Pinned, Ready]:
        target = parse(asked.url)
        openings = (*self._openings, *opened_by(asked.obligations, target))
        pinned = await self._guard.resolve(target, openings)
        return pinned, await self._outbound.connect(pinned, request)

    async def _exchanged(
        self,
        asked: _Asked,
        sender: str,
        announced: Mapping[str, Any],
        pinned: Pinned,
        ready: Ready,
        request: OutboundRequest,
        outgoing: Outgoing,
    ) -> Mapping[str, Any]:
        begun = self._clock.monotonic()
        told: dict[str, Any] = {"bytes_out": len(asked.body), "dns_ms": round(pinned.dns_ms, 1)}
        bound = bound_of(asked.obligations, "response_bytes")
        body = outcome.Body(asked.most if bound is None else min(asked.most, bound))
        try:
            response = await self._outbound.send(ready, request)
        except (SendFailed, RequestRefused) as failed:
            unsent = isinstance(failed, RequestRefused) or not failed.bytes_sent
            phase = "request" if isinstance(failed, RequestRefused) else failed.phase
            told |= {"phase": phase, "error_code": failed.code, "detail": failed.detail}
            result = "failed" if unsent else "outcome_unknown"
            return await self._finished(asked, sender, announced, result, told, unsent=unsent)
        failpoint("gateway.after_head")
        headers = outgoing.scrubbed_headers(response.headers)
        told |= {
            "status": response.status,
            "headers": outcome.headers_told(headers),
            "address": response.address,
            "ttfb_ms": round(response.ttfb_ms, 1),
            **outcome.redirect_told(pinned.target, asked.method, asked.headers, response.status, headers),
        }
        try:
            await body.take(response.body)
        except SendFailed as failed:  # its status is known, so that it has arrived is known too
            told |= {"phase": failed.phase, "error_code": failed.code, "detail": failed.detail}
            body.truncated = True
        await response.aclose()
        kept = outgoing.scrubbed(body.kept, cut_short=body.truncated)
        try:
            content = await outcome.content_told(kept, self._blobs)
        except DomainError as error:
            content, body.truncated = {"type": "none", "error": error.code}, True
        told |= {
            "content": content,
            "body_sha256": outcome.digest(kept),
            "bytes_in": body.size,
            "truncated": body.truncated,
            "total_ms": round((self._clock.monotonic() - begun) * 1000, 1),
        }
        failpoint("gateway.before_outcome")
        return await self._finished(asked, sender, announced, "succeeded", told)

    async def _refused(
        self, asked: _Asked, code: str, detail: str, exceeded: Exceeded | None = None
    ) -> Mapping[str, Any]:
        """The gateway's own no, before anything was sent."""
        limit = {} if exceeded is None else {"limit": exceeded.told()}
        await self._command("refuse", asked, {"reason_code": code, "reason": detail, **limit})
        decided: dict[str, Any] = {"decision": "deny", "reason_code": code, "reason": detail, "reason_codes": [code]}
        if exceeded is not None:
            decided |= {"retry_after": exceeded.retry_after_s, "next_steps": list(REASONS[code].next_steps)}
        return {"status": 200, "decided": decided, "outcome": None}

    async def _leaked(self, asked: _Asked, leak: Leak) -> Mapping[str, Any]:
        """A secret was in it: nothing is sent, and people are told."""
        blocked = await self._command("refuse", asked, {"reason_code": leak.code, "reason": leak.detail})
        source = blocked.get("position", {}).get("event_id")
        if source is not None:
            await self._book.leaked(asked.workspace_id, asked.request_id, leak, source, "egress.blocked")
        decided = {
            "decision": "deny",
            "reason_code": leak.code,
            "reason": leak.detail,
            "reason_codes": [leak.code],
        }
        return {"status": 200, "decided": decided, "outcome": None}

    async def _failed(self, asked: _Asked, sender: str, phase: str, code: str, detail: str) -> Mapping[str, Any]:
        """It could not be sent, and nothing was."""
        told = {"phase": phase, "error_code": code, "detail": detail}
        return await self._finished(asked, sender, {"decided": {}}, "failed", told, unsent=True)

    async def _finished(
        self,
        asked: _Asked,
        sender: str,
        announced: Mapping[str, Any],
        result: str,
        told: Mapping[str, Any],
        *,
        unsent: bool = False,
    ) -> Mapping[str, Any]:
        """Put an outcome on record. Until somebody answers for the store it is tried again: this is all that knows."""
        body = {"sender": sender, "result": result, "unsent": unsent, "outcome": dict(told)}
        answer: Mapping[str, Any] | None = None
        backoff = self._book.backoff()
        while answer is None:
            try:
                answer = await self._command("finish", asked, body)
            except Unanswered as error:
                log.warning("outcome_waits", egress_request_id=asked.request_id, error=str(error))
                await self._clock.sleep(backoff.next_s())
        if answer["status"] >= 400:
            return _refusal(answer)
        failpoint("gateway.after_outcome")
        return {"status": 200, "decided": announced["decided"], "outcome": {"result": result, **told}}

    async def _standing(self, asked: _Asked) -> Mapping[str, Any]:
        """What is on record of a request that somebody else has, or had."""
        found = await self._sends.standing(asked.request_id, asked.workspace_id)
        if found is None:
            return problem(404, "egress_request_not_found", "There is no such request in this workspace.")
        event_type, data = found
        if event_type == "egress.reconciled":
            return {"status": 200, "decided": {}, "outcome": {"result": data["outcome"], **data}}
        if event_type not in _RESULTS:
            return problem(409, "egress_in_flight", "This request is on its way; ask again in a moment.")
        outcome_told = {name: value for name, value in data.items() if name != "egress_request_id"}
        return {"status": 200, "decided": {}, "outcome": {"result": _RESULTS[event_type], **outcome_told}}

    async def _command(self, verb: str, asked: _Asked, body: Mapping[str, Any]) -> dict[str, Any]:
        """Raises Unanswered: several times nobody said what became of it."""
        return await self._book.command(verb, asked.workspace_id, asked.request_id, body)


def _refusal(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """What stands in the way: of the API, or of the gate, which looked once more."""
    if answer["status"] >= 400:
        return problem(answer["status"], answer["error"], answer["detail"])
    return {"status": 200, "decided": answer["decided"], "outcome": None}


def bound_of(obligations: Sequence[Mapping[str, Any]], name: str) -> int | None:
    """The least of what rules allow, in bytes."""
    listed = [one[name] for one in obligations if one["type"] == "max_bytes" and one[name] is not None]
    return min(listed, default=None)


def opened_by(obligations: Sequence[Mapping[str, Any]], target: Target) -> list[Opening]:
    """What rules open of this machine and of private networks for a target: its host and port, and nothing else."""
    openings = [parse_opening(one["opening"]) for one in obligations if one["type"] == "open_address"]
    return [opening for opening in openings if (opening.host, opening.port) == (target.host, target.port)]


def openings_of(text: str) -> list[Opening]:
    """The operator's openings, separated by white space.

    Raises:
        BadOpening.
    """
    return [parse_opening(part) for part in text.split()]
