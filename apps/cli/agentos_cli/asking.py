"""Asking the API on behalf of whoever runs the command."""

import asyncio
import getpass
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import agentos
from agentos_cli import target
from agentos_runtime.errors import RuntimeFailure, Unreachable

PATIENCE_S: Final = 10.0
FIRST_PATIENCE_S: Final = 3.0
#: Data directory, URL, token file, workspace.
Where = tuple[Path | None, str | None, Path | None, str]


def ask(
    where: Where,
    method: str,
    path: str,
    *,
    body: Mapping[str, Any] | None = None,
    query: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What the API answers to a request of the person at the keyboard.

    Raises:
        Unreachable: it cannot be reached. RuntimeFailure: it refuses.
    """
    api = target.find(*where)
    return asyncio.run(_answered(api, method, path, body, query))


async def _answered(
    api: target.Target, method: str, path: str, body: Mapping[str, Any] | None, query: Mapping[str, str] | None
) -> dict[str, Any]:
    await target.require_answer(api, FIRST_PATIENCE_S)
    try:
        async with agentos.AsyncClient(
            api.url,
            workspace_id=api.workspace_id,
            token=api.token,
            actor=("user", _user()),  # rules and secrets are set by people
            retry=agentos.Retry(PATIENCE_S),
        ) as client:
            return dict((await client.request(method, path, body=body, query=query)).members())
    except (agentos.Unreachable, agentos.Unavailable) as error:
        raise Unreachable(f"{api.url}: {error}. Try again in a moment; `agentos status` tells more.") from error
    except agentos.APIError as error:
        raise RuntimeFailure(f"Refused: {error} {error.next_step}") from error


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name
        return "cli"
