"""``agentos open``: a one-time link for the local user's browser."""

import webbrowser
from datetime import UTC, datetime
from pathlib import Path

import typer

from agentos_cli import target
from agentos_runtime.errors import UsageError
from agentos_shared.tokens import links


def run(data_dir: Path | None, url: str | None, token_file: Path | None, browser: bool) -> int:
    """Prints the link, and opens it. Returns the exit code.

    Raises:
        UsageError: there is no token to make a link with. Unreachable: nothing runs on the data directory.
    """
    api = target.find(data_dir, url, token_file, None)
    if api.token is None:
        raise UsageError("There is no token of the local user here; name its file with --token-file.")
    made = link(api.url, api.token)
    typer.echo(f"{made}   (works once, for 5 minutes)")
    if browser:
        webbrowser.open(made)
    return 0


def link(url: str, token: str) -> str:
    """A link that signs a browser in at the API of this address.

    Args:
        token: the local user's.
    """
    return url + links.link_path(token, datetime.now(UTC))
