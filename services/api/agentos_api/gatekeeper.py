"""The API's way to the gate: asks the policy service, many wishes in one message. Without an answer it is a denial.

Each question names the streams to which this process has committed something that decisions depend on within the last
seconds; the policy service reads at least that far. So a decision knows whatever was acknowledged before it was asked
for.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

import nats.errors
import orjson
import structlog
from nats.aio.client import Client

from agentos_api.append.appender import Committed
from agentos_shared.contracts import subjects
from agentos_shared.domain.envelope import Zone
from agentos_shared.domain.policy.decision import Decision
from agentos_shared.domain.policy.evaluate import unavailable
from agentos_shared.domain.policy.facts import FACT_EVENTS, FACT_KINDS, Request
from agentos_shared.domain.policy.records import Gated, Mode
from agentos_shared.domain.policy.wire import decision_of, request_told
from agentos_shared.host import metrics
from agentos_shared.host.lifecycle import CLOCK, Clock

log = structlog.get_logger("agentos.policy")

SECONDS: Final = metrics.histogram("policy_ask_seconds", "From a wish to its decision by the policy service.")
UNANSWERED: Final = metrics.counter("policy_unanswered", "Wishes that were denied since no policy service answered.")

ANSWER_S: Final = 2.0
#: Seconds after which the policy service has found out by itself what happened anywhere.
NAMED_S: Final = 2.0
#: Bytes of one message; the server takes 1 MB.
MAX_BYTES: Final = 700_000
#: What a wish is done with goes along up to this size; beyond it, approvals for patterns of arguments do not match.
MAX_CONTEXT_BYTES: Final = 64_000
_AWAY: Final = (nats.errors.Error, TimeoutError, asyncio.InvalidStateError, OSError, ValueError, KeyError, TypeError)


class _Wish(NamedTuple):
    request: Request
    told: bytes
    decided: "asyncio.Future[_Decided]"


class _Decided(NamedTuple):
    """A decision, what it was made on, as it is recorded (None: that was not known), and what is told with it."""

    decision: Decision
    basis: Mapping[str, Any] | None = None
    rests_on: tuple[str, ...] = ()
    assessment: Mapping[str, Any] | None = None


class Gatekeeper:
    """Brings wishes of this process to the gate."""

    def __init__(self, client: Client, mode: Mode = "enforce", clock: Clock = CLOCK) -> None:
        self._client = client
        self._mode: Mode = mode
        self._clock = clock
        self._waiting: list[_Wish] = []
        self._asking: set[asyncio.Task[None]] = set()
        self._moved: dict[tuple[str, str], tuple[int, float]] = {}

    def on_commit(self, batch: Sequence[Committed]) -> None:
        """Note where something moved that decisions depend on."""
        for event in (committed.event for committed in batch):
            if event.entity_type in FACT_KINDS or event.event_type in FACT_EVENTS:
                place = event.workspace_id, f"{event.stream_type}/{event.stream_id}"
                self._moved[place] = event.stream_seq, self._clock.monotonic()

    async def decide(self, request: Request, asked_zone: Zone | None) -> Gated:
        """The decision on a wish, on facts at least as new as this call.

        Args:
            asked_zone: the zone that the caller named.
        """
        started = self._clock.monotonic()
        request = replace(request, zone=asked_zone or "supervised")
        wish = _Wish(request, _told(request, asked_zone), asyncio.get_running_loop().create_future())
        if not self._waiting:  # whoever asks in this same turn of the loop comes along
            asyncio.get_running_loop().call_soon(self._send)
        self._waiting.append(wish)
        decision, basis, rests_on, about = await wish.decided
        took = self._clock.monotonic() - started
        SECONDS.observe(took)
        request = replace(request, zone=decision.zone)
        return Gated(
            request, decision, self._mode, rests_on, basis=basis, assessment=about, latency_us=round(took * 1e6)
        )

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, []
        while waiting:
            size = count = 0
            while count < len(waiting) and (not count or size + len(waiting[count].told) <= MAX_BYTES):
                size += len(waiting[count].told)
                count += 1
            task = asyncio.create_task(self._ask(waiting[:count]))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)
            del waiting[:count]

    async def _ask(self, wishes: Sequence[_Wish]) -> None:
        answers: Sequence[_Decided]
        try:
            answers = await self._answered(wishes)
        except _AWAY as error:
            log.warning("policy_unavailable", wishes=len(wishes), error=f"{type(error).__name__}: {error}")
            UNANSWERED.inc(len(wishes))
            answers = [_Decided(unavailable(wish.request)) for wish in wishes]
        for wish, decided in zip(wishes, answers, strict=True):
            if not wish.decided.done():
                wish.decided.set_result(decided)

    async def _answered(self, wishes: Sequence[_Wish]) -> list[_Decided]:
        if not self._client.is_connected:
            raise nats.errors.ConnectionClosedError
        positions = orjson.dumps(self._positions({wish.request.workspace_id for wish in wishes}))
        question = b'{"requests":[%b],"positions":%b}' % (b",".join(wish.told for wish in wishes), positions)
        reply = await self._client.request(subjects.POLICY_EVALUATE, question, timeout=ANSWER_S)
        told = orjson.loads(reply.data)["decisions"]
        answers = [_Decided(decision_of(one), one["basis"], tuple(one["rests_on"]), one["assessment"]) for one in told]
        if [answer.decision.action_digest for answer in answers] != [wish.request.digest for wish in wishes]:
            raise ValueError("the answer is to another question")
        return answers

    def _positions(self, workspaces: set[str]) -> dict[str, dict[str, int]]:
        """Streams of these workspaces that moved lately, and how far; the others are forgotten."""
        since = self._clock.monotonic() - NAMED_S
        self._moved = {place: moved for place, moved in self._moved.items() if moved[1] > since}
        named: dict[str, dict[str, int]] = {}
        for (workspace_id, stream), (seq, _) in self._moved.items():
            if workspace_id in workspaces:
                named.setdefault(workspace_id, {})[stream] = seq
        return named


def _told(request: Request, asked_zone: Zone | None) -> bytes:
    told: dict[str, Any] = request_told(request, asked_zone)
    if len(orjson.dumps(told["context"])) > MAX_CONTEXT_BYTES:
        told["context"] = {}
    return orjson.dumps(told)
