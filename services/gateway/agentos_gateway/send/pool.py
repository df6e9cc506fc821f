"""Connections that are kept for the next request to the same origin at the same address."""

from collections.abc import Callable
from dataclasses import dataclass

from agentos_gateway.address import Pinned
from agentos_gateway.send.link import Link
from agentos_shared.host.lifecycle import Clock


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many connections there may be, and how long an idle one is kept.

    Attributes:
        young_s: how long a connection may have been idle to be taken for a request that must not be sent twice: servers
            close idle connections after five seconds and more, and one that closes while we write leaves it open
            whether the request was seen.
    """

    open: int = 1024
    idle: int = 512
    idle_per_origin: int = 64
    idle_s: float = 15.0
    young_s: float = 2.0


class Pool:
    """All connections, busy and idle. Origin and address are the key: a kept connection serves a request only if its
    address is one of those that were judged for this very request."""

    def __init__(self, bounds: Bounds, clock: Clock) -> None:
        self._bounds = bounds
        self._clock = clock
        self._links: set[Link] = set()
        self._idle: dict[tuple[str, str], list[Link]] = {}
        self._idle_count = 0
        self._opening = 0

    def __len__(self) -> int:
        return len(self._links)

    @property
    def idle(self) -> int:
        """How many wait for a request."""
        return self._idle_count

    def take(self, pinned: Pinned, *, repeatable: bool) -> Link | None:
        """The freshest kept connection to one of the addresses; it is the caller's until it is released."""
        for address in pinned.addresses:
            waiting = self._idle.get((pinned.target.origin, address))
            if not waiting:
                continue
            link = waiting[-1]
            self._expire(waiting)
            age = self._clock.monotonic() - link.idle_since
            if waiting and link.alive and (repeatable or age <= self._bounds.young_s):
                waiting.pop()
                self._idle_count -= 1
                self._tidy(link, waiting)
                return link
        return None

    def room(self) -> bool:
        """Whether one more may be opened."""
        return len(self._links) + self._opening < self._bounds.open

    def opening(self, change: int) -> None:
        """Counts connections that are being made."""
        self._opening += change

    def add(self, link: Link) -> None:
        self._links.add(link)

    def release(self, link: Link) -> None:
        """Keeps a connection for the next request, or ends it where enough are kept."""
        key = (link.origin, link.address)
        waiting = self._idle.setdefault(key, [])
        self._expire(waiting)
        if len(waiting) >= self._bounds.idle_per_origin or self._idle_count >= self._bounds.idle:
            self._tidy(link, waiting)
            link.abort()
            return
        link.idle_since = self._clock.monotonic()
        waiting.append(link)
        self._idle_count += 1

    def lost(self, link: Link) -> None:
        """The connection is gone, or is another's."""
        self._links.discard(link)
        waiting = self._idle.get((link.origin, link.address))
        if waiting and link in waiting:
            waiting.remove(link)
            self._idle_count -= 1
            self._tidy(link, waiting)

    def end(self, chosen: Callable[[Link], bool]) -> int:
        """Ends connections, busy ones too, and says how many."""
        found = [link for link in self._links if chosen(link)]
        for link in found:
            link.abort()
        return len(found)

    def sweep(self) -> None:
        """Ends what has been idle for too long."""
        for waiting in list(self._idle.values()):
            self._expire(waiting)
        self._idle = {key: waiting for key, waiting in self._idle.items() if waiting}

    def _expire(self, waiting: list[Link]) -> None:
        """The oldest are at the front."""
        before = self._clock.monotonic() - self._bounds.idle_s
        while waiting and waiting[0].idle_since <= before:
            link = waiting.pop(0)
            self._idle_count -= 1
            link.abort()

    def _tidy(self, link: Link, waiting: list[Link]) -> None:
        if not waiting:
            self._idle.pop((link.origin, link.address), None)
