"""Which components a stack has, with which command, environment and credentials."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from agentos_runtime import nats, postgres, prepare, probe, processes
from agentos_runtime.component import Spec
from agentos_runtime.datadir import DataDir
from agentos_runtime.settings import (
    API_ROLE,
    DEFAULT_GATEWAY_PORT,
    DEFAULT_PORT,
    ENGINE_ROLE,
    GATEWAY_ROLE,
    POLICY_ROLE,
    PROJECTOR_ROLE,
    ROLES,
    Settings,
)

LOOPBACK: Final = "127.0.0.1"
#: How long a server that somebody else runs is waited for at first.
EXTERNAL_TIMEOUT_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the stack is reached. Those of Postgres and NATS hold passwords."""

    url: str
    postgres_url: str
    nats_url: str
    gateway_url: str


@dataclass(slots=True)
class Plan:
    """What the supervisor runs."""

    addresses: Addresses
    specs: list[Spec]
    schema_ready: asyncio.Event = field(default_factory=asyncio.Event)

    async def may_start(self, name: str) -> None:
        """Services wait for the first schema, and start beside Postgres once it is there."""
        if name in ("api", "projector", "engine", "policy", "gateway"):
            await self.schema_ready.wait()


async def plan(settings: Settings, data: DataDir) -> Plan:
    """Prepares the data directory (cluster, passwords, ports, configurations) and says what to run.

    Raises:
        RuntimeFailure: the cluster cannot be made or is of another version.
    """
    passwords = data.passwords([postgres.OWNER, *ROLES, *(f"nats_{user}" for user in nats.USERS)])
    data.make_local_token()
    health = [f"{service}_health" for service in ("projector", "engine", "policy", "gateway")]
    free = ["postgres", "nats", *health]
    free += [name for name, given in (("api", settings.port), ("gateway", settings.gateway_port)) if not given]
    ports = data.ports(free, first={"gateway": DEFAULT_GATEWAY_PORT} if settings.port == DEFAULT_PORT else None)
    api_port = settings.port or ports["api"]
    gateway_port = settings.gateway_port or ports["gateway"]
    owner_url = settings.postgres_url or postgres.url(passwords[postgres.OWNER], ports["postgres"])
    nats_urls = {
        user: settings.nats_url or nats.url(user, passwords[f"nats_{user}"], ports["nats"]) for user in nats.USERS
    }
    roles = prepare.Roles(owner_url, passwords, settings.role_urls)
    addresses = Addresses(
        url=f"http://{_bracketed(settings.host)}:{api_port}",
        postgres_url=owner_url,
        nats_url=nats_urls[nats.INTEGRATION],
        gateway_url=f"http://{LOOPBACK}:{gateway_port}",
    )
    made = Plan(addresses, [])
    if settings.postgres_url is None and prepare.is_current(data):
        made.schema_ready.set()

    async def schema() -> None:
        await prepare.schema(data, roles)
        made.schema_ready.set()

    common = dict(settings.inherited) | {"PYTHONUNBUFFERED": "1"}
    common.setdefault("AGENTOS_LOG_FORMAT", "json")
    made.specs = [
        await postgres_spec(settings, data, passwords[postgres.OWNER], ports["postgres"], schema),
        nats_spec(settings, data, passwords, ports["nats"]),
        service_spec(
            "api",
            partial(probe.http, _reach(settings.host), api_port),
            common
            | {
                "AGENTOS_POSTGRES_URL": roles.url(API_ROLE),
                "AGENTOS_NATS_URL": nats_urls[nats.API],
                "AGENTOS_HOST": settings.host,
                "AGENTOS_PORT": str(api_port),
                "AGENTOS_LOCAL_TOKEN_FILE": str(data.local_token),
                "AGENTOS_TOKEN_KEY_FILE": str(data.token_key),
                "AGENTOS_NOTIFICATIONS_FILE": str(data.root / "notifications.toml"),
                "AGENTOS_DISK_PATH": str(data.root),
                "AGENTOS_BLOB_DIR": str(data.blobs),
            },
        ),
        service_spec(
            "projector",
            partial(probe.http, LOOPBACK, ports["projector_health"]),
            common
            | {
                "AGENTOS_POSTGRES_URL": roles.url(PROJECTOR_ROLE),
                "AGENTOS_NATS_URL": nats_urls[nats.PROJECTOR],
                "AGENTOS_HEALTH_HOST": LOOPBACK,
                "AGENTOS_HEALTH_PORT": str(ports["projector_health"]),
            },
        ),
        service_spec(
            "engine",
            partial(probe.http, LOOPBACK, ports["engine_health"]),
            common
            | {
                "AGENTOS_POSTGRES_URL": roles.url(ENGINE_ROLE),
                "AGENTOS_NATS_URL": nats_urls[nats.ENGINE],
                "AGENTOS_HEALTH_HOST": LOOPBACK,
                "AGENTOS_HEALTH_PORT": str(ports["engine_health"]),
                "AGENTOS_URL": f"http://{_bracketed(_reach(settings.host))}:{api_port}",
                "AGENTOS_LOCAL_TOKEN_FILE": str(data.local_token),
            },
        ),
        service_spec(
            "policy",
            partial(probe.http, LOOPBACK, ports["policy_health"]),
            common
            | {
                "AGENTOS_POSTGRES_URL": roles.url(POLICY_ROLE),
                "AGENTOS_NATS_URL": nats_urls[nats.POLICY],
                "AGENTOS_POLICY_DIR": str(data.root / "policies"),
                "AGENTOS_HEALTH_HOST": LOOPBACK,
                "AGENTOS_HEALTH_PORT": str(ports["policy_health"]),
            },
        ),
        service_spec(
            "gateway",
            partial(probe.http, LOOPBACK, ports["gateway_health"]),
            common
            | {
                "AGENTOS_POSTGRES_URL": roles.url(GATEWAY_ROLE),
                "AGENTOS_NATS_URL": nats_urls[nats.GATEWAY],
                "AGENTOS_GATEWAY_HOST": LOOPBACK,
                "AGENTOS_GATEWAY_PORT": str(gateway_port),
                "AGENTOS_API_URL": addresses.url,
                "AGENTOS_BLOB_DIR": str(data.blobs),
                "AGENTOS_SECRETS_KEY_FILE": str(data.root / "secrets-key"),
                "AGENTOS_HEALTH_HOST": LOOPBACK,
                "AGENTOS_HEALTH_PORT": str(ports["gateway_health"]),
            },
        ),
    ]
    return made


