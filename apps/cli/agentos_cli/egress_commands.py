"""``agentos egress``: the commands. What they do is in ``egress.py``, imported when one is called."""

from pathlib import Path
from typing import Annotated

import typer

from agentos_cli.options import DataDirOption, JsonOption, TokenFileOption, UrlOption, guarded

egress = typer.Typer(help="Say what may leave this machine, and see what did.", no_args_is_help=True)

HostArgument = Annotated[
    str, typer.Argument(help="A name, *.example.org, an address, or *; with :PORT if need be.", show_default=False)
]
WorkspaceOption = Annotated[str, typer.Option("--workspace", help="Whose rules.")]
MethodOption = Annotated[
    list[str] | None,
    typer.Option(
        "--method", "-X", help="Only these; may be repeated. Allowed are reads otherwise.", show_default=False
    ),
]
PathOption = Annotated[
    str | None,
    typer.Option("--path", help="Only this path: * within a segment, ** over segments.", show_default=False),
]
PortOption = Annotated[int | None, typer.Option(min=1, max=65535, help="Only this port.", show_default=False)]
PrincipalOption = Annotated[
    str | None, typer.Option(help="Only of this principal or agent, by its id.", show_default=False)
]
RoomOption = Annotated[str | None, typer.Option(help="Only out of this room.", show_default=False)]
ZoneOption = Annotated[list[str] | None, typer.Option(help="Only in these zones; may be repeated.", show_default=False)]
ShadowOption = Annotated[bool, typer.Option("--shadow", help="Only note what it would have done.")]
ExpiresOption = Annotated[
    str | None, typer.Option("--expires", help="Until when, RFC 3339.", show_default=False, metavar="TIME")
]
NoteOption = Annotated[str | None, typer.Option(help="What it is for.", show_default=False)]


@egress.command()
def rules(
    all_: Annotated[bool, typer.Option("--all", help="Removed ones too.")] = False,
    host: Annotated[str | None, typer.Option(help="Only of this host.", show_default=False)] = None,
    workspace: WorkspaceOption = "ws_dev",
    url: UrlOption = None,
    token_file: TokenFileOption = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """List the rules."""
    from agentos_cli import egress as command

    guarded(lambda: command.rules(_where(data_dir, url, token_file, workspace), host, all_, json))


@egress.command()
def allow(
    host: HostArgument,
    method: MethodOption = None,
    tunnel: Annotated[
        bool, typer.Option("--tunnel", help="Let HTTPS through the proxy unseen (CONNECT); anything may go in there.")
    ] = False,
    path: PathOption = None,
    port: PortOption = None,
    principal: PrincipalOption = None,
    room: RoomOption = None,
    zone: ZoneOption = None,
    rate: Annotated[
        str | None,
        typer.Option(help="So many requests in so long, each principal: 60/1m.", show_default=False, metavar="N/TIME"),
    ] = None,
    max_request: Annotated[
        int | None, typer.Option(min=0, help="Bytes of a request's body.", show_default=False)
    ] = None,
    max_response: Annotated[
        int | None, typer.Option(min=0, help="Bytes of an answer's body.", show_default=False)
    ] = None,
    private: Annotated[
        bool, typer.Option("--private", help="It is on this machine or in a private network; needs a port.")
    ] = False,
    network: Annotated[
        list[str] | None,
        typer.Option(help="Where a private name may lead: 10.0.0.0/8; may be repeated.", show_default=False),
    ] = None,
    shadow: ShadowOption = False,
    expires: ExpiresOption = None,
    note: NoteOption = None,
    workspace: WorkspaceOption = "ws_dev",
    url: UrlOption = None,
    token_file: TokenFileOption = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Let requests to a host out, without asking each time."""
    from agentos_cli import egress as command

    body = _body("allow", host, method, path, port, principal, room, zone, shadow, expires, note)
    body |= {"tunnel": tunnel, "rate": rate, "private": private or None, "networks": network}
    body |= {"request_bytes": max_request, "response_bytes": max_response}
    guarded(lambda: command.set_rule(_where(data_dir, url, token_file, workspace), body, json))


@egress.command()
def deny(
    host: HostArgument,
    method: MethodOption = None,
    path: PathOption = None,
    port: PortOption = None,
    principal: PrincipalOption = None,
    room: RoomOption = None,
    zone: ZoneOption = None,
    shadow: ShadowOption = False,
    expires: ExpiresOption = None,
    note: NoteOption = None,
    workspace: WorkspaceOption = "ws_dev",
    url: UrlOption = None,
    token_file: TokenFileOption = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Let no request to a host out, whatever else allows it."""
    from agentos_cli import egress as command

    body = _body("deny", host, method, path, port, principal, room, zone, shadow, expires, note)
    guarded(lambda: command.set_rule(_where(data_dir, url, token_file, workspace), body, json))


@egress.command()
def ask(
    host: HostArgument,
    method: MethodOption = None,
    path: PathOption = None,
    port: PortOption = None,
    principal: PrincipalOption = None,
    room: RoomOption = None,
    zone: ZoneOption = None,
    shadow: ShadowOption = False,
    expires: ExpiresOption = None,
    note: NoteOption = None,
    workspace: WorkspaceOption = "ws_dev",
    url: UrlOption = None,
    token_file: TokenFileOption = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Have a person approve each request to a host, whatever else allows it."""
    from agentos_cli import egress as command

    body = _body("require_approval", host, method, path, port, principal, room, zone, shadow, expires, note)
    guarded(lambda: command.set_rule(_where(data_dir, url, token_file, workspace), body, json))


@egress.command()
def remove(
    rule: Annotated[str, typer.Argument(help="egrl_..., from `agentos egress rules`.", metavar="RULE")],
    reason: Annotated[str | None, typer.Option(help="Why.", show_default=False)] = None,
    workspace: WorkspaceOption = "ws_dev",
    url: UrlOption = None,
    token_file: TokenFileOption = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Remove a rule."""
    from agentos_cli import egress as command

    guarded(lambda: command.remove(_where(data_dir, url, token_file, workspace), rule, reason, json))


@egress.command()
def log(
    room: Annotated[str | None, typer.Option(help="Only out of this room.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="The newest, up to so many.")] = 50,
    workspace: WorkspaceOption = "ws_dev",
    url: UrlOption = None,
    token_file: TokenFileOption = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """List requests that left, or were not let out."""
    from agentos_cli import egress as command

    guarded(lambda: command.log(_where(data_dir, url, token_file, workspace), room, limit, json))


def _where(
    data_dir: Path | None, url: str | None, token_file: Path | None, workspace: str
) -> tuple[Path | None, str | None, Path | None, str]:
    return data_dir, url, token_file, workspace


def _body(
    effect: str,
    host: str,
    methods: list[str] | None,
    path: str | None,
    port: int | None,
    principal: str | None,
    room: str | None,
    zones: list[str] | None,
    shadow: bool,
    expires: str | None,
    note: str | None,
) -> dict[str, object]:
    return {
        "effect": effect,
        "host": host,
        "methods": [name.upper() for name in methods] if methods else None,
        "path": path,
        "port": port,
        "principal": principal,
        "room_id": room,
        "zones": zones or None,
        "mode": "shadow" if shadow else None,
        "expires_at": expires,
        "note": note,
    }
