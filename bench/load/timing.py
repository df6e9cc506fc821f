"""Latencies as figures."""

from collections.abc import Sequence


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """``p50_ms``, ``p99_ms`` and ``max_ms`` of latencies in seconds."""
    ordered = sorted(seconds)
    if not ordered:
        return {"p50_ms": 0.0, "p99_ms": 0.0, "max_ms": 0.0}
    last = len(ordered) - 1
    return {
        "p50_ms": ordered[last // 2] * 1000,
        "p99_ms": ordered[min(last, int(len(ordered) * 0.99))] * 1000,
        "max_ms": ordered[last] * 1000,
    }
