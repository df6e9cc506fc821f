"""One trace follows an event from its request to the live room, through every process, to an OTLP collector.

The metrics go there too.
"""

import gzip
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

import httpx
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.fixtures.stack import Stack, wait_until

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
CHAIN = ["http.request", "append", "relay.publish", "projector.apply"]


@dataclass(frozen=True, slots=True)
class Exported:
    """One span, as the collector got it."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str


class Collector:
    """An OTLP/HTTP endpoint that keeps what it is sent."""

    def __init__(self) -> None:
        collector = self
        self.spans: list[Exported] = []
        self.metrics: set[tuple[str, str]] = set()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                if self.path == "/v1/traces":
                    collector.keep(ExportTraceServiceRequest.FromString(body))
                elif self.path == "/v1/metrics":
                    collector.keep_metrics(ExportMetricsServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def keep(self, request: ExportTraceServiceRequest) -> None:
        for resource in request.resource_spans:
            names = {attribute.key: attribute.value.string_value for attribute in resource.resource.attributes}
            self.spans += [
                Exported(
                    names["service.name"], span.name, span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()
                )
                for scope in resource.scope_spans
                for span in scope.spans
            ]

    def keep_metrics(self, request: ExportMetricsServiceRequest) -> None:
        for resource in request.resource_metrics:
            names = {attribute.key: attribute.value.string_value for attribute in resource.resource.attributes}
            self.metrics |= {
                (names["service.name"], metric.name) for scope in resource.scope_metrics for metric in scope.metrics
            }

    def of_trace(self, trace_id: str) -> dict[str, Exported]:
        return {span.name: span for span in list(self.spans) if span.trace_id == trace_id}


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    thread = threading.Thread(target=made.server.serve_forever, daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join(5)


@contextmanager
def watching(stack: Stack, room_id: str) -> Iterator[Iterator[str]]:
    """The live lines of a room, once its history is done."""
    with (
        httpx.Client(base_url=stack.url, timeout=20) as client,
        client.stream("GET", f"/v1/streams/rooms/{room_id}") as stream,
    ):
        lines = stream.iter_lines()
        next(line for line in lines if line == "event: caught_up")
        yield lines


def test_one_trace_from_the_request_to_the_live_room(collector: Collector, start_stack: Callable[..., Stack]) -> None:
    quick = {"OTEL_BSP_SCHEDULE_DELAY": "100", "OTEL_METRIC_EXPORT_INTERVAL": "500"}
    stack = start_stack(env={"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, **quick})
    with httpx.Client(base_url=stack.url, timeout=20) as client:
        room = client.post("/v1/rooms", json={"title": "Traced"}).raise_for_status().json()
        thread = client.post(f"/v1/rooms/{room['room_id']}/threads", json={"title": "T"}).raise_for_status().json()
        with watching(stack, room["room_id"]) as lines:
            answer = client.post(
                f"/v1/threads/{thread['thread_id']}/messages",
                json={"content_md": "hello"},
                headers={"traceparent": f"00-{TRACE}-{CALLER}-01"},
            ).raise_for_status()
            next(line for line in lines if line.startswith("data:") and "message.created" in line)

    assert answer.headers["traceparent"].startswith(f"00-{TRACE}-")
    wanted = {*CHAIN, "sse.write"}
    wait_until(lambda: wanted <= set(collector.of_trace(TRACE)), 20, lambda: str(collector.of_trace(TRACE)))
    spans = collector.of_trace(TRACE)
    assert spans["http.request"].parent_id == CALLER
    for before, after in pairwise(CHAIN):
        assert spans[after].parent_id == spans[before].span_id, f"{after} continues {before}"
    assert spans["sse.write"].parent_id in {span.span_id for span in spans.values()}
    assert {name: spans[name].service for name in ("http.request", "projector.apply")} == {
        "http.request": "api",
        "projector.apply": "projector",
    }
    metrics = {("api", "agentos_http_requests"), ("projector", "process_resident_memory_bytes")}
    wait_until(lambda: metrics <= collector.metrics, 20, lambda: str(collector.metrics))
