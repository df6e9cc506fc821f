"""The ``agentos`` command. Each command's module is imported when it is called, so that the command starts quickly."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NoReturn

import typer

app = typer.Typer(
    name="agentos",
    help="Agent OS: see, stop and prove what AI agents do.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

DataDirOption = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Where the stack keeps its data. [env: AGENTOS_DATA_DIR]", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="For machines.")]


def fail(message: str, code: int) -> NoReturn:
    """Ends the command with one line on stderr."""
    typer.secho(message, err=True, fg=typer.colors.RED)
    raise typer.Exit(code)


def guarded(work: Callable[[], int]) -> NoReturn:
    """Runs a command's work; a failure that a person can act on becomes its message and exit code."""
    from agentos_runtime.errors import RuntimeFailure

    try:
        code = work()
    except RuntimeFailure as failure:
        fail(str(failure), failure.exit_code)
    except KeyboardInterrupt:
        code = 130
    raise typer.Exit(code)


@app.command()
def up(
    data_dir: DataDirOption = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Of the API; 0 takes a free one. [env: AGENTOS_PORT]", show_default=False),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return once the stack is ready.")] = False,
) -> None:
    """Start everything and print the address. Ctrl-C stops it."""
    from agentos_cli import up as command

    guarded(lambda: command.up(data_dir, port, detach))


@app.command()
def down(data_dir: DataDirOption = None) -> None:
    """Stop what `up` has started."""
    from agentos_cli import status as command

    guarded(lambda: command.down(data_dir))


@app.command()
def status(data_dir: DataDirOption = None, json: JsonOption = False) -> None:
    """Show what runs. With --json also the connection URLs, which hold passwords."""
    from agentos_cli import status as command

    guarded(lambda: command.status(data_dir, json))


@app.command("import-trajectory")
def import_trajectory(
    files: Annotated[list[Path], typer.Argument(help="Recorded sessions (SWE-agent's .traj).", show_default=False)],
    room: Annotated[
        str | None, typer.Option("--room", help="Into this room instead of a new one.", show_default=False)
    ] = None,
    workspace: Annotated[str, typer.Option("--workspace", help="Of the room.")] = "ws_dev",
    url: Annotated[
        str | None, typer.Option("--url", help="Of the API, instead of the stack's.", show_default=False)
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="Credential for --url.", show_default=False)
    ] = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Import recorded agent sessions: one thread a session, each thought, action and observation a message."""
    from agentos_cli import import_trajectory as command

    guarded(lambda: command.run(files, data_dir, url, token_file, workspace, room, json))


if __name__ == "__main__":
    sys.exit(app())
