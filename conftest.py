"""Fixtures that every test may take by name; see tests/README.md."""

pytest_plugins = [
    "tests.fixtures.stack",
    "tests.fixtures.live",
    "tests.fixtures.projecting",
    "tests.fixtures.api_process",
    "tests.fixtures.browser",
]
