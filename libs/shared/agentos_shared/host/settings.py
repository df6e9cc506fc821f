"""Settings of a service: environment variables with the prefix ``AGENTOS_``, read once at start.

The only module that reads the environment. A service declares what it adds and loads it::

    class ApiSettings(ServiceSettings):
        port: Annotated[int, Field(ge=1, le=65535, description="TCP port of the HTTP API")] = 7717

    settings = load(ApiSettings)

Whatever carries a password is a ``SecretStr``: it never shows in a log, a repr or an error message.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, TypeVar
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX: Final = "AGENTOS_"


class SettingsError(Exception):
    """Some settings are missing or wrong. The message lists all of them, and what to do; it holds no secret value."""


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Where a server is, without the credentials: what may be shown to people.

    ``host`` is empty for a Unix socket given by path; ``name`` is the database of a Postgres URL, else empty.
    """

    scheme: str
    host: str
    port: int
    user: str
    name: str

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        name = f"/{self.name}" if self.name else ""
        return f"{self.scheme}://{user}{host}:{self.port}{name}"


def postgres_address(url: SecretStr | str) -> ServerAddress:
    """The address in a Postgres URL (``postgresql://user:password@host:5432/database``, or ``?host=/socket/dir``).

    Raises:
        ValueError: it is no Postgres URL. The message does not repeat it, since it may hold a password.
    """
    parts = _split(url, ("postgresql", "postgres"), "postgresql://user:password@127.0.0.1:5432/agentos")
    query = parse_qs(parts.query)
    host = parts.hostname or (query.get("host") or [""])[0]
    name = unquote(parts.path.lstrip("/")) or (query.get("dbname") or [""])[0]
    if not name:
        raise ValueError("names no database; it should end like .../agentos")
    return ServerAddress("postgresql", host, parts.port or 5432, unquote(parts.username or ""), name)


def nats_address(url: SecretStr | str) -> ServerAddress:
    """The first address in a NATS URL (``nats://user:password@host:4222``; several may be separated by commas).

    Raises:
        ValueError: it is no NATS URL. The message does not repeat it, since it may hold a password.
    """
    found = [_split(server, ("nats", "tls"), "nats://user:password@127.0.0.1:4222") for server in nats_servers(url)]
    if not found or not all(parts.hostname for parts in found):
        raise ValueError("names no host; expected something like nats://user:password@127.0.0.1:4222")
    first = found[0]
    return ServerAddress(first.scheme, first.hostname or "", first.port or 4222, unquote(first.username or ""), "")


def nats_servers(url: SecretStr | str) -> list[str]:
    """The single URLs of a comma-separated NATS URL, as ``nats.connect(servers=...)`` takes them."""
    return [server.strip() for server in _reveal(url).split(",") if server.strip()]


def _reveal(url: SecretStr | str) -> str:
    return url.get_secret_value() if isinstance(url, SecretStr) else url


def _split(url: SecretStr | str, schemes: tuple[str, ...], example: str) -> SplitResult:
    try:
        parts = urlsplit(_reveal(url).strip())
        _ = parts.port
    except ValueError:
        raise ValueError(f"is not a URL; expected something like {example}") from None
    if parts.scheme not in schemes:
        raise ValueError(f"must start with {schemes[0]}://, such as {example}")
    return parts


def _valid_postgres(url: SecretStr) -> SecretStr:
    postgres_address(url)
    return url


def _valid_nats(url: SecretStr) -> SecretStr:
    nats_address(url)
    return url


PostgresUrl = Annotated[SecretStr, AfterValidator(_valid_postgres)]
NatsUrl = Annotated[SecretStr, AfterValidator(_valid_nats)]
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["json", "console"]


class Settings(BaseSettings):
    """What every process takes. An empty variable counts as absent."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    log_level: Annotated[LogLevel, Field(description="debug, info, warning or error")] = "info"
    log_format: Annotated[LogFormat, Field(description="json for machines, console for people")] = "json"


class ServiceSettings(Settings):
    """What every service takes: its Postgres role and its NATS user, each inside its URL."""

    postgres_url: Annotated[
        PostgresUrl,
        Field(description="Postgres with this service's role, postgresql://user:password@host:5432/agentos"),
    ]
    nats_url: Annotated[NatsUrl, Field(description="NATS with this service's user, nats://user:password@host:4222")]


S = TypeVar("S", bound=Settings)


def load(kind: type[S]) -> S:
    """Read settings from the environment.

    Raises:
        SettingsError: names every missing or invalid variable at once, with what to do.
    """
    try:
        return kind()
    except ValidationError as error:
        lines = [_problem(kind, dict(problem)) for problem in error.errors(include_input=False, include_url=False)]
    raise SettingsError(
        "These settings need attention (environment variables, described in .env.example):\n" + "\n".join(lines)
    )


def _problem(kind: type[Settings], problem: Mapping[str, Any]) -> str:
    field = str(problem["loc"][0]) if problem["loc"] else ""
    info = kind.model_fields.get(field)
    about = f" Expected: {info.description}." if info is not None and info.description else ""
    name = f"{PREFIX}{field.upper()}" if field else "settings"
    if problem["type"] == "missing":
        return f"  {name} is not set.{about}"
    reason = str(problem["msg"]).removeprefix("Value error, ")
    return f"  {name}: {reason}.{about}"


def otel_environment() -> Mapping[str, str]:
    """The standard ``OTEL_*`` variables that are set and not empty."""
    return {name: value for name, value in os.environ.items() if name.startswith("OTEL_") and value.strip()}


def failpoints_environment() -> str:
    """``AGENTOS_FAILPOINTS``, for tests only; see :mod:`agentos_shared.host.failpoints`."""
    return os.environ.get("AGENTOS_FAILPOINTS", "")
