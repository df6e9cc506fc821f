"""The ``agentos`` command. Each command's module is imported when it is called, so that the command starts quickly."""

from pathlib import Path
from typing import Annotated

import typer

from agentos_cli.egress_commands import egress
from agentos_cli.options import DataDirOption, JsonOption, TokenFileOption, UrlOption, guarded
from agentos_cli.secrets_commands import secrets

app = typer.Typer(
    name="agentos",
    help="Agent OS: see, stop and prove what AI agents do.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

audit = typer.Typer(help="Prove what happened.", no_args_is_help=True)
projections = typer.Typer(help="Read models: how far they are, build them anew, retry.", no_args_is_help=True)
app.add_typer(audit, name="audit")
app.add_typer(projections, name="projections")
policy = typer.Typer(help="Try policies before they are in force.", no_args_is_help=True)
app.add_typer(policy, name="policy")
app.add_typer(egress, name="egress")
app.add_typer(secrets, name="secrets")
keys = typer.Typer(help="The keys that capability tokens are signed with.", no_args_is_help=True)
app.add_typer(keys, name="keys")

KeyFileOption = Annotated[
    Path | None,
    typer.Option(
        "--file",
        envvar="AGENTOS_TOKEN_KEY_FILE",
        help="Of the keys; else that of the data directory.",
        show_default=False,
    ),
]
PoliciesArgument = Annotated[
    Path, typer.Argument(help="Directory with the policies (*.cedar).", metavar="DIRECTORY", show_default=False)
]


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


@app.command("open")
def open_(
    data_dir: DataDirOption = None,
    url: UrlOption = None,
    token_file: TokenFileOption = None,
    browser: Annotated[bool, typer.Option(help="Open it; else only print the link.")] = True,
) -> None:
    """Print a link that signs a browser in as the local user, once, and open it."""
    from agentos_cli import open_browser as command

    guarded(lambda: command.run(data_dir, url, token_file, browser))


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
    url: UrlOption = None,
    token_file: TokenFileOption = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Import recorded agent sessions: a thread each, with all that was said, and a run with a step for each turn."""
    from agentos_cli import import_trajectory as command

    guarded(lambda: command.run(files, data_dir, url, token_file, workspace, room, json))


@app.command()
def replay(
    files: Annotated[list[Path], typer.Argument(help="Recorded sessions (SWE-agent's .traj).", show_default=False)],
    room: Annotated[
        str | None, typer.Option("--room", help="In this room instead of a new one.", show_default=False)
    ] = None,
    workspace: Annotated[str, typer.Option("--workspace", help="Of the room.")] = "ws_dev",
    pace: Annotated[
        float, typer.Option(min=0, max=100, help="1 takes as long as the recording tells, 0 no longer than needed.")
    ] = 0,
    url: UrlOption = None,
    token_file: TokenFileOption = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Replay recorded agent sessions: a real worker claims a run for each, and does its steps and tool calls again."""
    from agentos_cli import replay as command

    guarded(lambda: command.run(files, data_dir, url, token_file, workspace, room, pace, json))


@app.command()
def doctor(
    data_dir: DataDirOption = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Of the API.", show_default=False)] = None,
    json: JsonOption = False,
) -> None:
    """Check what Agent OS needs, and say what to do about what is missing."""
    from agentos_cli import doctor as command

    guarded(lambda: command.doctor(data_dir, port, json))


@app.command()
def tail(
    room: Annotated[str, typer.Argument(help="Id of the room.", show_default=False)],
    data_dir: DataDirOption = None,
    url: UrlOption = None,
    token_file: TokenFileOption = None,
    workspace: Annotated[str | None, typer.Option(help="The room's workspace.", show_default=False)] = None,
    from_seq: Annotated[str, typer.Option(help="Start after this position; `latest` shows only what comes.")] = "0",
    follow: Annotated[bool, typer.Option(help="Go on with what happens; else end with the history.")] = True,
    json: JsonOption = False,
) -> None:
    """Show a room's events as they happen."""
    from agentos_cli import tail as command

    guarded(lambda: command.tail(room, data_dir, url, token_file, workspace, from_seq, json, follow))


@audit.command("verify")
def audit_verify(
    data_dir: DataDirOption = None,
    stream: Annotated[
        str | None, typer.Option(help="Only room/<room_id> or workspace/<workspace_id>.", show_default=False)
    ] = None,
    workspace: Annotated[str | None, typer.Option(help="Only this workspace's streams.", show_default=False)] = None,
    json: JsonOption = False,
) -> None:
    """Check the hash chain, straight from the database, whether the stack runs or not."""
    from agentos_cli import audit as command

    guarded(lambda: command.verify(data_dir, stream, workspace, json))


@audit.command("evidence")
def audit_evidence(
    run: Annotated[str, typer.Argument(help="run_..., whose evidence to check.", metavar="RUN")],
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Compute a run's evidence anew, straight from the database, and hold it against the recorded one."""
    from agentos_cli import audit_evidence as command

    guarded(lambda: command.evidence(data_dir, run, json))


@projections.command("status")
def projections_status(data_dir: DataDirOption = None, json: JsonOption = False) -> None:
    """Show how far the projections are behind the store, and which streams are parked."""
    from agentos_cli import projections as command

    guarded(lambda: command.status(data_dir, json))


@projections.command("rebuild")
def projections_rebuild(data_dir: DataDirOption = None, json: JsonOption = False) -> None:
    """Build all projections anew beside the live ones, then switch."""
    from agentos_cli import projections as command

    guarded(lambda: command.rebuild(data_dir, json))


@projections.command("retry")
def projections_retry(
    streams: Annotated[
        list[str] | None, typer.Argument(help="room/<room_id> ...; all parked ones when none.", show_default=False)
    ] = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Try parked streams again, once their cause is mended."""
    from agentos_cli import projections as command

    guarded(lambda: command.retry(data_dir, streams or [], json))


@policy.command("test")
def policy_test(directory: PoliciesArgument, json: JsonOption = False) -> None:
    """Check policies against the schema, and run the cases of the tests.toml beside them."""
    from agentos_cli import policies as command

    guarded(lambda: command.test(directory, json))


@policy.command("diff")
def policy_diff(
    directory: PoliciesArgument,
    active: Annotated[
        Path | None,
        typer.Option(help="Compare with this directory; else with that of the data directory.", show_default=False),
    ] = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Show which rules differ from those in force. Ends with 1 when some do."""
    from agentos_cli import policies as command

    guarded(lambda: command.diff(directory, active, data_dir, json))


@policy.command("simulate")
def policy_simulate(
    directory: PoliciesArgument,
    from_: Annotated[
        str | None, typer.Option("--from", help="Since when, RFC 3339; a week ago by default.", show_default=False)
    ] = None,
    to: Annotated[str | None, typer.Option("--to", help="Until when; now by default.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(min=1, max=5000, help="Look at the newest decisions, up to so many.")] = 1000,
    workspace: Annotated[
        str, typer.Option("--workspace", envvar="AGENTOS_WORKSPACE_ID", help="Whose decisions.")
    ] = "ws_dev",
    url: UrlOption = None,
    token_file: TokenFileOption = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Show which decisions on record would have been others under these policies."""
    from agentos_cli import policies as command

    guarded(lambda: command.simulate(directory, data_dir, url, token_file, workspace, (from_, to), limit, json))


@keys.command("list")
def keys_list(file: KeyFileOption = None, data_dir: DataDirOption = None, json: JsonOption = False) -> None:
    """Show the public halves of the keys; the first one signs, tokens of the others are still taken."""
    from agentos_cli import keys as command

    guarded(lambda: command.show(file, data_dir, json))


@keys.command("rotate")
def keys_rotate(
    drop_old: Annotated[
        bool, typer.Option("--drop-old", help="Keep no key of before: all tokens that were issued end.")
    ] = False,
    file: KeyFileOption = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Sign with a new key from now on. What runs takes it within a second."""
    from agentos_cli import keys as command

    guarded(lambda: command.rotate(file, data_dir, drop_old, json))


@app.command()
def migrate() -> None:
    """Prepare an external database (AGENTOS_POSTGRES_URL); `up` does it by itself."""
    from agentos_cli import migrate as command

    guarded(command.run)


def main() -> None:
    """Entry point; a wrong command line ends with 2."""
    app()


if __name__ == "__main__":
    main()
