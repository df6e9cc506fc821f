"""Traces and OTLP: W3C trace context by hand, OpenTelemetry only when its standard ``OTEL_*`` variables ask for it.

One trace follows an event: HTTP request -> append -> relay publish -> projector apply -> SSE write. Each part opens a
span under the ``traceparent`` it was given and passes on the one it got::

    with span("relay.publish", row.traceparent, {"agentos.stream": stream}) as traceparent:
        headers["traceparent"] = traceparent

The same ``with`` serves sync and async code. While tracing is off, spans cost well under a microsecond, the SDK is not
imported, and a caller's ``traceparent`` passes through unchanged. ``tracestate`` is not carried.
"""

import os
import random
import re
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextvars import ContextVar, Token
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from agentos_shared.host.settings import otel_environment

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span as OtelSpan
    from opentelemetry.trace import Tracer

    from agentos_shared.host.metrics_export import MetricsExport

Attributes = Mapping[str, str | int | float | bool]
Kind = Literal["internal", "server", "client", "producer", "consumer"]

#: Version (not ff), trace id and span id (neither all zeros), flags; a later version may carry more after a dash.
_VALID: Final = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII | re.DOTALL
).fullmatch
_FLUSH_S: Final = 2.0

_current: ContextVar[str | None] = ContextVar("agentos_traceparent", default=None)
_random = random.Random()  # noqa: S311 - trace ids are no secrets


class TraceParent(NamedTuple):
    """The parts of a ``traceparent``: 32 and 16 lower-case hex characters, and the flags byte as two."""

    trace_id: str
    span_id: str
    flags: str

    @property
    def sampled(self) -> bool:
        return bool(int(self.flags, 16) & 1)

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


def parse(header: str | None) -> TraceParent | None:
    """The parts of a ``traceparent`` header, or None when it is absent or not valid (W3C Trace Context, 3.2)."""
    match = None if header is None else _VALID(header)
    if match is None or (match[1] == "00" and match[5] is not None):
        return None
    return TraceParent(match[2], match[3], match[4])


def fresh() -> str:
    """A new ``traceparent`` (sampled) that starts a trace."""
    bits = _random.getrandbits
    return f"00-{bits(128) or 1:032x}-{bits(64) or 1:016x}-01"


def continue_trace(header: str | None) -> str:
    """The caller's ``traceparent`` in version 00 where it is valid, else a fresh one."""
    if header is not None and len(header) == 55 and header.startswith("00-") and _VALID(header) is not None:
        return header
    parsed = parse(header)
    return fresh() if parsed is None else str(parsed)


def current() -> str | None:
    """The ``traceparent`` of the innermost open :func:`span` of this task, or None."""
    return _current.get()


class _Tracing:
    """What :func:`start` made; all None while telemetry is off."""

    def __init__(self) -> None:
        self.provider: TracerProvider | None = None
        self.tracer: Tracer | None = None
        self.metrics: MetricsExport | None = None


_tracing = _Tracing()


def enabled() -> bool:
    """True when spans are recorded."""
    return _tracing.tracer is not None


class Span:
    """One open piece of work. Made by :func:`open_span`; ended once by :meth:`close`, from any task or thread."""

    __slots__ = ("_otel", "traceparent")

    def __init__(self, traceparent: str, otel: "OtelSpan | None") -> None:
        self.traceparent: Final = traceparent
        self._otel = otel

    def set(self, attributes: Attributes) -> None:
        """Add attributes."""
        if self._otel is not None:
            self._otel.set_attributes(attributes)

    def close(self, error: BaseException | None = None, *, end_ns: int | None = None) -> None:
        """End the span, as failed when an error is given. ``end_ns`` is Unix time in nanoseconds, default now."""
        otel = self._otel
        if otel is None:
            return
        self._otel = None
        if error is not None:
            from opentelemetry.trace import Status, StatusCode

            otel.record_exception(error)
            otel.set_status(Status(StatusCode.ERROR, str(error)))
        otel.end(end_ns)


def open_span(
    name: str,
    traceparent: str | None = None,
    attributes: Attributes | None = None,
    *,
    kind: Kind = "internal",
    start_ns: int | None = None,
) -> Span:
    """Open a span by hand, where work does not nest (many publishes in flight, one batch of many requests).

    It does not become :func:`current`. A parent that is absent or malformed starts a new trace, unless a
    :func:`span` is open in this task, which then is the parent.

    Args:
        traceparent: the parent, W3C.
        start_ns: Unix time in nanoseconds, default now.
    """
    if traceparent is None:
        traceparent = _current.get()
    tracer = _tracing.tracer
    if tracer is None:
        return Span(continue_trace(traceparent), None)
    otel = _otel_span(tracer, name, traceparent, attributes, kind, start_ns)
    context = otel.get_span_context()
    flags = int(context.trace_flags) & 0xFF
    return Span(f"00-{context.trace_id:032x}-{context.span_id:016x}-{flags:02x}", otel)


class span:  # noqa: N801 - a context manager, used like a function
    """A piece of work as a context manager that yields its ``traceparent``; see :func:`open_span` for the arguments.

    An exception that passes through marks the span as failed.
    """

    __slots__ = ("_attributes", "_kind", "_name", "_parent", "_span", "_token")

    def __init__(
        self,
        name: str,
        traceparent: str | None = None,
        attributes: Attributes | None = None,
        *,
        kind: Kind = "internal",
    ) -> None:
        self._name = name
        self._parent = traceparent
        self._attributes = attributes
        self._kind: Kind = kind
        self._span: Span | None = None
        self._token: Token[str | None] | None = None

    def __enter__(self) -> str:
        if _tracing.tracer is None:
            traceparent = continue_trace(self._parent or _current.get())
        else:
            self._span = open_span(self._name, self._parent, self._attributes, kind=self._kind)
            traceparent = self._span.traceparent
        self._token = _current.set(traceparent)
        return traceparent

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._token is not None:
            try:
                _current.reset(self._token)
            except ValueError:
                # Closed in another context than it was opened in (a finalised async generator): nothing to undo.
                self._token = None
        if self._span is not None:
            self._span.close(error)


