"""Reads that wait for the projector, for a bounded time, and only when what they ask for is not there yet.

The projector says on core NATS that it committed something (:data:`subjects.PING_PROJECTED`, no content). One
subscription of the process wakes every waiting request, and each looks again with its own query. A ping may get lost,
or NATS may be down: then a slow poll looks instead. Who begins to wait says so (:data:`subjects.PING_WANTED`), since a
busy projector lets work gather. A reader that finds its rows at the first look never waits.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from agentos_shared.contracts import subjects
from agentos_shared.domain.errors import TryLater
from agentos_shared.host.lifecycle import RNG, Rng

Found = TypeVar("Found")

BOUND_S: Final = 2.0
POLL_S: Final = 0.1
MAX_WAITING: Final = 1000


class Projected:
    """Wake-ups for the requests of this process that wait for the projector.

    Args:
        bound_s: seconds after which a waiting request is answered with 503.
        poll_s: seconds between looks when no wake-up comes.
        max_waiting: requests that may wait at once; one more is answered with 503 straight away.
        rng: spreads the polls.
    """

    def __init__(
        self,
        bound_s: float = BOUND_S,
        poll_s: float = POLL_S,
        max_waiting: int = MAX_WAITING,
        rng: Rng = RNG,
    ) -> None:
        self._bound_s = bound_s
        self._poll_s = poll_s
        self._max_waiting = max_waiting
        self._rng = rng
        self._waiting: set[asyncio.Event] = set()
        self._client: Client | None = None

    async def subscribe(self, client: Client) -> None:
        """Listen to the projector. The client re-subscribes by itself after it lost its connection."""
        self._client = client

        async def on_ping(_: Msg) -> None:
            self.wake()

        await client.subscribe(subjects.PING_PROJECTED, cb=on_ping)

    def wake(self) -> None:
        """Let every waiting request look again."""
        for event in self._waiting:
            event.set()

    async def until(self, look: Callable[[], Awaitable[Found | None]]) -> Found:
        """What ``look`` finds; ``None`` from it means "not projected yet".

        Raises:
            TryLater: ``projection_behind`` when the projector is not there in time, or too many wait already.
        """
        found = await look()
        if found is not None:
            return found
        if len(self._waiting) >= self._max_waiting:
            raise _behind()
        woken = asyncio.Event()
        self._waiting.add(woken)
        try:
            async with asyncio.timeout(self._bound_s):
                await self._want()
                while True:
                    # Registered before this look, so a commit after it cannot go unnoticed.
                    woken.clear()
                    found = await look()
                    if found is not None:
                        return found
                    await self._sleep(woken)
        except TimeoutError:
            raise _behind() from None
        finally:
            self._waiting.discard(woken)

    async def _want(self) -> None:
        """Tell the projector that somebody waits. Without NATS it looks by itself, and so does the poll."""
        if self._client is not None and self._client.is_connected:
            with contextlib.suppress(NatsError):
                await self._client.publish(subjects.PING_WANTED)

    async def _sleep(self, woken: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(self._poll_s * (0.75 + self._rng.random() / 2)):
                await woken.wait()
        except TimeoutError:
            return


def _behind() -> TryLater:
    return TryLater(
        "projection_behind",
        "The read model has not caught up with this position yet; try again.",
    )
