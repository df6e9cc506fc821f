"""One request of the proxy on its way through the gate: asked, limited, announced, and ended on record.

The order is that of the requests of the API (``requests/desk.py``), and so is what is certain: what ends before it is
announced has failed; what the process leaves behind after that is settled by the next one.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import structlog

from agentos_gateway.address import AddressDenied, BadTarget, Opening, Pinned, Target
from agentos_gateway.address.resolve import ResolveFailed
from agentos_gateway.bus import Unanswered
from agentos_gateway.limits.limits import Exceeded, Limits, charges
from agentos_gateway.proxy.callers import Named
from agentos_gateway.proxy.refusals import Refusal, denied, plain
from agentos_gateway.requests.book import Book
from agentos_gateway.requests.contents import Leak
from agentos_gateway.requests.desk import bound_of, opened_by
from agentos_gateway.requests.sends import Sends
from agentos_gateway.send import RequestRefused, SendFailed
from agentos_gateway.vault.inject import NotAllowed, Secret
from agentos_shared.domain import principals
from agentos_shared.domain.actions import normalised
from agentos_shared.domain.egress import wish_of
from agentos_shared.domain.egress_match import TUNNEL
from agentos_shared.domain.envelope import Actor
from agentos_shared.domain.policy.evaluate import EXTERNAL_WRITE
from agentos_shared.domain.policy.facts import Request
from agentos_shared.domain.policy.reasons import REASONS
from agentos_shared.host.failpoints import failpoint
from agentos_shared.host.lifecycle import Clock, Rng

log = structlog.get_logger("agentos.gateway")

Connection = TypeVar("Connection")
_AWAY: Final = "Nobody answers for the event store: nothing is sent. Try again."
_RULE: Final = "Have a rule proposed: POST /v1/egress/proposals, or `agentos egress allow`."
#: What an egress rule lifts.
_LIFTED: Final = frozenset({"external_write_requires_approval"})
#: Failures that mean that the other side was too slow.
_SLOW: Final = frozenset({"connect_timeout", "tls_timeout", "dns_timeout", "first_byte_timeout", "whole_timeout"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a client asks for.

    Args:
        headers: names alone.
        size, sha256: of the body; None where it is still to come.
    """

    named: Named
    method: str
    target: Target
    headers: Sequence[str] = ()
    size: int | None = None
    sha256: str | None = None

    @property
    def tunnel(self) -> bool:
        return self.method == TUNNEL


@dataclass(slots=True)
class Passage:
    """A request that was allowed.

    Args:
        wish: as the gate knows it, to be asked about again.
        sender: names this one attempt.

    Attributes:
        announced: ``egress.sent`` is on record, or may be. ended: so is how it ended.
    """

    wanted: Wanted
    request_id: str
    wish: Request
    by_approval: bool
    obligations: tuple[Mapping[str, Any], ...]
    sender: str
    announced: bool = False
    ended: bool = False
    told: dict[str, Any] = field(default_factory=dict)

    def bound(self, name: str) -> int | None:
        """The least of what rules allow, in bytes: ``request_bytes``, ``response_bytes``."""
        return bound_of(self.obligations, name)


