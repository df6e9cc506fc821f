"""``agentos egress``: what may leave this machine, and what did."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from agentos_cli.asking import ask
from agentos_runtime.errors import UsageError

RULES: Final = "/v1/egress/rules"
READS: Final = ("GET", "HEAD", "OPTIONS")
#: Data directory, URL, token file, workspace.
Where = tuple[Path | None, str | None, Path | None, str]
_COLOURS: Final = {"allow": "green", "deny": "red", "require_approval": "yellow"}
_RATE: Final = re.compile(r"([1-9][0-9]*)/([1-9][0-9]*)?(s|m|h|d)")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def rules(where: Where, host: str | None, removed: bool, as_json: bool) -> int:
    """List rules; 0."""
    query = {"limit": "200", "host": host, "status": None if removed else "active"}
    found = _all(where, RULES, query, "rules")
    if as_json:
        _print_json(found)
        return 0
    if not found:
        typer.echo("No rules: reads and writes alike need an approval. `agentos egress allow HOST` sets one.")
        return 0
    table = _table()
    table.add_column("rule", no_wrap=True)
    table.add_column("says", overflow="fold")
    for rule in found:
        table.add_row(Text(rule["rule_id"]), _told(rule))
    Console().print(table)
    return 0


def set_rule(where: Where, body: dict[str, Any], as_json: bool) -> int:
    """Put a rule in force; 0."""
    host, port = _split(body["host"])
    if body.pop("tunnel", False):
        body["methods"] = sorted({*(body["methods"] or READS), "CONNECT"})
    rate = body.pop("rate", None)
    body |= {"host": host, "port": body["port"] or port, "rate": None if rate is None else _rate(rate)}
    told = ask(where, "POST", RULES, body={name: value for name, value in body.items() if value is not None})
    if as_json:
        _print_json(told)
    else:
        effect = body["effect"].replace("_", " ")
        typer.secho(f"{told['rule_id']}: {effect} {host}", fg=_COLOURS[body["effect"]].replace("_", ""))
    return 0


def remove(where: Where, rule_id: str, reason: str | None, as_json: bool) -> int:
    """Remove a rule; 0."""
    body = {"rule_id": rule_id} | ({} if reason is None else {"reason": reason})
    told = ask(where, "POST", f"{RULES}/remove", body=body)
    if as_json:
        _print_json(told)
    else:
        typer.echo(f"{rule_id} is removed.")
    return 0


def log(where: Where, room: str | None, limit: int, as_json: bool) -> int:
    """List requests, the newest first; 0."""
    query = {"limit": str(limit)} | ({} if room is None else {"room_id": room})
    found = ask(where, "GET", "/v1/egress/requests", query=query)["requests"]
    if as_json:
        _print_json(found)
        return 0
    table = _table()
    for heading in ("at", "request", "decision"):
        table.add_column(heading, overflow="fold")
    for one in found:
        decision = one["policy_decision"] or ""
        words = Text(decision.replace("_", " "), style=_COLOURS.get(decision, ""))
        watched = "would be denied" if one["would_deny"] else None
        told = (one["policy_reason_code"], one["status"], watched)
        words.append("\n" + ", ".join(filter(None, told)), style="dim")
        asked = f"{one['method']} {one['target_url']}\n"
        who = f"{one['requested_by_type']} {one['requested_by_id']}, {one['egress_request_id']}"
        table.add_row(Text(one["created_at"]), Text.assemble(asked, (who, "dim")), words)
    Console().print(table)
    return 0


def _all(where: Where, path: str, query: Mapping[str, str | None], name: str) -> list[dict[str, Any]]:
    """All pages of a list."""
    found: list[dict[str, Any]] = []
    wanted = {key: value for key, value in query.items() if value is not None}
    while True:
        page = ask(where, "GET", path, query=wanted)
        found += page[name]
        if page["next_cursor"] is None:
            return found
        wanted["cursor"] = page["next_cursor"]


def _split(text: str) -> tuple[str, int | None]:
    """A host, and its port where it is written behind it."""
    if "/" in text:
        raise UsageError(f"{text}: give the host alone, and --path for a path.")
    host, colon, port = text.rpartition(":")
    if not colon or (":" in host and not host.endswith("]")):
        return text, None
    if not port.isdigit() or not 1 <= int(port) <= 65535:
        raise UsageError(f"{text}: what follows the colon is no port.")
    return host, int(port)


def _rate(text: str) -> dict[str, int]:
    found = _RATE.fullmatch(text)
    if found is None:
        raise UsageError(f"--rate {text}: is written like 60/1m, with s, m, h or d.")
    return {"requests": int(found[1]), "per_s": int(found[2] or 1) * _SECONDS[found[3]]}


def _told(rule: Mapping[str, Any]) -> Text:
    """A rule in words, on two lines."""
    port = "" if rule["port"] is None else f":{rule['port']}"
    state = "removed" if rule["status"] == "removed" else "shadow" if rule["mode"] == "shadow" else None
    methods = rule["methods"] or (["reads"] if rule["effect"] == "allow" else [])
    whose = (rule["principal"], rule["room_id"], "/".join(rule["zones"] or ()))
    until = f"until {rule['expires_at']}" if rule["expires_at"] else None
    details = (
        state,
        " ".join([*methods, *filter(None, (rule["path"],))]),
        "private" if rule["private"] else None,
        *(f"of {name}" for name in whose if name),
        _limits(rule),
        until,
        rule["note"],
    )
    return Text.assemble(
        (rule["effect"].replace("_", " "), "dim" if state else _COLOURS[rule["effect"]]),
        f" {rule['host']}{port}\n",
        (", ".join(filter(None, details)), "dim"),
    )


def _limits(rule: Mapping[str, Any]) -> str:
    told: list[str] = []
    if rule["rate"] is not None:
        rate = rule["rate"]
        told.append(f"{rate['requests']} in {rate['per_s']} s" + ("" if rate["per"] == "principal" else " in all"))
    for name, label in (("request_bytes", "up"), ("response_bytes", "down")):
        if rule[name] is not None:
            told.append(f"{rule[name]:,} bytes {label}")
    return ", ".join(told)


def _table() -> Table:
    return Table(show_lines=True)


def _print_json(document: Any) -> None:
    typer.echo(json.dumps(document, indent=1))
