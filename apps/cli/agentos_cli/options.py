"""Options that many commands have, and how a command ends."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NoReturn

import typer

DataDirOption = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        help="Where the stack keeps its data. [env: AGENTOS_DATA_DIR]",
        readable=False,  # not to be judged by its parents: `create` and `doctor` say what is wrong
        show_default=False,
    ),
]
UrlOption = Annotated[
    str | None, typer.Option("--url", help="Of an API that runs elsewhere.", show_default=False, metavar="URL")
]
TokenFileOption = Annotated[
    Path | None, typer.Option("--token-file", help="File with the token to use.", show_default=False)
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
