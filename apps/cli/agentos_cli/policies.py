"""``agentos policy``: try policies before they are in force."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

import agentos
from agentos_cli import target
from agentos_policy import cases
from agentos_policy.cedar import BrokenBundle, Bundle
from agentos_policy.shelf import DEFAULT
from agentos_runtime import settings as runtime_settings
from agentos_runtime.datadir import DataDir
from agentos_runtime.errors import RuntimeFailure, Unreachable, UsageError

#: How long the API may take for a simulation, and how long it is asked for an answer at all.
PATIENCE_S: Final = 60.0
FIRST_PATIENCE_S: Final = 3.0
_COLOURS: Final = {"added": "green", "removed": "red", "changed": "yellow"}


def test(directory: Path, as_json: bool) -> int:
    """0 when the policies can be taken and every case is met, 1 otherwise."""
    texts = _texts(directory)
    try:
        found = cases.cases(directory)
        results = cases.run(found.cases, _bundle(directory, texts), found.rules)
    except cases.BrokenCases as error:
        raise RuntimeFailure(f"{error}. Mend the file, then run the command again.") from error
    failed = [result for result in results if not result.met]
    if as_json:
        _print_json({"files": sorted(texts), "cases": [_result(result) for result in results], "failed": len(failed)})
        return 1 if failed else 0
    typer.secho(f"{len(texts)} files of policies can be taken.", fg=typer.colors.GREEN)
    if failed:
        table = _table("Not as expected", "case", "expected", "decided", "by")
        for result in failed:
            rules = ", ".join(rule.rule_id for rule in result.decision.determining_rules)
            wanted = result.case.expect + (f" by {result.case.rule}" if result.case.rule else "")
            table.add_row(*map(Text, (result.case.name, wanted, result.decision.decision, rules)))
        Console().print(table)
    colour = typer.colors.RED if failed else typer.colors.GREEN
    typer.secho(f"{len(results) - len(failed)} of {len(results)} cases are met.", fg=colour)
    return 1 if failed else 0


def diff(directory: Path, active: Path | None, data_dir: Path | None, as_json: bool) -> int:
    """0 when both have the same rules, 1 when not."""
    now = active or DataDir(runtime_settings.load(data_dir).data_dir).root / "policies"
    held = _texts(now) if active is not None or now.is_dir() else {}
    before = _bundle(now, held or {"default.cedar": DEFAULT}).rules()
    after = _bundle(directory, _texts(directory)).rules()
    changes = [_change(name, before.get(name), after.get(name)) for name in sorted(before | after)]
    changes = [change for change in changes if change["before"] != change["after"]]
    if as_json:
        _print_json({"active": str(now), "candidate": str(directory), "changes": changes})
        return 1 if changes else 0
    for change in changes:
        typer.secho(f"{change['what']} {change['id']}", fg=_COLOURS[change["what"]])
        for sign, text in (("-", change["before"]), ("+", change["after"])):
            for line in (text or "").splitlines():
                typer.secho(f"  {sign} {line}", fg=_COLOURS["removed" if sign == "-" else "added"])
    typer.echo(f"{len(changes)} rules differ." if changes else "The same rules.")
    return 1 if changes else 0


def simulate(
    directory: Path,
    data_dir: Path | None,
    url: str | None,
    token_file: Path | None,
    workspace_id: str,
    between: tuple[str | None, str | None],
    limit: int,
    as_json: bool,
) -> int:
    """Ask the API what these policies would have decided; 0 whatever comes of it.

    Args:
        between: from when to when, RFC 3339.
    """
    api = target.find(data_dir, url, token_file, workspace_id)
    body = {"bundle": _texts(directory), "from": between[0], "to": between[1], "limit": limit}
    told = asyncio.run(_ask(api, {name: value for name, value in body.items() if value is not None}))
    if as_json:
        _print_json(told)
    else:
        _tell(told)
    return 0


async def _ask(api: target.Target, body: Mapping[str, Any]) -> Mapping[str, Any]:
    await target.require_answer(api, FIRST_PATIENCE_S)
    try:
        async with target.client(api, "agentos-cli", agentos.Retry(PATIENCE_S)) as client:
            return (await client.request("POST", "/v1/policy/simulate", body=body)).members()
    except (agentos.Unreachable, agentos.Unavailable) as error:
        raise Unreachable(f"{api.url}: {error}. Try again in a moment; `agentos status` tells more.") from error
    except agentos.APIError as error:
        raise RuntimeFailure(f"Refused: {error} {error.next_step}") from error


def _tell(told: Mapping[str, Any]) -> None:
    if told["changes"]:
        table = _table("Would have been decided otherwise", "at", "what", "who", "before", "after", "by", "event")
        for change in told["changes"]:
            rules = ", ".join(rule["rule_id"] for rule in change["after"]["determining_rules"])
            what = " ".join(filter(None, (change["action"], change["tool_name"])))
            verdicts = change["before"]["decision"], change["after"]["decision"]
            row = (change["recorded_at"], what, change["actor_id"], *verdicts, rules, change["event_id"])
            table.add_row(*map(Text, row))
        Console().print(table)
    for turned in told["turned"]:
        typer.echo(f"{turned['count']:>7,} from {turned['before']} to {turned['after']}")
    typer.echo(f"{told['changed']:,} of {told['looked_at']:,} decisions would have been others.")
    if told["changed"] > len(told["changes"]):
        typer.secho(f"Only the newest {len(told['changes'])} are listed.", fg=typer.colors.YELLOW)
    if told["not_replayable"]:
        text = f"{told['not_replayable']:,} do not carry all that they were made on, and could not be made again."
        typer.secho(text, fg=typer.colors.YELLOW)
    if not told["complete"]:
        typer.secho("There are older ones in that time: raise --limit.", fg=typer.colors.YELLOW)


def _texts(directory: Path) -> dict[str, str]:
    """Raises UsageError: there are no policies, or they cannot be read."""
    try:
        texts = cases.texts(directory)
    except (OSError, ValueError) as error:
        raise UsageError(f"{directory}: cannot be read as a directory of policies: {error}.") from error
    if not texts:
        raise UsageError(f"{directory}: holds no policies (*.cedar).")
    return texts


def _bundle(directory: Path, texts: Mapping[str, str]) -> Bundle:
    """Raises RuntimeFailure: they cannot be taken."""
    try:
        return Bundle(texts, "")
    except BrokenBundle as error:
        raise RuntimeFailure(f"{directory}: these policies cannot be taken: {error}") from error


def _change(name: str, before: str | None, after: str | None) -> dict[str, Any]:
    what = "added" if before is None else "removed" if after is None else "changed"
    return {"id": name, "what": what, "before": before, "after": after}


def _result(result: cases.Result) -> dict[str, Any]:
    decision = result.decision
    return {
        "name": result.case.name,
        "met": result.met,
        "expected": result.case.expect,
        "expected_rule": result.case.rule,
        "decision": decision.decision,
        "reason_code": decision.reason_code,
        "determining_rules": [rule.told() for rule in decision.determining_rules],
    }


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _print_json(document: Any) -> None:
    typer.echo(json.dumps(document, indent=1))