def _otel_span(
    tracer: "Tracer",
    name: str,
    traceparent: str | None,
    attributes: Attributes | None,
    kind: Kind,
    start_ns: int | None,
) -> "OtelSpan":
    from opentelemetry.context import Context
    from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags, set_span_in_context

    context = Context()
    parsed = parse(traceparent)
    if parsed is not None:
        flags = TraceFlags(int(parsed.flags, 16))
        parent = SpanContext(int(parsed.trace_id, 16), int(parsed.span_id, 16), is_remote=True, trace_flags=flags)
        context = set_span_in_context(NonRecordingSpan(parent), context)
    return tracer.start_span(name, context, kind=SpanKind[kind.upper()], attributes=attributes, start_time=start_ns)


def start(service: str, version: str = "") -> bool:
    """Turn telemetry on when the environment asks for it; call once per process, after the logs are set up.

    Traces are asked for by ``OTEL_TRACES_EXPORTER`` (``otlp`` or ``console``), or by ``OTEL_EXPORTER_OTLP_ENDPOINT`` or
    ``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT``; refused by ``OTEL_SDK_DISABLED=true`` or ``OTEL_TRACES_EXPORTER=none``.
    Metrics likewise, by the variables with ``METRICS``; ``/metrics`` is there in any case. OTLP goes over HTTP;
    sampler, batches, interval, headers, resource and the rest follow the standard variables.

    Args:
        service: ``service.name`` of the spans, unless ``OTEL_SERVICE_NAME`` says otherwise.

    Returns:
        True when spans are recorded.
    """
    if _tracing.provider is not None:
        return True
    environment = otel_environment()
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if exporters := _asked(environment, "TRACES"):
        _start_traces(service, version, exporters, environment)
    if "otlp" in _asked(environment, "METRICS") and _tracing.metrics is None:
        _start_metrics(service, version, environment)
    return enabled()


def _asked(environment: Mapping[str, str], signal: str) -> list[str]:
    """The exporters that the environment asks for; none unless it does."""
    named = environment.get(f"OTEL_{signal}_EXPORTER", "").lower()
    if named:
        return [name.strip() for name in named.split(",") if name.strip() not in ("", "none")]
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
    return ["otlp"] if any(name in environment for name in endpoints) else []


def _start_metrics(service: str, version: str, environment: Mapping[str, str]) -> None:
    import structlog

    from agentos_shared.host import metrics_export

    interval_ms = environment.get("OTEL_METRIC_EXPORT_INTERVAL", "")
    interval_s = int(interval_ms) / 1000 if interval_ms.strip().isdigit() else metrics_export.DEFAULT_INTERVAL_S
    _tracing.metrics = metrics_export.MetricsExport(resource(service, version), max(interval_s, 0.1))
    structlog.get_logger("agentos.telemetry").info("metrics_export_started", interval_s=interval_s)


def _start_traces(service: str, version: str, asked: Sequence[str], environment: Mapping[str, str]) -> None:
    import structlog
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter

    log = structlog.get_logger("agentos.telemetry")
    exporters: list[SpanExporter] = []
    for name in asked:
        if name == "otlp":
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            protocol = environment.get(
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", environment.get("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
            )
            if protocol != "http/protobuf":
                log.warning("otlp_protocol_not_offered", asked=protocol, used="http/protobuf")
            exporters.append(OTLPSpanExporter())
        elif name == "console":
            exporters.append(ConsoleSpanExporter(out=sys.stderr))
        else:
            log.warning("trace_exporter_not_offered", asked=name, offered=["otlp", "console", "none"])
    if not exporters:
        return
    provider = TracerProvider(resource=resource(service, version), shutdown_on_exit=False)
    for one in exporters:
        provider.add_span_processor(BatchSpanProcessor(one))
    _tracing.provider = provider
    _tracing.tracer = provider.get_tracer("agentos", version)
    log.info("tracing_started", exporters=[type(one).__name__ for one in exporters])


def resource(service: str, version: str) -> "Resource":
    """The OpenTelemetry resource of this process; ``OTEL_RESOURCE_ATTRIBUTES`` and ``OTEL_SERVICE_NAME`` win."""
    from opentelemetry.sdk.resources import Resource

    name = otel_environment().get("OTEL_SERVICE_NAME", service)
    attributes: dict[str, str | int] = {
        "service.namespace": "agentos",
        "service.instance.id": f"{os.uname().nodename}/{os.getpid()}/{time.time_ns():x}",
        "process.pid": os.getpid(),
    }
    if version:
        attributes["service.version"] = version
    # create() reads OTEL_RESOURCE_ATTRIBUTES but lets its argument win: merge the other way round.
    declared = Resource.create()
    explicit = {key: value for key, value in declared.attributes.items() if key != "service.name"}
    return Resource.create(attributes).merge(Resource({**explicit, "service.name": name}))


def stop() -> None:
    """Send what waits, for at most two seconds, and turn telemetry off. Without effect when it is off."""
    provider, exported = _tracing.provider, _tracing.metrics
    _tracing.provider = _tracing.tracer = _tracing.metrics = None
    # An exporter may retry a collector that is gone for ten seconds and more: never hold up the end of the process.
    ends = [provider.shutdown] if provider is not None else []
    if exported is not None:
        ends.append(exported.stop)
    threads = [threading.Thread(target=end, name="telemetry-flush", daemon=True) for end in ends]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + _FLUSH_S
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
