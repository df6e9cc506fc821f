"""Settings of the API, from the environment."""

import ipaddress
import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from agentos_shared.host.settings import ServiceSettings


class ApiSettings(ServiceSettings):
    """What the API takes besides every service's settings."""

    host: Annotated[str, Field(description="address to listen on")] = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535, description="TCP port of the HTTP API")] = 7717
    auth: Annotated[Literal["open", "enforced"], Field(description="open (loopback only) or enforced")] = "open"
    approver: Annotated[
        Literal["claim", "session"],
        Field(description="who decides in open mode: whom the caller claims to be, or only the local user's token"),
    ] = "claim"
    open_behind_loopback: Annotated[
        bool, Field(description="1 in a container whose port is published on loopback only")
    ] = False
    allowed_hosts: Annotated[str, Field(description="further Host names, separated by commas")] = ""
    allowed_origins: Annotated[str, Field(description="further Origins that may write, separated by commas")] = ""
    disk_path: Annotated[Path | None, Field(description="directory of the stores, whose free space is watched")] = None
    disk_low_mb: Annotated[float, Field(ge=0, description="free MiB below which only reads are served")] = 512
    blob_dir: Annotated[Path | None, Field(description="directory of contents too large for an event")] = None
    kill_switch_external_write: Annotated[
        bool,
        Field(
            validation_alias="POLICY_KILL_SWITCH_EXTERNAL_WRITE",
            description="1 stops whatever leaves this machine, and no call releases it",
        ),
    ] = False
    policy_enforcement_mode: Annotated[
        Literal["enforce", "shadow"],
        Field(
            validation_alias="POLICY_ENFORCEMENT_MODE",
            description="enforce, or shadow: refusals are marked as not blocking",
        ),
    ] = "enforce"
    notifications_file: Annotated[
        Path | None, Field(description="file of the user's own that says how channels of escalations are reached")
    ] = None
    local_token_file: Annotated[Path | None, Field(description="file with the local user's token")] = None
    token_key_file: Annotated[
        Path | None, Field(description="file with the key that signs capability tokens; made where there is none")
    ] = None

    @model_validator(mode="after")
    def _open_stays_local(self) -> Self:
        if self.auth == "open" and not is_loopback(self.host) and not self.open_behind_loopback:
            raise ValueError(
                f"AGENTOS_AUTH=open does not listen on {self.host}: anyone who reaches it could act. "
                "Set AGENTOS_AUTH=enforced, or AGENTOS_HOST=127.0.0.1"
            )
        if self.auth == "enforced" and self.local_token_file is None:
            raise ValueError("AGENTOS_AUTH=enforced needs AGENTOS_LOCAL_TOKEN_FILE")
        if self.approver == "session" and self.local_token_file is None:
            raise ValueError("AGENTOS_APPROVER=session needs AGENTOS_LOCAL_TOKEN_FILE")
        return self


#: What a command of the user's own needs to know to reach the user's session.
_OF_SESSION = (
    "DBUS_SESSION_BUS_ADDRESS",
    "DISPLAY",
    "HOME",
    "LANG",
    "LOGNAME",
    "PATH",
    "USER",
    "WAYLAND_DISPLAY",
    "XAUTHORITY",
    "XDG_RUNTIME_DIR",
)


def session_environment() -> dict[str, str]:
    """The environment of commands of the user's own: no passwords of ours, and nothing else that is not theirs."""
    return {"PATH": os.defpath} | {name: os.environ[name] for name in _OF_SESSION if name in os.environ}


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own loopback."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
