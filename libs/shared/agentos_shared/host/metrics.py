"""Metrics for Prometheus: one registry a process, names ``agentos_*``, shared buckets.

Declare a metric once, at module level, and hold its labelled child where the path is hot::

    APPEND_SECONDS = metrics.histogram("append_seconds", "From submit to commit.")
    APPEND_SECONDS.observe(elapsed_s)

``/metrics`` is ``render()``.
"""

from collections.abc import Callable, Sequence
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

PREFIX: Final = "agentos_"
CONTENT_TYPE: Final = CONTENT_TYPE_LATEST

#: Seconds, 0.25 ms to 10 s: fine where a healthy system lives, coarse where it is only slow.
LATENCY_BUCKETS: Final = (
    0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
#: Items in a batch: powers of two.
BATCH_BUCKETS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
#: Bytes, 256 B to 1 MiB.
SIZE_BUCKETS: Final = (256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576)

disable_created_metrics()  # type: ignore[no-untyped-call]  # they double the text and say what process_start_time_seconds says
REGISTRY: Final = CollectorRegistry(auto_describe=True)
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)


def counter(name: str, about: str, labels: Sequence[str] = ()) -> Counter:
    """``agentos_<name>_total``: only grows."""
    return Counter(PREFIX + name, about, labels, registry=REGISTRY)


def gauge(name: str, about: str, labels: Sequence[str] = ()) -> Gauge:
    """``agentos_<name>``: goes up and down."""
    return Gauge(PREFIX + name, about, labels, registry=REGISTRY)


def gauge_of(name: str, about: str, read: Callable[[], float]) -> Gauge:
    """``agentos_<name>``, read when scraped, maybe from another thread; ``read`` must not block."""
    made = gauge(name, about)
    made.set_function(read)
    return made


def histogram(
    name: str, about: str, labels: Sequence[str] = (), buckets: Sequence[float] = LATENCY_BUCKETS
) -> Histogram:
    """``agentos_<name>``: a distribution. Names of durations end in ``_seconds``."""
    return Histogram(PREFIX + name, about, labels, registry=REGISTRY, buckets=buckets)


def render() -> bytes:
    """The Prometheus text of all metrics, served as :data:`CONTENT_TYPE`."""
    return generate_latest(REGISTRY)
