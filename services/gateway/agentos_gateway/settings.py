"""Settings of the gateway service."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr

from agentos_shared.host.settings import ServiceSettings


class GatewaySettings(ServiceSettings):
    """What the gateway takes beside its Postgres role and its NATS user."""

    gateway_host: Annotated[str, Field(description="address of the forward proxy")] = "127.0.0.1"
    gateway_port: Annotated[int, Field(ge=0, le=65535, description="its TCP port; 0 serves none")] = 7718
    api_url: Annotated[str, Field(description="where the API is, for links in the proxy's answers")] = (
        "http://127.0.0.1:7717"
    )
    egress_openings: Annotated[
        str,
        Field(
            description="what the operator opens of this machine and of private networks, for every workspace: "
            "`host:port` or `name:port=network,network`, separated by spaces"
        ),
    ] = ""
    max_requests_per_hour: Annotated[
        int,
        Field(
            ge=0,
            le=1_000_000,
            validation_alias="EGRESS_MAX_REQUESTS_PER_HOUR",
            description="quota of each workspace for what leaves the machine; 0 sets none",
        ),
    ] = 0
    secrets_master_key: Annotated[
        SecretStr | None,
        Field(
            validation_alias="SECRETS_MASTER_KEY",
            description="master key of the vault, 32 bytes in hexadecimal or base64; several by commas, new to old",
        ),
    ] = None
    secrets_key_file: Annotated[
        Path | None,
        Field(description="file of the master key where none is given, made at the first start, mode 0600"),
    ] = None
    secrets_keyring: Annotated[
        bool, Field(description="keep the master key in the system's keyring rather than in the file")
    ] = False
    blob_dir: Annotated[
        Path | None,
        Field(description="directory of contents too large for an event; without it such answers are cut short"),
    ] = None
    health_host: Annotated[str, Field(description="address that serves /healthz, /readyz and /metrics")] = "127.0.0.1"
    health_port: Annotated[int, Field(ge=0, le=65535, description="its TCP port; 0 serves nothing")] = 7722
