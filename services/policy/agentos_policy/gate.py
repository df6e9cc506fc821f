"""The gate at work: takes questions as they come, learns once for all that wait, and decides each."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

import asyncpg
import structlog

from agentos_policy.book import Behind, Book, Positions
from agentos_shared.domain.envelope import Stream, Zone
from agentos_shared.domain.policy.assessment import assessment
from agentos_shared.domain.policy.basis import Basis
from agentos_shared.domain.policy.decision import Decision
from agentos_shared.domain.policy.evaluate import Policies, basis, settled, unavailable
from agentos_shared.domain.policy.facts import Request
from agentos_shared.domain.policy.wire import request_of
from agentos_shared.domain.runs import highest
from agentos_shared.host import metrics
from agentos_shared.host.lifecycle import Clock

log = structlog.get_logger("agentos.policy")

DECISIONS: Final = metrics.counter("policy_decisions", "Decisions of the gate.", ("decision", "reason_code"))
SECONDS: Final = metrics.histogram("policy_decide_seconds", "From a question's arrival to its answer.")
#: Requests that are decided on one reading of the store.
MOST: Final = 256
_AWAY: Final = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, Behind)


class _Decided(NamedTuple):
    """A decision, and what is told with it: what it was made on and what else is known, where that is."""

    decision: Decision
    basis: Basis | None = None
    rests_on: tuple[str, ...] = ()
    assessment: Mapping[str, Any] | None = None


class _Question:
    __slots__ = ("answered", "arrived_at", "asked", "positions")

    def __init__(self, asked: Sequence[tuple[Request, Zone | None]], positions: Positions, arrived_at: float) -> None:
        self.asked = asked
        self.positions = positions
        self.arrived_at = arrived_at
        self.answered: asyncio.Future[list[_Decided]] = asyncio.get_running_loop().create_future()


class Gate:
    """Decides.

    Args:
        policies: tells those in force.
    """

    def __init__(self, book: Book, clock: Clock, policies: Callable[[], Policies]) -> None:
        self._book = book
        self._clock = clock
        self._policies = policies
        self._waiting: list[_Question] = []
        self._arrived = asyncio.Event()

    async def answer(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        """``{"requests": [...], "positions": {workspace: {"room/<id>": seq}}}`` -> ``{"decisions": [...]}``, each with
        its basis, and the hash of the policies in force.
        """
        asked = [request_of(told) for told in question["requests"]]
        positions = {
            workspace_id: {Stream(*stream.split("/", 1)): seq for stream, seq in streams.items()}
            for workspace_id, streams in question["positions"].items()
        }
        waiting = _Question(asked, positions, self._clock.monotonic())
        self._waiting.append(waiting)
        self._arrived.set()
        decided = await waiting.answered
        return {"decisions": [_told(one) for one in decided], "policy_bundle_hash": self._policies().hash}

    async def decide_forever(self) -> None:
        """Answer what waits, again and again."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                batch = _fitting(self._waiting)
                del self._waiting[: len(batch)]
                await self._decide(batch)

    async def _decide(self, batch: Sequence[_Question]) -> None:
        requests = [request for question in batch for request, _ in question.asked]
        try:
            await self._book.refresh(requests, _joined(batch))
            self._decide_each(batch)
        except Exception as error:
            say = log.warning if isinstance(error, _AWAY) else log.exception
            say("not_decided", error=f"{type(error).__name__}: {error}", questions=len(batch))
            for question in batch:
                if not question.answered.done():
                    self._tell(question, [_Decided(unavailable(request)) for request, _ in question.asked])

    def _decide_each(self, batch: Sequence[_Question]) -> None:
        now, policies = self._clock.now(), self._policies()
        for question in batch:
            decided: list[_Decided] = []
            for request, asked in question.asked:
                placed = replace(request, zone=self._zone(request, asked))
                facts = self._book.facts(placed, now)
                known = basis(placed, facts)
                decision = settled(placed, known, policies.hash, policies.judge(placed, facts))
                about = assessment(placed, facts, decision)
                decided.append(_Decided(decision, known, facts.rests_on, about))
            self._tell(question, decided)

    def _zone(self, request: Request, asked: Zone | None) -> Zone:
        """The highest of the room's, the run's and the one asked for; ``supervised`` when there is none."""
        found = (self._book.zone(request.room_id), self._book.zone(request.run_id), asked)
        return highest(*found) if any(found) else "supervised"

    def _tell(self, question: _Question, decided: list[_Decided]) -> None:
        for one in decided:
            DECISIONS.labels(one.decision.decision, one.decision.reason_code).inc()
        SECONDS.observe(self._clock.monotonic() - question.arrived_at)
        if not question.answered.done():
            question.answered.set_result(decided)


def _told(decided: _Decided) -> dict[str, Any]:
    return {
        **decided.decision.told(),
        "basis": None if decided.basis is None else decided.basis.told(),
        "rests_on": decided.rests_on,
        "assessment": decided.assessment,
    }


def _fitting(waiting: Sequence[_Question]) -> list[_Question]:
    taken: list[_Question] = []
    requests = 0
    for question in waiting:
        requests += len(question.asked)
        if taken and requests > MOST:
            break
        taken.append(question)
    return taken


def _joined(batch: Sequence[_Question]) -> dict[str, dict[Stream, int]]:
    """The furthest position of each stream that any of the questions names."""
    joined: dict[str, dict[Stream, int]] = {}
    for question in batch:
        for workspace_id, streams in question.positions.items():
            held = joined.setdefault(workspace_id, {})
            for stream, seq in streams.items():
                held[stream] = max(seq, held.get(stream, 0))
    return joined
