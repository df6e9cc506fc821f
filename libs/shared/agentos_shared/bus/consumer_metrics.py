"""What a consumer measures, labelled with its name."""

from collections.abc import Sequence
from functools import cache
from typing import Final

from agentos_shared.contracts.positions import Range
from agentos_shared.host import metrics

_HINTS: Final = metrics.counter(
    "consumer_hints",
    "Messages received, each a hint that a stream moved.",
    ["consumer"],
)
_EVENTS: Final = metrics.counter("consumer_events", "Events applied.", ["consumer"])
_BATCH: Final = metrics.histogram(
    "consumer_batch_events",
    "Events in one transaction.",
    ["consumer"],
    buckets=metrics.BATCH_BUCKETS,
)
_SECONDS: Final = metrics.histogram("consumer_apply_seconds", "One transaction, from begin to commit.", ["consumer"])
_LAG_EVENTS: Final = metrics.gauge(
    "consumer_lag_events",
    "Events in the store that were not applied, at the last comparison.",
    ["consumer"],
)
_LAG_SECONDS: Final = metrics.gauge(
    "consumer_lag_seconds",
    "Age of the oldest event that was not applied, at the last comparison.",
    ["consumer"],
)
_PARKED: Final = metrics.gauge(
    "consumer_parked_streams",
    "Streams stopped at an event that cannot be applied.",
    ["consumer"],
)
_POISON: Final = metrics.counter("consumer_poison", "Events that could not be applied.", ["consumer"])
_RETRIES: Final = metrics.counter("consumer_retries", "Tries that failed for a reason that passes.", ["consumer"])


class ConsumerMetrics:
    """The metrics of one consumer."""

    def __init__(self, consumer: str) -> None:
        self.hints = _HINTS.labels(consumer)
        self.parked = _PARKED.labels(consumer)
        self.poison = _POISON.labels(consumer)
        self.retries = _RETRIES.labels(consumer)
        self._events = _EVENTS.labels(consumer)
        self._batch = _BATCH.labels(consumer)
        self._seconds = _SECONDS.labels(consumer)
        self._lag_events = _LAG_EVENTS.labels(consumer)
        self._lag_seconds = _LAG_SECONDS.labels(consumer)

    def batch(self, done: Sequence[Range], seconds: float) -> None:
        """A transaction was committed."""
        events = sum(r.events for r in done)
        self._events.inc(events)
        self._batch.observe(events)
        self._seconds.observe(seconds)

    def lag(self, events: int, seconds: float) -> None:
        """Heads were compared with checkpoints."""
        self._lag_events.set(events)
        self._lag_seconds.set(seconds)


@cache
def of(consumer: str) -> ConsumerMetrics:
    """The metrics of a consumer, one object per name."""
    return ConsumerMetrics(consumer)
