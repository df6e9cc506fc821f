"""``make bench``, ``make bench ONLY=store``: measures, prints the table, tells which targets are reached."""

import argparse
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Final, NoReturn

import psutil
from rich.console import Console

from bench import report
from bench.bench import Bench, Unmeasured
from bench.children import Failed
from bench.report import Line

#: What --only takes, in the order in which they run; each is a module of ``bench.rows`` with its ``ROWS``.
GROUPS: Final = {
    "start": "`agentos up` to ready, memory of the idle stack",
    "store": "appending at the store",
    "http": "appending over HTTP, one by one and in bulk",
    "live": "from POST to SSE client, fan-out, idle clients",
    "projector": "projecting from a backlog, rebuild",
    "policy": "a decision by itself and on record, a kill switch",
    "dlp": "finding secrets in text and in events",
    "work": "the run cycle, claims from a deep queue, queries and rebuild over a million events",
}


#: More than this, and other work takes what is measured. It takes it unevenly: sixty processes get sixty shares of a
#: crowded processor, and a single one gets one.
CALM_PERCENT: Final = 15


def main() -> int:
    """Runs the rows that were asked for. 0 unless one of them could not be measured."""
    options = _options()
    console = Console(width=None if sys.stdout.isatty() else 160)
    _raise_file_limit()
    signal.signal(signal.SIGTERM, _interrupt)
    lines: list[Line] = []
    busy: list[float] = []
    started = time.monotonic()
    try:
        with Bench(console, quick=options.quick) as bench:
            for group in options.only or GROUPS:
                rows: dict[str, Callable[[Bench], list[Line]]] = import_module(f"bench.rows.{group}").ROWS
                for what, measure in rows.items():
                    busy.append(psutil.cpu_percent(1.0))
                    lines += _measured(bench, group, what, measure)
    except KeyboardInterrupt:
        console.print("Interrupted; everything that was started is stopped.")
        return 130
    report.show(lines, console)
    took = time.monotonic() - started
    goals = [goal for line in lines for goal in line.goals if goal.kind == "must"]
    reached = sum(goal.reached is True for goal in goals)
    console.print(f"{reached} of {len(goals)} targets that must be reached are reached. Took {took:.0f} s.")
    console.print(
        f"Before the rows {median(busy):.0f} % of the machine was busy with something else (at most {max(busy):.0f} %)."
        + (" That is too much to trust these figures." if max(busy) > CALM_PERCENT else ""),
        style="yellow" if max(busy) > CALM_PERCENT else "dim",
    )
    if options.json is not None:
        report.write(options.json, lines, {"quick": options.quick, "seconds": took, "busy_percent_before": busy})
    return 1 if any(line.ours is None for line in lines) else 0


def _measured(bench: Bench, group: str, what: str, measure: Callable[[Bench], list[Line]]) -> list[Line]:
    """The row's lines; one that says why where it could not be measured, so that the others go on."""
    try:
        return measure(bench)
    except (Failed, Unmeasured) as error:
        reason = str(error)
    except Exception:
        bench.console.print(traceback.format_exc(), style="red", markup=False, highlight=False)
        reason = "it broke; see the error above"
    return [Line(group, what, None, notes=[f"{what[0].upper()}{what[1:]} was not measured: {reason}"])]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument(
        "--only",
        type=lambda text: [name for name in text.replace(",", " ").split() if name],
        help="; ".join(f"{name}: {what}" for name, what in GROUPS.items()),
    )
    parser.add_argument("--quick", action="store_true", help="shorter measurements: two minutes in all, more noise")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    options = parser.parse_args()
    unknown = set(options.only or ()) - set(GROUPS)
    if unknown:
        parser.error(f"no such row: {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    return options


def _raise_file_limit() -> None:
    """A thousand clients are a thousand sockets, in their process and in the server's."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
