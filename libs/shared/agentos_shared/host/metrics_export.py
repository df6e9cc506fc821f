"""The metrics of ``/metrics``, sent by OTLP over HTTP as well, where the standard variables ask for it.

One registry, two ways out: what Prometheus would scrape is translated as it stands (counters to cumulative sums,
histograms with their buckets, everything else to gauges), from a thread of its own. ``telemetry`` starts and stops it.
"""

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import structlog
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client import Metric as Family
from prometheus_client.samples import Sample

from agentos_shared.host import metrics

log = structlog.get_logger("agentos.telemetry")

DEFAULT_INTERVAL_S: Final = 60.0
_SCOPE: Final = InstrumentationScope("agentos")


class MetricsExport:
    """Sends all metrics every ``interval_s`` seconds, and once more at the end."""

    def __init__(self, resource: Resource, interval_s: float) -> None:
        self._resource = resource
        self._interval_s = interval_s
        self._since_ns = time.time_ns()
        self._exporter = OTLPMetricExporter()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics-export", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Send a last time, and end. Blocks as long as the collector takes: call it from a thread that may be left."""
        self._ended.set()
        self._thread.join()
        self._exporter.shutdown()

    def _run(self) -> None:
        while not self._ended.wait(self._interval_s):
            self._send()
        self._send()

    def _send(self) -> None:
        try:
            sent = self._exporter.export(self._data()) is MetricExportResult.SUCCESS
        except Exception:  # a gauge that reads what just went away, say; the next round may do better
            log.exception("metrics_not_exported")
            return
        if not sent:
            log.warning("metrics_not_exported")

    def _data(self) -> MetricsData:
        now = time.time_ns()
        translated = [
            metric for family in metrics.REGISTRY.collect() for metric in _translated(family, self._since_ns, now)
        ]
        scope = ScopeMetrics(_SCOPE, translated, "")
        return MetricsData([ResourceMetrics(self._resource, [scope], "")])


def _translated(family: Family, since_ns: int, now_ns: int) -> Iterator[Metric]:
    data: Gauge | Histogram | Sum
    if family.type == "histogram":
        points = list(_histograms(family.samples, since_ns, now_ns))
        data = Histogram(points, AggregationTemporality.CUMULATIVE)
    else:
        counts = family.type == "counter"
        suffix = "_total" if counts else ""
        numbers = [
            NumberDataPoint(sample.labels, since_ns, now_ns, sample.value)
            for sample in family.samples
            if sample.name == family.name + suffix or family.type not in ("counter", "gauge")
        ]
        data = Sum(numbers, AggregationTemporality.CUMULATIVE, is_monotonic=True) if counts else Gauge(numbers)
    yield Metric(family.name, family.documentation, family.unit, data)


def _histograms(samples: Iterable[Sample], since_ns: int, now_ns: int) -> Iterator[HistogramDataPoint]:
    """One point for each combination of labels: Prometheus counts up to each bound, OTLP between bounds."""
    found: dict[tuple[tuple[str, str], ...], dict[str, Any]] = {}
    for sample in samples:
        labels = tuple((name, value) for name, value in sample.labels.items() if name != "le")
        point = found.setdefault(labels, {"bounds": [], "upto": [], "sum": 0.0, "count": 0})
        if sample.name.endswith("_bucket"):
            point["bounds"].append(float(sample.labels["le"]))
            point["upto"].append(int(sample.value))
        elif sample.name.endswith("_sum"):
            point["sum"] = sample.value
        elif sample.name.endswith("_count"):
            point["count"] = int(sample.value)
    for labels, point in found.items():
        yield _point(dict(labels), point, since_ns, now_ns)


def _point(labels: Mapping[str, str], point: Mapping[str, Any], since_ns: int, now_ns: int) -> HistogramDataPoint:
    upto = point["upto"]
    return HistogramDataPoint(
        attributes=labels,
        start_time_unix_nano=since_ns,
        time_unix_nano=now_ns,
        count=point["count"],
        sum=point["sum"],
        bucket_counts=[high - low for low, high in zip([0, *upto], upto, strict=False)],
        explicit_bounds=point["bounds"][:-1],  # the last one is +Inf
        min=None,  # type: ignore[arg-type]  # not known, and optional on the wire
        max=None,  # type: ignore[arg-type]
    )
