"""W3C trace context by hand, and spans with and without the SDK."""

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentos_shared.host import telemetry

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
VALID = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    ("header", "flags", "sampled"),
    [
        (VALID, "01", True),
        (f"00-{TRACE}-{SPAN}-00", "00", False),
        (f"00-{TRACE}-{SPAN}-03", "03", True),
        (f"00-{TRACE}-{SPAN}-ff", "ff", True),
        (f"cc-{TRACE}-{SPAN}-01", "01", True),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-holds", "01", True),
    ],
)
def test_valid_headers_are_read(header: str, flags: str, sampled: bool) -> None:
    parsed = telemetry.parse(header)
    assert parsed is not None
    assert (parsed.trace_id, parsed.span_id, parsed.flags, parsed.sampled) == (TRACE, SPAN, flags, sampled)
    assert telemetry.continue_trace(header) == f"00-{TRACE}-{SPAN}-{flags}"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "00",
        VALID[:-1],
        VALID + " ",
        VALID + "\n",
        " " + VALID,
        VALID.upper(),
        f"00-{TRACE}-{SPAN}-01-more",
        f"cc-{TRACE}-{SPAN}-01.more",
        f"cc-{TRACE}-{SPAN}-012",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}g-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-0x",
        f"0-{TRACE}-{SPAN}-01",
        f"00_{TRACE}_{SPAN}_01",
        f"00-{TRACE[:-1]}\u0661-{SPAN}-01",
    ],
)
def test_anything_else_starts_a_fresh_trace(header: str | None) -> None:
    assert telemetry.parse(header) is None
    made = telemetry.continue_trace(header)
    assert telemetry.parse(made) is not None
    assert TRACE not in made


@given(st.text(max_size=80) | st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?", fullmatch=True))
def test_what_is_passed_on_is_always_valid(header: str) -> None:
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", telemetry.continue_trace(header))


def test_fresh_traces_differ() -> None:
    made = {telemetry.fresh() for _ in range(1000)}
    assert len(made) == 1000
    assert all((parsed := telemetry.parse(one)) is not None and parsed.sampled for one in made)


def test_off_a_span_passes_the_trace_on() -> None:
    assert not telemetry.enabled()
    assert telemetry.current() is None
    with telemetry.span("outer", VALID, {"a": 1}) as outer:
        assert outer == telemetry.current() == VALID
        with telemetry.span("inner") as inner:
            assert inner == VALID
        assert telemetry.open_span("by hand").traceparent == VALID
    assert telemetry.current() is None
    span = telemetry.open_span("by hand", VALID)
    span.set({"b": 2})
    span.close()
    span.close(ValueError())
    with pytest.raises(ZeroDivisionError), telemetry.span("failing", VALID):
        raise ZeroDivisionError
    assert telemetry.current() is None


async def test_spans_of_tasks_do_not_mix() -> None:
    barrier = asyncio.Barrier(2)

    async def work(header: str) -> str | None:
        with telemetry.span("work", header):
            await barrier.wait()
            return telemetry.current()

    other = telemetry.fresh()
    assert list(await asyncio.gather(work(VALID), work(other))) == [VALID, other]


async def test_a_span_that_ends_in_another_context_does_no_harm() -> None:
    async def frames() -> AsyncGenerator[int, None]:
        with telemetry.span("stream", VALID):
            yield 1
            yield 2

    stream = frames()
    assert await anext(stream) == 1
    await asyncio.create_task(stream.aclose())


def test_the_sdk_is_not_imported_while_tracing_is_off() -> None:
    code = (
        "import sys; from agentos_shared.host import telemetry;"
        "assert telemetry.start('api') is False;"
        "telemetry.open_span('x').close(); telemetry.stop();"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={}, timeout=60)


@pytest.mark.parametrize(
    ("environment", "asked"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "x"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, False),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "console"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, False),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "otlp"}, False),
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, True),
    ],
)
def test_the_standard_variables_decide(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], asked: bool
) -> None:
    monkeypatch.setattr(telemetry, "otel_environment", lambda: {k: v for k, v in environment.items() if v.strip()})
    try:
        assert telemetry.start("api") is asked
        assert telemetry.enabled() is asked
    finally:
        telemetry.stop()
    assert not telemetry.enabled()


class Exported:
    """Spans as an exporter got them."""

    def __init__(self) -> None:
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        self.exporter = InMemorySpanExporter()
        self.processor = SimpleSpanProcessor(self.exporter)

    def by_name(self) -> dict[str, object]:
        return {span.name: span for span in self.exporter.get_finished_spans()}


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Iterator[Exported]:
    from opentelemetry.sdk.trace import TracerProvider

    found = Exported()
    provider = TracerProvider(resource=telemetry.resource("api", "0.1.0"), shutdown_on_exit=False)
    provider.add_span_processor(found.processor)
    monkeypatch.setattr(telemetry._tracing, "provider", provider)
    monkeypatch.setattr(telemetry._tracing, "tracer", provider.get_tracer("agentos"))
    yield found
    provider.shutdown()


def test_on_spans_form_one_trace(exported: Exported) -> None:
    with telemetry.span("http.request", VALID, {"http.route": "/v1/rooms"}, kind="server") as request:
        append = telemetry.open_span("append", kind="internal")
    publish = telemetry.open_span("relay.publish", append.traceparent, kind="producer")
    publish.set({"agentos.stream": "room/1"})
    publish.close()
    append.close()
    with pytest.raises(ZeroDivisionError), telemetry.span("projector.apply", publish.traceparent):
        raise ZeroDivisionError("no")

    spans = exported.by_name()
    assert set(spans) == {"http.request", "append", "relay.publish", "projector.apply"}
    assert {f"{span.context.trace_id:032x}" for span in spans.values()} == {TRACE}  # type: ignore[attr-defined]
    parents = {name: f"{span.parent.span_id:016x}" for name, span in spans.items()}  # type: ignore[attr-defined]
    assert parents["http.request"] == SPAN
    assert parents["append"] == request[36:52]
    assert parents["relay.publish"] == append.traceparent[36:52]
    assert parents["projector.apply"] == publish.traceparent[36:52]
    failed = spans["projector.apply"]
    assert failed.status.status_code.name == "ERROR"  # type: ignore[attr-defined]
    assert dict(spans["http.request"].resource.attributes)["service.name"] == "api"  # type: ignore[attr-defined]


def test_on_an_unsampled_caller_stays_unsampled(exported: Exported) -> None:
    with telemetry.span("http.request", f"00-{TRACE}-{SPAN}-00") as request:
        assert request.startswith(f"00-{TRACE}-")
        assert request.endswith("-00")
    assert exported.by_name() == {}


def test_on_the_environment_names_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test,service.version=9")
    attributes = dict(telemetry.resource("api", "0.1.0").attributes)
    assert attributes["service.name"] == "mine"
    assert attributes["deployment.environment.name"] == "test"
    assert attributes["service.version"] == "9"
    assert attributes["service.namespace"] == "agentos"
