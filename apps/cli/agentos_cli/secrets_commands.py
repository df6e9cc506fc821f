"""``agentos secrets``: the commands. What they do is in ``secrets.py``, imported when one is called."""

from pathlib import Path
from typing import Annotated

import typer

from agentos_cli.options import DataDirOption, JsonOption, TokenFileOption, UrlOption, guarded

secrets = typer.Typer(help="Keep secrets that agents name and never see.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(help="As requests name it: {{secret:NAME}}.", show_default=False)]
WorkspaceOption = Annotated[str, typer.Option("--workspace", help="Whose secrets.")]
HostOption = Annotated[
    list[str] | None,
    typer.Option("--host", help="Where it may go: a name or *.example.org; may be repeated.", show_default=False),
]
MethodOption = Annotated[
    list[str] | None,
    typer.Option("--method", "-X", help="Only with these; may be repeated. All otherwise.", show_default=False),
]
PlaceOption = Annotated[
    list[str] | None,
    typer.Option("--in", help="header, query or body; may be repeated. header otherwise.", show_default=False),
]
NoteOption = Annotated[str | None, typer.Option("--description", help="What it is for.", show_default=False)]


@secrets.command("set")
def set_(
    name: NameArgument,
    host: HostOption = None,
    method: MethodOption = None,
    place: PlaceOption = None,
    description: NoteOption = None,
    workspace: WorkspaceOption = "ws_dev",
    url: UrlOption = None,
    token_file: TokenFileOption = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Keep a secret. Its value is asked for, or read from standard input; never give it as an argument."""
    from agentos_cli import secrets as command

    bound = {"hosts": host, "methods": method, "inject_in": place, "description": description}
    guarded(lambda: command.keep(_where(data_dir, url, token_file, workspace), name, bound, json))


@secrets.command("list")
def list_(
    workspace: WorkspaceOption = "ws_dev",
    url: UrlOption = None,
    token_file: TokenFileOption = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """List the secrets, without their values."""
    from agentos_cli import secrets as command

    guarded(lambda: command.show(_where(data_dir, url, token_file, workspace), json))


@secrets.command()
def rotate(
    name: NameArgument,
    workspace: WorkspaceOption = "ws_dev",
    url: UrlOption = None,
    token_file: TokenFileOption = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Give a secret a new value; where it may go stays as it is."""
    from agentos_cli import secrets as command

    guarded(lambda: command.keep(_where(data_dir, url, token_file, workspace), name, {"must_exist": True}, json))


@secrets.command()
def rm(
    name: NameArgument,
    workspace: WorkspaceOption = "ws_dev",
    url: UrlOption = None,
    token_file: TokenFileOption = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Remove a secret with all its versions."""
    from agentos_cli import secrets as command

    guarded(lambda: command.remove(_where(data_dir, url, token_file, workspace), name, json))


@secrets.command("rotate-key")
def rotate_key(
    workspace: WorkspaceOption = "ws_dev",
    url: UrlOption = None,
    token_file: TokenFileOption = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Change the vault's master key; secrets stay as they are."""
    from agentos_cli import secrets as command

    guarded(lambda: command.rotate_key(_where(data_dir, url, token_file, workspace), json))


def _where(
    data_dir: Path | None, url: str | None, token_file: Path | None, workspace: str
) -> tuple[Path | None, str | None, Path | None, str]:
    return data_dir, url, token_file, workspace
