"""Which API a command talks to: that of the running stack, or one that was named."""

from dataclasses import dataclass
from pathlib import Path

import httpx

import agentos
from agentos_runtime import settings as runtime_settings
from agentos_runtime.datadir import DataDir
from agentos_runtime.errors import Unreachable, UsageError
from agentos_runtime.supervisor import read_status


@dataclass(frozen=True, slots=True)
class Target:
    """An API and how to speak to it."""

    url: str
    token: str | None
    workspace_id: str | None

    def headers(self) -> dict[str, str]:
        """Of every request."""
        headers = {"user-agent": "agentos-cli"}
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        if self.workspace_id:
            headers["x-workspace-id"] = self.workspace_id
        return headers


def find(data_dir: Path | None, url: str | None, token_file: Path | None, workspace_id: str | None) -> Target:
    """The API at ``url``, else that of the stack on the data directory, with the local user's token where it has one.

    Raises:
        UsageError: the URL or the token file is no such thing.
        Unreachable: nothing runs on the data directory.
    """
    if url is not None:
        if not url.startswith(("http://", "https://")):
            raise UsageError(f"--url {url}: must start with http:// or https://.")
        return Target(url.rstrip("/"), _token(token_file) if token_file else None, workspace_id)
    data = DataDir(runtime_settings.load(data_dir).data_dir)
    found = read_status(data)
    if found is None or not found.get("url"):
        raise Unreachable(f"Nothing runs on {data.root}. Start it with `agentos up`, or name an API with --url.")
    own = token_file or (data.local_token if data.local_token.exists() else None)
    return Target(str(found["url"]), _token(own) if own else None, workspace_id)


def client(api: Target, actor: str, retry: agentos.Retry | None = None) -> agentos.AsyncClient:
    """A client of it, as a service of that name."""
    return agentos.AsyncClient(
        api.url, workspace_id=api.workspace_id, token=api.token, actor=("service", actor), retry=retry
    )


async def require_answer(api: Target, patience_s: float) -> None:
    """Make sure that there is an API.

    Raises:
        Unreachable: nothing answered in time. UsageError: the URL is none.
    """
    try:
        async with client(api, "agentos-cli", agentos.Retry(patience_s)) as asking:
            await asking.request("GET", "/healthz")
    except httpx.InvalidURL as error:
        raise UsageError(f"{api.url} is no address of an API: {error}.") from error
    except (agentos.Unreachable, agentos.Unavailable) as error:
        raise Unreachable(
            f"{api.url}: no answer for {patience_s:.0f} s ({error}). Start the stack with `agentos up`, then run the "
            "same command again."
        ) from error


def _token(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: holds no readable token: {error}.") from error
