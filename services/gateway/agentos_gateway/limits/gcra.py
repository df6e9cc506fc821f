"""The generic cell rate algorithm: one time per limit, at which all that was taken of it has come back.

Taking one moves it by the time that one takes to come back, but never further from now than a full burst takes. So
over any span of time at most ``burst + span / each`` are taken. A clock that is set back only makes it stricter: the
time that is kept does not go back with it.
"""

from datetime import datetime, timedelta
from typing import NamedTuple


class Limit(NamedTuple):
    """A limit.

    Args:
        each: time in which one comes back. burst: how many at once.
    """

    each: timedelta
    burst: int

    @property
    def span(self) -> timedelta:
        """Time in which a full burst comes back."""
        return self.each * self.burst


class Taken(NamedTuple):
    """What became of an attempt to take one.

    Args:
        tat: the time to keep. wait: for how long to wait until one can be taken; zero when it was.
    """

    tat: datetime
    wait: timedelta

    @property
    def allowed(self) -> bool:
        """Whether it was taken."""
        return self.wait <= timedelta(0)


def limit_of(requests: int, per_s: int, burst: int) -> Limit:
    """So many requests in so many seconds. A microsecond is the smallest time here, so it is rounded to the strict
    side: 1,000,000 in a second are the most.
    """
    microseconds = -(-per_s * 1_000_000 // requests)
    return Limit(timedelta(microseconds=microseconds), burst)


def take(tat: datetime | None, now: datetime, limit: Limit) -> Taken:
    """Take one. What the statement ``take`` of ``limits.sql`` does in the database, where it counts.

    Args:
        tat: as it is kept; None: nothing was taken lately.
    """
    moved = (now if tat is None else max(tat, now)) + limit.each
    wait = moved - now - limit.span
    return Taken(moved, timedelta(0)) if wait <= timedelta(0) else Taken(tat or now, wait)
