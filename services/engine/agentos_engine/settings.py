"""Settings of the engine service."""

from typing import Annotated, Literal

from pydantic import Field

from agentos_shared.host.settings import ServiceSettings


class EngineSettings(ServiceSettings):
    """What the engine service takes beside its Postgres role and its NATS user."""

    engine_mode: Annotated[
        Literal["embedded", "external"],
        Field(description="embedded: a worker of our own runs beside the engine; external: all engines are others"),
    ] = "embedded"
    health_host: Annotated[str, Field(description="address that serves /healthz, /readyz and /metrics")] = "127.0.0.1"
    health_port: Annotated[int, Field(ge=0, le=65535, description="its TCP port; 0 serves nothing")] = 7720
