"""Decisions that the gateway asks for itself, and those of them that it keeps.

Kept is what is allowed by nothing but rules and policies: an approval is asked for again each time, and so is whatever
was refused. A decision that is kept holds as long as its epoch (``control_watch.py``) does, and until what it rests on
ends. Without an answer of the policy service it is a denial.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, NamedTuple, Protocol

import structlog

from agentos_gateway.control_watch import Epoch
from agentos_shared.contracts import subjects
from agentos_shared.domain.capabilities import moment
from agentos_shared.domain.envelope import Actor, Zone
from agentos_shared.domain.policy.decision import Decision
from agentos_shared.domain.policy.evaluate import unavailable
from agentos_shared.domain.policy.facts import Request
from agentos_shared.domain.policy.wire import decision_of, request_told
from agentos_shared.host import metrics
from agentos_shared.host.lifecycle import Clock

log = structlog.get_logger("agentos.gateway")

KEPT: Final = metrics.counter("gateway_decisions_kept", "Decisions that were at hand.")
ASKED: Final = metrics.counter("gateway_decisions_asked", "Decisions that the policy service was asked for.")
ANSWER_S: Final = 2.0
MAX_KEPT: Final = 10_000
#: Seconds after which a decision is asked for again in any case.
MAX_AGE_S: Final = 10.0

Ask = Callable[[str, Mapping[str, Any], float], Awaitable[Mapping[str, Any]]]


class Epochs(Protocol):
    """Tells epochs; see :class:`agentos_gateway.control_watch.ControlWatch`."""

    def epoch(self, workspace_id: str) -> Epoch | None:
        """The epoch of a workspace, if it is known."""


class _Key(NamedTuple):
    """All that a decision depends on besides what an epoch stands for."""

    workspace_id: str
    actor: Actor
    principal_id: str | None
    capability_token_id: str | None
    capability_scopes: str
    action: str
    resource: str | None
    asked_zone: Zone | None
    room_id: str | None
    run_id: str | None
    method: str | None
    host: str | None
    port: int | None
    path: str | None


class _Kept(NamedTuple):
    decision: Decision
    epoch: Epoch
    until: float
    ends: datetime | None


class Decisions:
    """Decides by asking, and remembers.

    Args:
        ask: a question to another service: subject, question, seconds.
    """

    def __init__(self, ask: Ask, epochs: Epochs, clock: Clock) -> None:
        self._ask = ask
        self._epochs = epochs
        self._clock = clock
        self._kept: OrderedDict[_Key, _Kept] = OrderedDict()

    async def decide(self, request: Request, asked_zone: Zone | None = None) -> Decision:
        """The decision on a request that leaves the machine.

        Args:
            asked_zone: the zone that the caller named.
        """
        key = _key(request, asked_zone)
        epoch = self._epochs.epoch(request.workspace_id)
        kept = self._at_hand(key, epoch)
        if kept is not None:
            KEPT.inc()
            return replace(kept, action_digest=request.digest)
        ASKED.inc()
        decision = await self._asked(request, asked_zone)
        if epoch is not None and decision.allowed and decision.approval_id is None:
            ends = None if decision.valid_until is None else moment(decision.valid_until)
            self._kept[key] = _Kept(decision, epoch, self._clock.monotonic() + MAX_AGE_S, ends)
            self._kept.move_to_end(key)
            if len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
        return decision

    def _at_hand(self, key: _Key, epoch: Epoch | None) -> Decision | None:
        kept = self._kept.get(key)
        if kept is None:
            return None
        ended = kept.ends is not None and kept.ends <= self._clock.now()
        if kept.epoch != epoch or ended or kept.until <= self._clock.monotonic():
            del self._kept[key]
            return None
        self._kept.move_to_end(key)
        return kept.decision

    async def _asked(self, request: Request, asked_zone: Zone | None) -> Decision:
        question = {"requests": [request_told(request, asked_zone)], "positions": {}}
        try:
            answer = await self._ask(subjects.POLICY_EVALUATE, question, ANSWER_S)
            (told,) = answer["decisions"]
            decision = decision_of(told)
            if decision.action_digest != request.digest:
                raise ValueError("the answer is to another question")
        except asyncio.CancelledError:
            raise
        except Exception as error:
            log.warning("policy_unavailable", error=f"{type(error).__name__}: {error}")
            return unavailable(request)
        return decision


async def policies_in_force(ask: Ask) -> str:
    """The hash of the policies that the policy service has in force. Raises what ``ask`` does; KeyError."""
    answer = await ask(subjects.POLICY_EVALUATE, {"requests": [], "positions": {}}, ANSWER_S / 2)
    found: str = answer["policy_bundle_hash"]
    return found


def _key(request: Request, asked_zone: Zone | None) -> _Key:
    return _Key(
        request.workspace_id,
        request.actor,
        request.principal_id,
        request.capability_token_id,
        repr(request.capability_scopes),
        request.action,
        request.resource,
        asked_zone,
        request.room_id,
        request.run_id,
        request.egress_method,
        request.egress_host,
        request.egress_port,
        request.egress_path,
    )
