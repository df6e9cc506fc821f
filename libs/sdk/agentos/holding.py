"""A lease as its holder sees it: kept by heartbeats, or lost; once lost, nothing is written any more."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from agentos.errors import APIError, LeaseLost
from agentos.models import ClaimedRun

#: Answers which say that the run is not ours, or over.
LOST: Final = frozenset(
    {"lease_token_mismatch", "lease_expired", "run_not_running", "run_already_ended", "run_not_found"}
)


class Holding:
    """The lease of one run. May be asked from any thread.

    The server refuses whatever comes under a lease that is lost; asking here first spares the request, and stops a
    handler at its next write.

    Args:
        on_lost: called once, in the thread that finds out.

    Attributes:
        heartbeats: how many were heard.
    """

    def __init__(
        self,
        run: ClaimedRun,
        on_lost: Callable[[], None] = lambda: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.run = run
        self.on_lost = on_lost
        self.heartbeats = 0
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._lost: str | None = None
        self._until = monotonic() + run.lease_ttl_s

    @property
    def lost(self) -> str | None:
        """Why it is lost, or None while it is held."""
        return self._lost

    @property
    def remaining_s(self) -> float:
        """Until it ends, unless it is extended."""
        return self._until - self._monotonic()

    def extended(self, asked_at: float) -> None:
        """A heartbeat that was sent at ``asked_at`` was heard."""
        self.heartbeats += 1
        self._until = asked_at + self.run.lease_ttl_s

    def lose(self, code: str) -> None:
        """From now on nothing is written."""
        with self._lock:
            if self._lost is not None:
                return
            self._lost = code
        self.on_lost()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Around a write under the lease.

        Raises:
            LeaseLost: it was lost before, or the API says so now.
        """
        if self._lost is not None:
            raise LeaseLost(self.run.run_id, self._lost)
        try:
            yield
        except APIError as refusal:
            if refusal.code not in LOST:
                raise
            self.lose(refusal.code)
            raise LeaseLost(self.run.run_id, refusal.code) from refusal
