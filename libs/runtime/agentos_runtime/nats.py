"""The embedded NATS server: one user per service, and what each may publish and subscribe."""

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agentos_runtime import binaries, processes
from agentos_runtime.datadir import write_private
from agentos_shared.contracts.subjects import (
    EVENTS_STREAM,
    EVENTS_SUBJECTS,
    PING_RUNS,
    POLICY_EVALUATE,
    PROJECTOR_DURABLE,
    claims_of,
)

HOST: Final = "127.0.0.1"
SUPERVISOR: Final = "supervisor"
API: Final = "api"
PROJECTOR: Final = "projector"
ENGINE: Final = "engine"
POLICY: Final = "policy"
GATEWAY: Final = "gateway"
INTEGRATION: Final = "integration"

_STREAM: Final = f"$JS.API.STREAM.{{}}.{EVENTS_STREAM}"
_CONSUMER: Final = f"$JS.API.CONSUMER.{{}}.{EVENTS_STREAM}"


@dataclass(frozen=True, slots=True)
class Permissions:
    """Subjects of one user; everybody may also subscribe to their own inbox and answer what they were asked."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...] = ()
    deny_publish: tuple[str, ...] = ()


def _consumer(verb: str, name: str = ">") -> tuple[str, str]:
    """A consumer request with and without the tokens that may follow."""
    subject = _CONSUMER.format(verb)
    return (subject, f"{subject}.>") if name == ">" else (f"{subject}.{name}", f"{subject}.{name}.>")


#: What ARCHITECTURE.md says about who may do what, as the server enforces it.
USERS: Final[Mapping[str, Permissions]] = {
    SUPERVISOR: Permissions(publish=("$JS.API.INFO", "agentos.rpc.*.health")),
    API: Permissions(
        publish=(
            EVENTS_SUBJECTS,
            "agentos.ping.>",
            "agentos.rpc.>",
            "$JS.API.INFO",
            "$JS.API.STREAM.NAMES",
            *(
                _STREAM.format(verb)
                for verb in ("INFO", "CREATE", "UPDATE", "DELETE", "PURGE", "MSG.GET", "MSG.DELETE")
            ),
            f"$JS.API.DIRECT.GET.{EVENTS_STREAM}",
            f"$JS.API.DIRECT.GET.{EVENTS_STREAM}.>",
            *(
                s
                for verb in ("CREATE", "DURABLE.CREATE", "INFO", "DELETE", "MSG.NEXT", "NAMES")
                for s in _consumer(verb)
            ),
            "$JS.ACK.>",
            "$JS.FC.>",
        ),
        subscribe=("agentos.cmd.>", "agentos.svc.>", "agentos.ping.>", "agentos.rpc.api.>"),
    ),
    PROJECTOR: Permissions(
        publish=(
            "agentos.svc.projector.>",
            "agentos.ping.projected",
            "$JS.API.INFO",
            "$JS.API.STREAM.NAMES",
            _STREAM.format("INFO"),
            *(
                s
                for verb in ("CREATE", "DURABLE.CREATE", "INFO", "DELETE", "MSG.NEXT")
                for s in _consumer(verb, PROJECTOR_DURABLE)
            ),
            "$JS.ACK.>",
            "$JS.FC.>",
        ),
        subscribe=("agentos.rpc.projector.>", "agentos.ping.>"),
    ),
    # It learns from pings which streams to read, and keeps nothing in JetStream.
    ENGINE: Permissions(
        publish=("agentos.svc.engine.>", claims_of("*")),
        subscribe=("agentos.rpc.engine.>", PING_RUNS),
    ),
    # It answers, and asks the store.
    POLICY: Permissions(
        publish=("agentos.svc.policy.>",),
        subscribe=("agentos.rpc.policy.>",),
    ),
    # It answers, has its requests decided, and asks the store.
    GATEWAY: Permissions(
        publish=("agentos.svc.gateway.>", POLICY_EVALUATE),
        subscribe=("agentos.rpc.gateway.>",),
    ),
    # Reads whatever it likes, but cannot touch the consumers that the services depend on.
    INTEGRATION: Permissions(
        publish=(
            "agentos.cmd.>",
            "$JS.API.INFO",
            "$JS.API.STREAM.NAMES",
            _STREAM.format("INFO"),
            _STREAM.format("MSG.GET"),
            f"$JS.API.DIRECT.GET.{EVENTS_STREAM}",
            f"$JS.API.DIRECT.GET.{EVENTS_STREAM}.>",
            *(s for verb in ("CREATE", "DURABLE.CREATE", "INFO", "DELETE", "MSG.NEXT") for s in _consumer(verb)),
            "$JS.ACK.>",
            "$JS.FC.>",
        ),
        subscribe=(EVENTS_SUBJECTS,),
        deny_publish=(
            *(
                s
                for verb in ("CREATE", "DURABLE.CREATE", "DELETE", "MSG.NEXT")
                for s in _consumer(verb, PROJECTOR_DURABLE)
            ),
            f"$JS.ACK.{EVENTS_STREAM}.{PROJECTOR_DURABLE}.>",
        ),
    ),
}


def url(user: str, password: str, port: int) -> str:
    """Connection URL of a user (passwords of ours are hexadecimal, so that nothing needs quoting)."""
    return f"nats://{user}:{password}@{HOST}:{port}"


def configure(directory: Path, port: int, passwords: Mapping[str, str]) -> Path:
    """Writes the configuration, readable by its owner only, and returns its path."""
    path = directory / "nats.conf"
    text = render(f"{HOST}:{port}", str(directory / "store"), {user: _quoted(passwords[user]) for user in USERS})
    write_private(path, "# Written by agentos at every start; changes are lost.\n" + text)
    return path


def render(listen: str, store: str, passwords: Mapping[str, str]) -> str:
    """The configuration as text.

    Args:
        passwords: by user, as they stand in the file: quoted, or ``$NAME`` of an environment variable of the server.
    """
    users = "\n".join(_user(name, permissions, passwords[name]) for name, permissions in USERS.items())
    return f"""\
listen: "{listen}"
server_name: agentos
max_payload: 1MB
max_connections: 1024
write_deadline: "5s"
jetstream {{
  store_dir: {_quoted(store)}
  max_memory_store: 64MB
  max_file_store: 8GB
  # The bus is a cache of the event store: a power cut may cost it a second, which the relay publishes again.
  sync_interval: "1s"
}}
authorization {{
  timeout: 5
  users: [
{users}
  ]
}}
"""


def _user(name: str, permissions: Permissions, password: str) -> str:
    deny = f", deny: {_list(permissions.deny_publish)}" if permissions.deny_publish else ""
    return (
        f"    {{user: {_quoted(name)}, password: {password}, permissions: {{\n"
        f"      publish: {{allow: {_list(permissions.publish)}{deny}}}\n"
        f"      subscribe: {{allow: {_list((*permissions.subscribe, f'_INBOX_{name}.>'))}}}\n"
        f'      allow_responses: {{max: 1, expires: "1m"}}\n'
        "    }}"
    )


def _list(subjects: tuple[str, ...]) -> str:
    return "[" + ", ".join(_quoted(subject) for subject in subjects) + "]"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def server_command(configuration: Path) -> list[str]:
    """The server in the foreground."""
    return processes.launched(
        [str(binaries.nats_server()), "--config", str(configuration)], death_signal=signal.SIGTERM
    )
