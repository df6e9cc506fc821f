"""What a client takes from the environment where its arguments say nothing."""

import os
from dataclasses import dataclass, field
from typing import Final

DEFAULT_URL: Final = "http://127.0.0.1:7717"
DEFAULT_WORKSPACE: Final = "ws_dev"


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the API is, and as whom to speak to it.

    Args:
        token: of ``Authorization: Bearer``; None in open mode.
        engine_id, engine_token: credentials of a registered engine, for claims and leases.
    """

    url: str = DEFAULT_URL
    workspace_id: str = DEFAULT_WORKSPACE
    token: str | None = field(default=None, repr=False)
    engine_id: str | None = None
    engine_token: str | None = field(default=None, repr=False)


def load(
    url: str | None = None,
    workspace_id: str | None = None,
    token: str | None = None,
    engine_id: str | None = None,
    engine_token: str | None = None,
) -> Settings:
    """Arguments, else ``AGENTOS_URL``, ``AGENTOS_WORKSPACE_ID``, ``AGENTOS_TOKEN``, ``AGENTOS_ENGINE_ID`` and
    ``AGENTOS_ENGINE_TOKEN``, else the defaults."""
    return Settings(
        url=(url or os.environ.get("AGENTOS_URL") or DEFAULT_URL).rstrip("/"),
        workspace_id=workspace_id or os.environ.get("AGENTOS_WORKSPACE_ID") or DEFAULT_WORKSPACE,
        token=token or os.environ.get("AGENTOS_TOKEN") or None,
        engine_id=engine_id or os.environ.get("AGENTOS_ENGINE_ID") or None,
        engine_token=engine_token or os.environ.get("AGENTOS_ENGINE_TOKEN") or None,
    )
