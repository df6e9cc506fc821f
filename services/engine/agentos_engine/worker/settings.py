"""Settings of the embedded worker, and the environment that it is given."""

import os
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field

from agentos_shared.host.settings import Settings

#: What the worker's process must not see.
_WITHHELD: Final = ("_POSTGRES_URL", "_NATS_URL")


class WorkerSettings(Settings):
    """What the embedded worker takes."""

    url: Annotated[str, Field(description="address of the API")] = "http://127.0.0.1:7717"
    auth: Annotated[Literal["open", "enforced"], Field(description="as the API has it")] = "open"
    local_token_file: Annotated[
        Path | None, Field(description="file with the local user's token; needed where access is enforced")
    ] = None
    worker_workspaces: Annotated[
        str, Field(min_length=1, description="workspaces whose runs it claims, separated by commas")
    ] = "ws_dev"
    worker_concurrency: Annotated[int, Field(ge=1, le=64, description="runs at once, in each workspace")] = 4
    worker_shell_commands: Annotated[
        str,
        Field(description="commands that handler `shell` may start, separated by commas; empty: no such handler"),
    ] = ""
    worker_shell_network: Annotated[
        Literal["none", "allow"],
        Field(description="none: commands have no network, and none starts where that cannot be had; allow: they have"),
    ] = "none"
    worker_shell_timeout_s: Annotated[int, Field(ge=1, le=3600, description="seconds that one command may take")] = 60
    worker_shell_output_kb: Annotated[
        int, Field(ge=1, le=200, description="KiB of output that one command may write, to stdout and to stderr each")
    ] = 64


def without_passwords() -> dict[str, str]:
    """The environment of the worker's process."""
    return {name: value for name, value in os.environ.items() if not name.endswith(_WITHHELD)}
