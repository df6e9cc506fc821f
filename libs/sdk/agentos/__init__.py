"""Agent OS for agents and engines: clients, live streams, workers. See docs/sdk.md."""

from agentos.aio.client import AsyncClient
from agentos.aio.context import AsyncRunContext, AsyncStepContext
from agentos.errors import (
    AccessDenied,
    ActionRefused,
    AgentOSError,
    APIError,
    ApprovalRefused,
    BadRequest,
    Conflict,
    LeaseLost,
    NotFound,
    ToolRefused,
    TryAgain,
    Unavailable,
    Unreachable,
)
from agentos.guard import guarded
from agentos.models import EgressRefused, EgressResult
from agentos.retry import Retry
from agentos.sync.client import Client
from agentos.sync.context import RunContext, StepContext
from agentos.tokens import TokenError, narrow
from agentos.worker import Worker

__all__ = [
    "APIError",
    "AccessDenied",
    "ActionRefused",
    "AgentOSError",
    "ApprovalRefused",
    "AsyncClient",
    "AsyncRunContext",
    "AsyncStepContext",
    "BadRequest",
    "Client",
    "Conflict",
    "EgressRefused",
    "EgressResult",
    "LeaseLost",
    "NotFound",
    "Retry",
    "RunContext",
    "StepContext",
    "TokenError",
    "ToolRefused",
    "TryAgain",
    "Unavailable",
    "Unreachable",
    "Worker",
    "guarded",
    "narrow",
]
