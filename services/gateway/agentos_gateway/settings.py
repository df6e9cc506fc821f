"""Settings of the gateway service."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from agentos_shared.host.settings import ServiceSettings


class GatewaySettings(ServiceSettings):
    """What the gateway takes beside its Postgres role and its NATS user."""

    gateway_host: Annotated[str, Field(description="address of the forward proxy")] = "127.0.0.1"
    gateway_port: Annotated[int, Field(ge=0, le=65535, description="its TCP port; 0 serves none")] = 7718
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
    blob_dir: Annotated[
        Path | None,
        Field(description="directory of contents too large for an event; without it such answers are cut short"),
    ] = None
    health_host: Annotated[str, Field(description="address that serves /healthz, /readyz and /metrics")] = "127.0.0.1"
    health_port: Annotated[int, Field(ge=0, le=65535, description="its TCP port; 0 serves nothing")] = 7722
