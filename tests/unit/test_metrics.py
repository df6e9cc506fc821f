"""Metrics: what Prometheus reads, and the same by OTLP."""

import itertools
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.sdk.metrics.export import MetricExportResult
from opentelemetry.sdk.resources import Resource

from agentos_shared.host import metrics, metrics_export

_names = (f"test_{number}" for number in itertools.count())


@pytest.fixture
def name() -> str:
    return next(_names)


def text_of(name: str) -> list[str]:
    return [line for line in metrics.render().decode().splitlines() if line.startswith(f"agentos_{name}")]


def test_prometheus_reads_them(name: str) -> None:
    metrics.counter(name, "Things.", ["kind"]).labels("a").inc(3)
    metrics.gauge_of(name + "_depth", "Depth.", lambda: 7)
    metrics.histogram(name + "_seconds", "Time.", buckets=(0.1, 1)).observe(0.5)
    assert text_of(name) == [
        f'agentos_{name}_total{{kind="a"}} 3.0',
        f"agentos_{name}_depth 7.0",
        f'agentos_{name}_seconds_bucket{{le="0.1"}} 0.0',
        f'agentos_{name}_seconds_bucket{{le="1.0"}} 1.0',
        f'agentos_{name}_seconds_bucket{{le="+Inf"}} 1.0',
        f"agentos_{name}_seconds_count 1.0",
        f"agentos_{name}_seconds_sum 0.5",
    ]
    assert b"process_resident_memory_bytes" in metrics.render()
    assert metrics.CONTENT_TYPE.startswith("text/plain")


def test_buckets_grow() -> None:
    for buckets in (metrics.LATENCY_BUCKETS, metrics.BATCH_BUCKETS, metrics.SIZE_BUCKETS):
        assert list(buckets) == sorted(set(buckets))


class FakeExporter:
    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.fails = False

    def export(self, data: Any) -> MetricExportResult:
        self.sent.append(data)
        if self.fails:
            raise OSError("no collector")
        return MetricExportResult.SUCCESS

    def shutdown(self) -> None:
        self.sent.append("shutdown")


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> FakeExporter:
    made = FakeExporter()
    monkeypatch.setattr(metrics_export, "OTLPMetricExporter", lambda: made)
    return made


def test_a_collector_gets_the_same(name: str, exporter: FakeExporter) -> None:
    metrics.counter(name, "Things.", ["kind"]).labels("a").inc(3)
    metrics.gauge(name + "_depth", "Depth.").set(7)
    seconds = metrics.histogram(name + "_seconds", "Time.", ["route"], buckets=(0.1, 1))
    for value in (0.05, 0.5, 0.6, 5):
        seconds.labels("x").observe(value)
    seconds.labels("y").observe(0.01)

    metrics_export.MetricsExport(Resource({"service.name": "api"}), 3600).stop()

    data, end = exporter.sent
    assert end == "shutdown"
    (sent,) = encode_metrics(data).resource_metrics[0].scope_metrics
    found = {metric.name: metric for metric in sent.metrics}
    counter = found[f"agentos_{name}"].sum
    assert (counter.is_monotonic, counter.data_points[0].as_double) == (True, 3)
    assert counter.data_points[0].attributes[0].value.string_value == "a"
    assert found[f"agentos_{name}_depth"].gauge.data_points[0].as_double == 7
    x, y = found[f"agentos_{name}_seconds"].histogram.data_points
    assert (list(x.bucket_counts), list(x.explicit_bounds), x.count, x.sum) == ([1, 2, 1], [0.1, 1.0], 4, 6.15)
    assert (list(y.bucket_counts), y.count) == ([1, 0, 0], 1)
    assert not x.HasField("min")
    assert found["process_resident_memory_bytes"].gauge.data_points[0].as_double > 1e6
    assert data.resource_metrics[0].resource.attributes["service.name"] == "api"


def test_a_collector_that_is_gone_stops_nothing(exporter: FakeExporter) -> None:
    exporter.fails = True
    metrics_export.MetricsExport(Resource({}), 3600).stop()
    assert exporter.sent[-1] == "shutdown"
