"""Settings of the policy service."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from agentos_shared.host.settings import ServiceSettings


class PolicySettings(ServiceSettings):
    """What the policy service takes beside its Postgres role and its NATS user."""

    kill_switch_external_write: Annotated[
        bool,
        Field(
            validation_alias="POLICY_KILL_SWITCH_EXTERNAL_WRITE",
            description="1 stops whatever leaves this machine, and no call releases it",
        ),
    ] = False
    policy_dir: Annotated[
        Path | None,
        Field(description="directory of Cedar policies (*.cedar); empty or absent, the built-in rules decide"),
    ] = None
    health_host: Annotated[str, Field(description="address that serves /healthz, /readyz and /metrics")] = "127.0.0.1"
    health_port: Annotated[int, Field(ge=0, le=65535, description="its TCP port; 0 serves nothing")] = 7721
