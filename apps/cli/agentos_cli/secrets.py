"""``agentos secrets``: what the vault keeps. A value is typed or piped in, and goes to the API alone."""

import getpass
import json
import sys
from collections.abc import Mapping
from typing import Any, Final

import typer
from rich.console import Console
from rich.table import Table

from agentos_cli.asking import Where, ask
from agentos_runtime.errors import UsageError

SECRETS: Final = "/v1/secrets"


def keep(where: Where, name: str, bound: Mapping[str, Any], as_json: bool) -> int:
    """Keep a secret or a new version of it; 0."""
    body = {key: value for key, value in bound.items() if value is not None}
    told = ask(where, "POST", SECRETS, body={**body, "secret_name": name, "secret_value": _value(name)})
    if as_json:
        _print_json(told)
        return 0
    goes = ", ".join(told["hosts"]) or "nowhere yet: --host says where it may go"
    typer.echo(f"{name}, version {told['version']}: goes to {goes}. Name it as {{{{secret:{name}}}}}.")
    return 0


def show(where: Where, as_json: bool) -> int:
    """List secrets; 0."""
    found = ask(where, "GET", SECRETS, query={"limit": "200"})["secrets"]
    if as_json:
        _print_json(found)
        return 0
    if not found:
        typer.echo("No secrets. `agentos secrets set NAME --host HOST` keeps one.")
        return 0
    table = Table()
    for column in ("name", "version", "goes to", "in", "set", "used last"):
        table.add_column(column, overflow="fold")
    for secret in found:
        hosts = " ".join([*secret["methods"], *secret["hosts"]])
        places = " ".join(secret["inject_in"])
        used = secret["last_accessed_at"] or ""
        table.add_row(secret["secret_name"], str(secret["version"]), hosts, places, secret["updated_at"], used)
    Console().print(table)
    return 0


def remove(where: Where, name: str, as_json: bool) -> int:
    """Remove a secret; 0."""
    told = ask(where, "POST", f"{SECRETS}/{name}/remove", body={})
    if as_json:
        _print_json(told)
    else:
        typer.echo(f"{told['secret_name']} is gone.")
    return 0


def rotate_key(where: Where, as_json: bool) -> int:
    """Change the master key; 0."""
    told = ask(where, "POST", f"{SECRETS}/rotate-key", body={})
    if as_json:
        _print_json(told)
    else:
        typer.echo(f"The master key is {told['key_id']} now; {told['rewrapped']} values are wrapped with it.")
    return 0


def _value(name: str) -> str:
    if sys.stdin.isatty():
        value = getpass.getpass(f"Value of {name}: ")
        if value != getpass.getpass("Once more: "):
            raise UsageError("The two differ.")
        return value
    value = sys.stdin.read()
    return value.removesuffix("\n").removesuffix("\r")


def _print_json(document: Any) -> None:
    typer.echo(json.dumps(document, indent=1))
