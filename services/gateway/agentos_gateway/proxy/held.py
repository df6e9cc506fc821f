"""What is open, and whether it may stay so: a tunnel and a long answer outlive the decision that let them out.

Whenever an epoch ends (``control_watch.py``) the gate is asked again about all that is open in that workspace; a denial
ends it at once. An approval that was used for it is used up, so that it needs one no more.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from agentos_gateway.control_watch import Epoch
from agentos_gateway.decisions import Decisions, Epochs
from agentos_shared.domain.envelope import Zone
from agentos_shared.domain.policy.facts import Request
from agentos_shared.domain.policy.reasons import REASONS
from agentos_shared.host.lifecycle import Clock

LOOK_S: Final = 0.02
#: How often the gate is asked while no epoch is known.
BLIND_S: Final = 1.0
#: How long what is open outlives the last answer of the gate.
UNHEARD_S: Final = 10.0
AT_ONCE: Final = 64


class Held:
    """Something that is open.

    Args:
        by_approval: it was allowed by an approval, which allowed just this.
        cut: ends it; called with the reason code.
    """

    __slots__ = ("allowed_at", "asked_at", "asked_zone", "by_approval", "cut", "epoch", "wish")

    def __init__(
        self, wish: Request, asked_zone: Zone | None, by_approval: bool, cut: Callable[[str], None], now: float
    ) -> None:
        self.wish = wish
        self.asked_zone = asked_zone
        self.by_approval = by_approval
        self.cut = cut
        self.epoch: Epoch | None = None
        self.allowed_at = self.asked_at = now


class HeldOpen:
    """All of it in this process."""

    def __init__(self, decisions: Decisions, epochs: Epochs, clock: Clock) -> None:
        self._decisions = decisions
        self._epochs = epochs
        self._clock = clock
        self._held: set[Held] = set()
        self._some = asyncio.Event()

    @contextmanager
    def hold(
        self, wish: Request, asked_zone: Zone | None, *, by_approval: bool, cut: Callable[[str], None]
    ) -> Iterator[None]:
        """For as long as the block runs it may be cut."""
        held = Held(wish, asked_zone, by_approval, cut, self._clock.monotonic())
        self._held.add(held)
        self._some.set()
        try:
            yield
        finally:
            self._held.discard(held)
            if not self._held:
                self._some.clear()

    def cut_all(self, reason_code: str) -> None:
        """Ends everything."""
        for held in tuple(self._held):
            held.cut(reason_code)

    async def watch_forever(self) -> None:
        """Ask again what there is to ask, for ever."""
        while True:
            await self._some.wait()
            due = [held for held in self._held if self._is_due(held)]
            for start in range(0, len(due), AT_ONCE):
                await asyncio.gather(*(self._ask(held) for held in due[start : start + AT_ONCE]))
            await self._clock.sleep(LOOK_S)

    def _is_due(self, held: Held) -> bool:
        epoch = self._epochs.epoch(held.wish.workspace_id)
        if epoch is None:
            return self._clock.monotonic() - held.asked_at >= BLIND_S
        return epoch != held.epoch

    async def _ask(self, held: Held) -> None:
        epoch = self._epochs.epoch(held.wish.workspace_id)
        held.asked_at = now = self._clock.monotonic()
        decision = await self._decisions.decide(held.wish, held.asked_zone)
        if decision.allowed or (decision.decision == "require_approval" and held.by_approval):
            held.epoch, held.allowed_at = epoch, now
        elif not REASONS[decision.reason_code].retryable or now - held.allowed_at > UNHEARD_S:
            held.cut(decision.reason_code)
