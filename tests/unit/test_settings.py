"""Settings: all problems at once, and no secret in any of them."""

from typing import Annotated

import pytest
from pydantic import Field, SecretStr

from agentos_shared.host import settings
from agentos_shared.host.settings import ServiceSettings, SettingsError, load

POSTGRES = "postgresql://agentos_api:hunter2@127.0.0.1:5432/agentos"
NATS = "nats://api:hunter2@127.0.0.1:4222"


class Example(ServiceSettings):
    port: Annotated[int, Field(ge=1, le=65535, description="TCP port")] = 7717


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.environ", {})


def given(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    monkeypatch.setattr("os.environ", variables)


def test_defaults_and_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, AGENTOS_POSTGRES_URL=POSTGRES, AGENTOS_NATS_URL=NATS, AGENTOS_PORT="1", AGENTOS_LOG_LEVEL="")
    found = load(Example)
    assert (found.port, found.log_level, found.log_format) == (1, "info", "json")
    assert found.postgres_url.get_secret_value() == POSTGRES


def test_nothing_shows_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, AGENTOS_POSTGRES_URL=POSTGRES, AGENTOS_NATS_URL=NATS)
    found = load(Example)
    for shown in (repr(found), str(found), str(found.model_dump()), found.model_dump_json(), f"{found.nats_url}"):
        assert "hunter2" not in shown


def test_every_problem_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, AGENTOS_NATS_URL="http://api:hunter2@h", AGENTOS_PORT="70000", AGENTOS_LOG_LEVEL="loud")
    with pytest.raises(SettingsError) as refused:
        load(Example)
    text = str(refused.value)
    assert "AGENTOS_POSTGRES_URL is not set" in text
    assert "AGENTOS_NATS_URL: must start with nats://" in text
    assert "AGENTOS_PORT" in text
    assert "AGENTOS_LOG_LEVEL" in text
    assert "TCP port" in text
    assert "hunter2" not in text
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


@pytest.mark.parametrize(
    ("url", "address", "shown"),
    [
        (POSTGRES, ("127.0.0.1", 5432, "agentos_api", "agentos"), "postgresql://agentos_api@127.0.0.1:5432/agentos"),
        ("postgres://h/db", ("h", 5432, "", "db"), "postgresql://h:5432/db"),
        ("postgresql://u%40x:p%2Fw@[::1]:6/a%20b", ("::1", 6, "u@x", "a b"), "postgresql://u@x@[::1]:6/a b"),
        ("postgresql:///db?host=/run/pg", ("/run/pg", 5432, "", "db"), "postgresql:///run/pg:5432/db"),
        ("postgresql://h?dbname=db", ("h", 5432, "", "db"), "postgresql://h:5432/db"),
    ],
)
def test_postgres_urls(url: str, address: tuple[str, int, str, str], shown: str) -> None:
    found = settings.postgres_address(SecretStr(url))
    assert (found.host, found.port, found.user, found.name) == address
    assert str(found) == shown


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost",
        "mysql://h/db",
        "postgresql://h:hunter2/db",
        "postgresql://h",
        "postgresql://[::1/db",
        "nats://h",
    ],
)
def test_what_is_no_postgres_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError) as refused:
        settings.postgres_address(url)
    assert "hunter2" not in str(refused.value)


def test_nats_urls() -> None:
    found = settings.nats_address(NATS)
    assert (found.host, found.port, found.user) == ("127.0.0.1", 4222, "api")
    several = "nats://a:b@one, tls://c:d@two:5222 ,"
    assert settings.nats_servers(several) == ["nats://a:b@one", "tls://c:d@two:5222"]
    assert str(settings.nats_address(several)) == "nats://a@one:4222"
    for wrong in ("", ",", "nats://", "http://h", "nats://a, http://b", "nats://h:x"):
        with pytest.raises(ValueError):
            settings.nats_address(wrong)


def test_empty_otel_variables_count_as_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, OTEL_SERVICE_NAME="x", OTEL_TRACES_EXPORTER=" ", OTHER="y")
    assert settings.otel_environment() == {"OTEL_SERVICE_NAME": "x"}
