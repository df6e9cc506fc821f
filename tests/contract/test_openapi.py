"""The OpenAPI document against the running stack: no input makes a 500, and every status is documented."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import httpx
import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from tests.fixtures.stack import Stack

CHECKS: list[Callable[..., bool | None]] = [
    content_type_conformance,
    negative_data_rejection,
    not_a_server_error,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
]


EXAMPLES = 8


def test_the_documentation_page_loads_nothing_from_elsewhere(stack: Stack) -> None:
    page = httpx.get(f"{stack.url}/docs").raise_for_status().text
    sources = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert sources
    assert all(source.startswith("/docs-assets/") for source in sources)
    for source in sources:
        assert httpx.get(stack.url + source).status_code == 200


def test_every_operation_tells_its_answer_by_schema_and_example(stack: Stack) -> None:
    document = httpx.get(f"{stack.url}/openapi.json").raise_for_status().json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            where = f"{method} {path}"
            good = [answer for status, answer in operation["responses"].items() if status.startswith("2")]
            bodies = [*good, *([operation["requestBody"]] if "requestBody" in operation else [])]
            assert good, where
            for body in bodies:
                assert body["content"], where
                for kind, content in body["content"].items():
                    assert content["schema"], where
                    assert "example" in content, where
                    if kind == "application/json":
                        found = [error.message for error in validator(document, content["schema"], content["example"])]
                        assert not found, (where, content["example"], found)
            for parameter in operation.get("parameters", ()):
                assert parameter["in"] != "path" or parameter["example"], where


def validator(document: dict[str, Any], schema: dict[str, Any], instance: Any) -> Iterator[Any]:
    """What is wrong with ``instance``."""
    return jsonschema_rs.validator_for(schema | {"components": document["components"]}).iter_errors(instance)


def test_frames_of_a_stream_are_as_documented(stack: Stack) -> None:
    document = httpx.get(f"{stack.url}/openapi.json").raise_for_status().json()
    room = httpx.post(f"{stack.url}/v1/rooms", json={"title": "Ops"}).raise_for_status().json()["room_id"]
    documented = document["paths"]["/v1/streams/rooms/{room_id}"]["get"]["responses"]["200"]["content"]
    schema = documented["text/event-stream"]["schema"]["contentSchema"]
    seen: list[str | None] = []
    for from_seq in (0, 99):
        frames = frames_until(f"{stack.url}/v1/streams/rooms/{room}?from_seq={from_seq}", "caught_up")
        assert not [error.message for error in validator(document, schema, frames)], frames
        seen += [frame.get("event") for frame in frames]
    assert seen == [None, "caught_up", "reset", "caught_up"]
    for wrong in ({"id": "1", "data": {}}, {"event": "reset", "data": {"head_seq": 1}}, {"event": "other", "data": {}}):
        assert [error.message for error in validator(document, schema, [wrong])]


def frames_until(url: str, last: str) -> list[dict[str, Any]]:
    """One object a frame of a live stream, up to and with the first of that name; ``data`` parsed."""
    frames: list[dict[str, Any]] = [{}]
    with httpx.stream("GET", url, timeout=10) as answer:
        for line in answer.iter_lines():
            name, _, value = line.partition(": ")
            if line and name in ("id", "event", "data"):
                frames[-1][name] = json.loads(value) if name == "data" else value
            elif not line and frames[-1]:
                if frames[-1].get("event") == last:
                    return frames
                frames.append({})
    raise AssertionError(f"ended without {last}")


@pytest.mark.timeout(400)
def test_every_answer_is_as_documented(stack: Stack) -> None:
    document = schemathesis.openapi.from_url(f"{stack.url}/openapi.json")
    # A live feed never ends; tests/integration/test_sse.py looks at it.
    operations: list[Any] = [found.ok() for found in document.exclude(path_regex="^/v1/streams/").get_all_operations()]  # type: ignore[union-attr]
    assert len(operations) >= 15
    for operation in operations:
        for mode in GenerationMode:
            look_at(operation, mode)


def look_at(operation: Any, mode: GenerationMode) -> None:
    """Send what hypothesis makes of one operation's schema: what fits it, or what does not."""

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    def send(case: Any) -> None:
        response = case.call(timeout=20)
        checks = CHECKS
        if response.status_code == 503:
            # A list that was asked to wait for a place which no stream has reached says so; nothing else may be 503.
            assert response.json()["error"] == "projection_behind"
            checks = [check for check in CHECKS if check is not not_a_server_error]
        case.validate_response(response, checks=checks)

    # Nothing can be made that does not fit an operation without parameters.
    with suppress(Unsatisfiable):
        send()