async def postgres_spec(settings: Settings, data: DataDir, password: str, port: int, schema: prepare.Hook) -> Spec:
    """The embedded server, or the watch over one that is run elsewhere."""
    if settings.postgres_url is not None:
        parts = urlsplit(settings.postgres_url)
        host, external_port = parts.hostname or "localhost", parts.port or 5432
        ask = partial(probe.postgres, host, external_port)
        return Spec("postgres", ask, None, on_ready=schema, start_timeout_s=EXTERNAL_TIMEOUT_S)
    await postgres.initialise(data.postgres, password)
    postgres.configure(data.postgres, port)
    return Spec(
        name="postgres",
        probe=partial(probe.postgres, postgres.HOST, port),
        command=partial(postgres.server_command, data.postgres),
        environment=postgres.ENVIRONMENT,
        before_start=partial(postgres.clear_leftovers, data.postgres),
        on_ready=schema,
        # Fast shutdown ends clients cleanly; the immediate one leaves recovery to the next start.
        stop_signals=((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0)),
    )


def nats_spec(settings: Settings, data: DataDir, passwords: Mapping[str, str], port: int) -> Spec:
    """The embedded server, or the watch over one that is run elsewhere."""
    if settings.nats_url is not None:
        parts = urlsplit(settings.nats_url.split(",")[0].strip())
        host, external_port = parts.hostname or "localhost", parts.port or 4222
        ask = partial(probe.nats, host, external_port, parts.username, parts.password)
        return Spec("nats", ask, None, start_timeout_s=EXTERNAL_TIMEOUT_S)
    configuration = nats.configure(data.nats, port, {user: passwords[f"nats_{user}"] for user in nats.USERS})
    return Spec(
        name="nats",
        probe=partial(probe.nats, nats.HOST, port, nats.SUPERVISOR, passwords[f"nats_{nats.SUPERVISOR}"]),
        command=partial(nats.server_command, configuration),
        environment={"PATH": os.defpath},
    )


def service_spec(name: str, ready: probe.Probe, environment: Mapping[str, str]) -> Spec:
    """One of our services. ``-P`` keeps the working directory off its import path."""
    command = partial(processes.launched, [sys.executable, "-P", "-m", f"agentos_{name}"], signal.SIGTERM)
    return Spec(name=name, probe=ready, command=command, environment=environment, needs=("postgres", "nats"))


def _bracketed(host: str) -> str:
    """As a URL has it."""
    return f"[{host}]" if ":" in host else host


def _reach(host: str) -> str:
    """An address at which a listener on all interfaces is reached."""
    return {"0.0.0.0": LOOPBACK, "::": "::1"}.get(host, host)  # noqa: S104 - compares, binds nothing
