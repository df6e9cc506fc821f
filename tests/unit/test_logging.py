"""Every line is JSON, knows its service and trace, and holds no secret."""

import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from agentos_shared.host import logging as logs
from agentos_shared.host import telemetry
from agentos_shared.host.settings import Settings


@pytest.fixture
def output() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = (root.handlers[:], root.level, structlog.get_config())
    stream = io.StringIO()
    logs.configure("api", Settings(log_level="debug"), stream=stream)
    yield stream
    root.handlers[:], level, config = before
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.configure(**config)
    logs._Output.stream = None


def lines(output: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.getvalue().splitlines()]


def test_a_line_says_what_when_where(output: io.StringIO) -> None:
    structlog.get_logger("agentos.relay").info("published", events=3)
    (line,) = lines(output)
    assert line["event"] == "published"
    assert (line["events"], line["level"], line["logger"], line["service"]) == (3, "info", "agentos.relay", "api")
    assert line["timestamp"].endswith("Z")
    assert "trace_id" not in line


def test_lines_of_a_span_carry_its_trace(output: io.StringIO) -> None:
    with telemetry.span("x") as traceparent:
        structlog.get_logger("a").info("one")
        logging.getLogger("nats.aio.client").warning("two %s", 2)
    one, two = lines(output)
    assert one["trace_id"] == two["trace_id"] == traceparent[3:35]
    assert one["span_id"] == traceparent[36:52]
    assert (two["event"], two["logger"], two["level"]) == ("two 2", "nats.aio.client", "warning")


def test_exceptions_are_told_once(output: io.StringIO) -> None:
    for log in (structlog.get_logger("a"), logging.getLogger("uvicorn.error")):
        try:
            raise ValueError("postgresql://api:hunter2@127.0.0.1/agentos")
        except ValueError:
            log.exception("failed")
    for line in lines(output):
        assert "ValueError" in line["exception"]
        assert "hunter2" not in str(line)


@pytest.mark.parametrize(
    "text",
    [
        "nats://api:hunter2@127.0.0.1:4222",
        "cannot reach nats://api:hunter2@a:4222,nats://api:hunter2@b:4222 (refused)",
        "postgresql://agentos:hunter2@[::1]:5432/agentos?sslmode=disable",
        "postgresql://:hunter2@host/db",
        'dsn="https://user:hunter2@example.org/path"',
        "Authorization: Bearer hunter2hunter2hunter2",
        "key sk-hunter2hunter2hunter2hunter2",
    ],
)
def test_secrets_in_text_are_masked(output: io.StringIO, text: str) -> None:
    structlog.get_logger("a").info(text, detail=text, nested=[{"a": (text,)}], error=ValueError(text))
    logging.getLogger("b").error("it said %s", text)
    assert "hunter2" not in output.getvalue()
    assert len(lines(output)) == 2


@pytest.mark.parametrize(
    "key",
    [
        *("password", "PGPASSWORD", "nats_password", "secret", "client_secret", "token", "claim_token", "api_key"),
        *("apiKey", "Authorization", "cookie", "Set-Cookie", "x-api-key", "private_key", "credentials", "salt"),
    ],
)
def test_values_under_secret_names_are_masked(output: io.StringIO, key: str) -> None:
    structlog.get_logger("a").info("x", **{key: "hunter2"}, headers={key: "hunter2", "n": {key: ["hunter2"]}})
    assert "hunter2" not in output.getvalue()
    (line,) = lines(output)
    assert line[key] == "***"


def test_ordinary_text_stays(output: io.StringIO) -> None:
    text = "see https://example.org:8080/a and mail a@b.c, room/room_1@17 at 12:30"
    structlog.get_logger("a").info(text, tokens=3, secret=None, at="http://127.0.0.1:7717")
    (line,) = lines(output)
    assert (line["event"], line["secret"], line["at"]) == (text, None, "http://127.0.0.1:7717")


def test_any_value_can_be_logged(output: io.StringIO) -> None:
    deep: Any = "end"
    for _ in range(50):
        deep = {"in": deep}
    odd = {1: object(), "set": {1}, "bytes": b"\xff", "surrogate": "\ud800", "float": float("nan")}
    structlog.get_logger("a").info("odd", deep=deep, odd=odd)
    assert len(lines(output)) == 1


def test_levels_are_kept(output: io.StringIO) -> None:
    logs.configure("api", Settings(log_level="warning"), stream=output)
    structlog.get_logger("fresh").info("no")
    structlog.get_logger("fresh").warning("yes")
    logging.getLogger("uvicorn.error").info("no")
    assert [line["event"] for line in lines(output)] == ["yes"]


def test_what_libraries_set_up_themselves_comes_out_here(output: io.StringIO) -> None:
    own = logging.getLogger("uvicorn.error")
    own.addHandler(logging.StreamHandler(io.StringIO()))
    own.propagate = False
    logs.configure("api", Settings(), stream=output)
    own.info("started")
    logging.getLogger("uvicorn.access").info("GET / 200")
    logging.getLogger("faststream.access.nats").info("Received")
    logging.getLogger("httpx").info("GET")
    assert [line["event"] for line in lines(output)] == ["started"]


def test_people_get_a_line_to_read(output: io.StringIO) -> None:
    logs.configure("api", Settings(log_format="console"), stream=output)
    structlog.get_logger("agentos.x").info("listening", url="nats://api:hunter2@h", port=7717)
    text = output.getvalue()
    assert "listening" in text
    assert "port=7717" in text
    assert "hunter2" not in text
    assert "\x1b" not in text, "no colours where no person looks"


def test_a_closed_pipe_stops_nothing(output: io.StringIO) -> None:
    class Gone(io.StringIO):
        def write(self, _text: str) -> int:
            raise BrokenPipeError

    logs.configure("api", Settings(), stream=Gone())
    structlog.get_logger("a").info("x")
    logging.getLogger("b").error("x")
    logs._Output.stream = None
    assert sys.stderr is not None


def test_mask_url_takes_linear_time() -> None:
    assert logs.mask_url("://" * 100_000 + "@") is not None
    assert logs.mask_url("a://b:" + "c" * 100_000 + " @") is not None