class Gate:
    """Lets requests pass.

    Args:
        openings: addresses that the operator opened for all workspaces.
        api_url: where approvals are decided.
        per_hour: requests of a workspace in an hour; 0: no quota.
    """

    def __init__(
        self,
        book: Book,
        sends: Sends,
        limits: Limits,
        openings: Sequence[Opening],
        clock: Clock,
        rng: Rng,
        api_url: str,
        per_hour: int,
    ) -> None:
        self._book = book
        self._sends = sends
        self._limits = limits
        self._openings = tuple(openings)
        self._clock = clock
        self._rng = rng
        self._api_url = api_url.rstrip("/")
        self._per_hour = per_hour

    @asynccontextmanager
    async def passing(self, wanted: Wanted) -> AsyncIterator[Passage]:
        """A request that is allowed, for as long as the block runs, which announces and ends it.

        Raises:
            Refusal: it is not, or limits are used up.
        """
        if not self._sends.held:
            raise _away()
        passage = await self._asked(wanted)
        await self._sends.begin(passage.request_id, passage.wish.workspace_id)
        try:
            exceeded = await self._limits.take(charges(passage.wish.workspace_id, passage.obligations, self._per_hour))
            if exceeded is not None:
                raise await self._exceeded(passage, exceeded)
            yield passage
        except Unanswered as error:
            log.warning("not_announced", egress_request_id=passage.request_id, error=str(error))
            raise _away() from error
        finally:
            if passage.ended:
                await self._sends.end(passage.request_id)
            else:
                await self._sends.let_go(passage.request_id, unsent=not passage.announced)

    async def connected(
        self, passage: Passage, connect: Callable[[Sequence[Opening]], Awaitable[tuple[Pinned, Connection]]]
    ) -> tuple[Pinned, Connection]:
        """A connection to where it goes; nothing is written on it yet.

        Raises:
            Refusal: there is none.
        """
        openings = (*self._openings, *opened_by(passage.obligations, passage.wanted.target))
        try:
            return await connect(openings)
        except AddressDenied as error:
            raise await self.refused(passage, "address", error.code, error.detail) from error
        except (BadTarget, RequestRefused) as error:
            await self.ended(passage, "failed", {"phase": "request", "error_code": error.code, "detail": error.detail})
            raise plain(400, error.code, error.detail) from error
        except ResolveFailed as error:
            raise await self.failed(passage, "dns", error.code, error.detail) from error
        except SendFailed as error:
            raise await self.failed(passage, error.phase, error.code, error.detail) from error

    async def announce(self, passage: Passage, pinned: Pinned) -> None:
        """``egress.sent``, for which the gate looks once more.

        Raises:
            Refusal: it is not allowed any more. Unanswered: nothing may be sent.
        """
        body = {"sender": passage.sender, "addresses": list(pinned.addresses)}
        failpoint("proxy.before_sent")
        answer = await self._book.command("send", passage.wish.workspace_id, passage.request_id, body)
        if answer["status"] >= 400:
            raise self._not_taken(passage.wanted, answer)
        if not answer["sent"]:
            passage.ended = True
            raise self._denied(passage.wanted, passage.request_id, answer["decided"])
        passage.announced = True
        failpoint("proxy.after_sent")

    async def refused(self, passage: Passage, layer: str, code: str, detail: str) -> Refusal:
        """The gateway's own no, on record."""
        body = {"reason_code": code, "reason": detail}
        await self._book.command("refuse", passage.wish.workspace_id, passage.request_id, body)
        passage.ended = True
        return self.denied(passage, layer, code, detail)

    async def not_filled(self, passage: Passage, error: NotAllowed) -> Refusal:
        """A secret is in it, or may not be put in."""
        if not isinstance(error, Leak):
            return await self.refused(passage, "vault", error.code, error.detail)
        workspace_id, request_id = passage.wish.workspace_id, passage.request_id
        body = {"reason_code": error.code, "reason": error.detail}
        blocked = await self._book.command("refuse", workspace_id, request_id, body)
        passage.ended = True
        source = blocked.get("position", {}).get("event_id")
        if source is not None:
            await self._book.leaked(workspace_id, request_id, error, source, "egress.blocked")
        return self.denied(passage, "dlp", error.code, error.detail)

    async def failed(self, passage: Passage, phase: str, code: str, detail: str) -> Refusal:
        """Nothing got there, or after it was announced: nobody knows whether anything did."""
        result = "outcome_unknown" if passage.announced else "failed"
        await self.ended(passage, result, {"phase": phase, "error_code": code, "detail": detail})
        return plain(504 if code in _SLOW else 502, code, f"{passage.wanted.target.bracketed}: {detail}")

    async def ended(self, passage: Passage, result: str, told: Mapping[str, Any]) -> str | None:
        """Put on record how it ended, and try for as long as it takes: this is all that knows. The event's id."""
        body = {
            "sender": passage.sender,
            "result": result,
            "unsent": not passage.announced,
            "outcome": {**passage.told, **told},
        }
        failpoint("proxy.before_outcome")
        answer: Mapping[str, Any] | None = None
        backoff = self._book.backoff()
        while answer is None:
            try:
                answer = await self._book.command("finish", passage.wish.workspace_id, passage.request_id, body)
            except Unanswered as error:
                log.warning("outcome_waits", egress_request_id=passage.request_id, error=str(error))
                await self._clock.sleep(backoff.next_s())
        passage.ended = True
        found: str | None = answer.get("position", {}).get("event_id")
        return found

    async def injected(self, passage: Passage, used: Sequence[Secret]) -> None:
        """Secrets were put in."""
        await self._book.injected(passage.wish.workspace_id, passage.request_id, used)

    def denied(self, passage: Passage, layer: str, code: str, detail: str) -> Refusal:
        """What the client is told."""
        wanted = passage.wanted
        return denied(wanted.target, wanted.method, layer, [code], detail, request_id=passage.request_id)

    async def leaked(self, passage: Passage, leak: Leak, source_event_id: str | None, result: str) -> None:
        """A secret was found in a body that was on its way already."""
        if source_event_id is not None:
            workspace_id = passage.wish.workspace_id
            await self._book.leaked(workspace_id, passage.request_id, leak, source_event_id, f"egress.{result}")

    async def _asked(self, wanted: Wanted) -> Passage:
        named, target = wanted.named, wanted.target
        url = f"{target.bracketed}:{target.port}" if wanted.tunnel else target.url
        body: dict[str, Any] = {
            "workspace_id": named.workspace_id,
            "credential": named.token,
            "target_url": url,
            "proxied_method": wanted.method,
            "headers": {name.lower(): "" for name in wanted.headers},
            "given_size": wanted.size,
            "given_sha256": wanted.sha256,
            "run_id": named.run_id,
        }
        if named.agent is not None:
            body |= {"actor_type": "agent", "actor_id": named.agent}
            if named.token is None:  # a claim, like the name; where credentials are checked it is not believed
                body["principal_id"] = principals.actor(named.workspace_id, "agent", named.agent).principal_id
        try:
            answer = await self._book.asked(body)
        except Unanswered as error:
            log.warning("not_asked", error=str(error))
            raise _away() from error
        if answer["status"] >= 400:
            raise self._not_taken(wanted, answer)
        told, decided = answer["data"], answer["decided"]
        if decided["decision"] != "allow":
            raise self._denied(wanted, told["egress_request_id"], decided)
        wish = wish_of(
            named.workspace_id,
            Actor(*answer["actor"]),
            action=normalised(EXTERNAL_WRITE),
            method=wanted.method,
            url=told["target_url"],
            host=target.host,
            port=target.port,
            path=told["target_path"],
            digest=told["action_digest"],
            body_sha256=told["body_sha256"],
            context=told["context"],
            principal_id=told["principal_id"],
            capability_token_id=told["capability_token_id"],
            capability_scopes=told["capability_scopes"],
            **answer["place"],
        )
        by_approval = decided["approval_id"] is not None
        sender = self._rng.token(12).hex()
        return Passage(wanted, told["egress_request_id"], wish, by_approval, tuple(decided["obligations"]), sender)

    async def _exceeded(self, passage: Passage, exceeded: Exceeded) -> Refusal:
        code = exceeded.charge.reason_code
        reason = REASONS[code]
        body = {"reason_code": code, "reason": reason.text, "limit": exceeded.told()}
        await self._book.command("refuse", passage.wish.workspace_id, passage.request_id, body)
        passage.ended = True
        return denied(
            passage.wanted.target,
            passage.wanted.method,
            "limits",
            [code],
            reason.text,
            next_steps=reason.next_steps,
            request_id=passage.request_id,
            retry_after_s=exceeded.retry_after_s,
        )

    def _not_taken(self, wanted: Wanted, answer: Mapping[str, Any]) -> Refusal:
        """What the API itself refuses: who calls, or where from."""
        status, code, detail = answer["status"], answer["error"], answer["detail"]
        if status == 401:
            return plain(407, code, detail)
        if status >= 500:
            return plain(503, code, detail)
        return denied(wanted.target, wanted.method, "identity", [code], detail)

    def _denied(self, wanted: Wanted, request_id: str, decided: Mapping[str, Any]) -> Refusal:
        target, approval_id = wanted.target, decided.get("approval_id")
        lifted = decided["reason_code"] in _LIFTED
        rule = {"host": target.host, "port": target.port, "methods": [wanted.method]} if lifted else None
        return denied(
            target,
            wanted.method,
            "policy",
            decided["reason_codes"],
            decided.get("reason") or decided["reason_code"],
            next_steps=(*((_RULE,) if lifted else ()), *decided["next_steps"]),
            rule_missing=rule,
            approval_url=None if approval_id is None else f"{self._api_url}/v1/approvals/{approval_id}",
            request_id=request_id,
        )


def _away() -> Refusal:
    return plain(503, "gateway_unavailable", _AWAY)
