"""When to try again: exponential back-off with jitter, within a patience; what the server asks for is honoured."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Retry:
    """How long a request is tried again when the API is away or busy.

    Args:
        patience_s: from the first failure on; 0 never tries again.
        first_s: mean of the first pause; each next one is twice as long.
        longest_s: bound of a pause that the server did not ask for.
    """

    patience_s: float = 30.0
    first_s: float = 0.1
    longest_s: float = 5.0

    def pauses(
        self, monotonic: Callable[[], float] = time.monotonic, chance: Callable[[], float] = random.random
    ) -> "Pauses":
        """The pauses of one request."""
        return Pauses(self, monotonic, chance)


class Pauses:
    """The pauses of one request, counted from its first failure."""

    def __init__(self, retry: Retry, monotonic: Callable[[], float], chance: Callable[[], float]) -> None:
        self._retry = retry
        self._monotonic = monotonic
        self._chance = chance
        self._until: float | None = None
        self._pause = retry.first_s

    def next_s(self, retry_after_s: float | None = None) -> float | None:
        """Seconds to wait before the next try; None when patience ends before that.

        Args:
            retry_after_s: what the server asked for. It is a lower bound, so that clients which were all refused at
                once do not come back all at once.
        """
        now = self._monotonic()
        if self._until is None:
            self._until = now + self._retry.patience_s
        pause = self._pause * (0.5 + self._chance())
        self._pause = min(self._pause * 2, self._retry.longest_s)
        if retry_after_s is not None:
            pause += retry_after_s
        return pause if now + pause <= self._until else None
