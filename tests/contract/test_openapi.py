"""The OpenAPI document against the running stack: no input makes a 500, and every status is documented."""

import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx
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


EXAMPLES = 12


def test_the_documentation_page_loads_nothing_from_elsewhere(stack: Stack) -> None:
    page = httpx.get(f"{stack.url}/docs").raise_for_status().text
    sources = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert sources
    assert all(source.startswith("/docs-assets/") for source in sources)
    for source in sources:
        assert httpx.get(stack.url + source).status_code == 200


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
