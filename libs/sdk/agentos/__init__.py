"""Agent OS for agents and engines: clients, live streams, workers. See docs/sdk.md."""

from agentos.aio.client import AsyncClient
from agentos.errors import (
    AccessDenied,
    AgentOSError,
    APIError,
    BadRequest,
    Conflict,
    LeaseLost,
    NotFound,
    ToolRefused,
    TryAgain,
    Unavailable,
    Unreachable,
)
from agentos.retry import Retry
from agentos.sync.client import Client

__all__ = [
    "APIError",
    "AccessDenied",
    "AgentOSError",
    "AsyncClient",
    "BadRequest",
    "Client",
    "Conflict",
    "LeaseLost",
    "NotFound",
    "Retry",
    "ToolRefused",
    "TryAgain",
    "Unavailable",
    "Unreachable",
]
