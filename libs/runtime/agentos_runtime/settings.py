"""Settings of the supervisor and the command line: the only place of this package that reads the environment.

Plain dataclasses: importing pydantic would cost ``agentos status`` more than its work does.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from agentos_runtime.errors import UsageError

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 7717
DEFAULT_GATEWAY_PORT: Final = 7718
API_ROLE: Final = "agentos_api"
PROJECTOR_ROLE: Final = "agentos_projector"
ENGINE_ROLE: Final = "agentos_engine"
POLICY_ROLE: Final = "agentos_policy"
GATEWAY_ROLE: Final = "agentos_gateway"
#: Those that services log in with.
ROLES: Final = (API_ROLE, PROJECTOR_ROLE, ENGINE_ROLE, POLICY_ROLE, GATEWAY_ROLE)
POSTGRES_SCHEMES: Final = ("postgresql", "postgres")
NATS_SCHEMES: Final = ("nats", "tls")


@dataclass(frozen=True, slots=True)
class Settings:
    """What ``agentos up`` was told.

    Attributes:
        port: of the API; 0 takes a free one.
        gateway_port: of the forward proxy; None takes 7718 where it is free and the API has its default port, else any.
        postgres_url: owner's URL of a server that is run elsewhere; None runs the embedded one.
        nats_url: the same for NATS; every service then uses it as it is.
        role_urls: role -> URL, for an external server whose roles somebody else made.
        restart_attempts: starts in a row that never became ready, before a component is given up.
        restart_base_s: back-off of the second restart; the first comes sooner.
        restart_cap_s: bound of the back-off.
        disk_low_bytes: free space below which the stack reports itself degraded.
        inherited: the environment that children get, without what is ours to set.
    """

    data_dir: Path
    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    gateway_port: int | None = None
    postgres_url: str | None = None
    nats_url: str | None = None
    role_urls: Mapping[str, str] = field(default_factory=dict)
    restart_attempts: int = 5
    restart_base_s: float = 1.0
    restart_cap_s: float = 30.0
    disk_low_bytes: int = 512 * 1024 * 1024
    inherited: Mapping[str, str] = field(default_factory=dict)


def load(data_dir: Path | None = None, port: int | None = None) -> Settings:
    """Settings from the environment; arguments win over it.

    Raises:
        UsageError: a variable has no sensible value; all such are named at once.
    """
    environ = os.environ
    wrong: list[str] = []

    def number(name: str, default: float, low: float, high: float) -> float:
        text = environ.get(name, "").strip()
        if not text:
            return default
        try:
            value = float(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            wrong.append(f"{name}={text!r} is not a number from {low:g} to {high:g}")
            return default
        return value

    def url(name: str, schemes: tuple[str, ...], example: str) -> str | None:
        text = environ.get(name, "").strip()
        if text and (fault := _fault(text, schemes)):
            wrong.append(f"{name} {fault}, expected something like {example}")  # the URL itself may hold a password
        return text or None

    def postgres_url(name: str, user: str) -> str | None:
        return url(name, POSTGRES_SCHEMES, f"postgresql://{user}:password@127.0.0.1:5432/agentos")

    role_urls = {
        role: given
        for role, name in (
            (API_ROLE, "AGENTOS_API_POSTGRES_URL"),
            (PROJECTOR_ROLE, "AGENTOS_PROJECTOR_POSTGRES_URL"),
            (ENGINE_ROLE, "AGENTOS_ENGINE_POSTGRES_URL"),
            (POLICY_ROLE, "AGENTOS_POLICY_POSTGRES_URL"),
            (GATEWAY_ROLE, "AGENTOS_GATEWAY_POSTGRES_URL"),
        )
        if (given := postgres_url(name, role))
    }
    settings = Settings(
        data_dir=(data_dir or default_data_dir(environ)).expanduser().absolute(),
        host=environ.get("AGENTOS_HOST") or DEFAULT_HOST,
        port=port if port is not None else int(number("AGENTOS_PORT", DEFAULT_PORT, 0, 65535)),
        gateway_port=int(number("AGENTOS_GATEWAY_PORT", 0, 0, 65535)) or None,
        postgres_url=postgres_url("AGENTOS_POSTGRES_URL", "owner"),
        nats_url=url("AGENTOS_NATS_URL", NATS_SCHEMES, "nats://user:password@127.0.0.1:4222"),
        role_urls=role_urls,
        restart_attempts=int(number("AGENTOS_RESTART_ATTEMPTS", 5, 1, 1000)),
        restart_base_s=number("AGENTOS_RESTART_BASE_S", 1.0, 0.01, 60),
        restart_cap_s=number("AGENTOS_RESTART_CAP_S", 30.0, 0.01, 600),
        disk_low_bytes=int(number("AGENTOS_DISK_LOW_MB", 512, 0, 1e9)) * 1024 * 1024,
        inherited={name: value for name, value in environ.items() if not name.endswith("_POSTGRES_URL")},
    )
    if wrong:
        raise UsageError("; ".join(wrong) + ". Correct the environment (see .env.example).")
    return settings


def _fault(url: str, schemes: tuple[str, ...]) -> str | None:
    """What is wrong with the form of a server's URL, or of one of several for NATS; None when nothing is."""
    for server in url.split(",") if schemes is NATS_SCHEMES else (url,):
        try:
            parts = urlsplit(server.strip())
            _ = parts.port
        except ValueError:
            return "is not a URL"
        if parts.scheme not in schemes:
            return f"does not start with {schemes[0]}://"
        if schemes is NATS_SCHEMES and not parts.hostname:
            return "names no host"
    return None


def default_data_dir(environ: Mapping[str, str]) -> Path:
    """``AGENTOS_DATA_DIR``, else the platform's directory for a user's data."""
    if environ.get("AGENTOS_DATA_DIR"):
        return Path(environ["AGENTOS_DATA_DIR"])
    from platformdirs import user_data_path  # here: only few commands need it

    return user_data_path("agentos", appauthor=False)
