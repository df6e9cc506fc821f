"""Figures, targets and the table."""

import json
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

Kind = Literal["must", "beyond"]


@dataclass(frozen=True, slots=True)
class Series:
    """One figure, measured once per round; what counts is the median.

    Attributes:
        name: who did it, in plain words.
        note: what else is worth knowing about it, such as latencies.
    """

    name: str
    unit: str
    values: Sequence[float]
    note: str = ""

    @property
    def median(self) -> float:
        """Of all rounds."""
        return median(self.values)

    def __str__(self) -> str:
        return f"{number(self.median)} {self.unit}"

    def spread(self) -> str:
        """Least and most of all rounds."""
        return f"{number(min(self.values))}-{number(max(self.values))}" if len(self.values) > 1 else ""


@dataclass(frozen=True, slots=True)
class Goal:
    """A target, and how we stand to it. ``reached`` is None where it could not be told."""

    kind: Kind
    target: str
    measured: str
    reached: bool | None


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table.

    Attributes:
        ours: None when it could not be measured; ``notes`` then says why.
        beside: baselines of the same run; the ratio to each is shown.
    """

    row: str
    what: str
    ours: Series | None
    beside: Sequence[Series] = ()
    goals: Sequence[Goal] = ()
    notes: Sequence[str] = field(default_factory=tuple)


def number(value: float) -> str:
    """Three digits that count: ``25,700``, ``13.4``, ``0.82``."""
    if abs(value) >= 1000:
        digits = len(str(int(abs(value)))) - 3
        return f"{round(value, -digits):,.0f}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def times(kind: Kind, ours: Series, baseline: Series | None, least: float, whose: str) -> Goal:
    """Ours is at least so many times the baseline; unknown when the baseline could not be measured."""
    target = f">= {least:g} x {whose}"
    if baseline is None or baseline.median <= 0:
        return Goal(kind, target, "not measured", None)
    ratio = ours.median / baseline.median
    return Goal(kind, target, f"{ratio:.2f} x", ratio >= least)


def at_least(kind: Kind, ours: Series, least: float) -> Goal:
    """Ours is at least this much."""
    return Goal(kind, f">= {number(least)} {ours.unit}", str(ours), ours.median >= least)


def below(kind: Kind, ours: Series, most: float, label: str = "") -> Goal:
    """Ours is below this."""
    prefix = f"{label} " if label else ""
    return Goal(kind, f"{prefix}< {number(most)} {ours.unit}", str(ours), ours.median < most)


def show(lines: Iterable[Line], console: Console) -> None:
    """Prints the table, and after it what must be known to read it."""
    table = Table(title="Agent OS beside plain baselines (medians; spread of the rounds in brackets)", show_lines=True)
    for title in ("Row", "Ours", "Beside, and ours / beside", "Must reach", "Beyond"):
        table.add_column(title, overflow="fold")
    notes: list[str] = []
    for line in lines:
        marks = ""
        for note in line.notes:
            if note not in notes:
                notes.append(note)
            marks += f" [{notes.index(note) + 1}]"
        table.add_row(
            Text.assemble((line.row, "bold"), f"\n{line.what}", (marks, "dim")),
            _figure(line.ours),
            _beside(line),
            _goals(line, "must"),
            _goals(line, "beyond"),
        )
    console.print(table)
    for place, note in enumerate(notes, 1):
        console.print(f"[{place}] {note}", style="dim", markup=False, highlight=False)


def _figure(series: Series | None) -> Text:
    if series is None:
        return Text("not measured", style="yellow")
    spread = series.spread()
    return Text.assemble((str(series), "bold"), (f"\n[{spread}]" if spread else "", "dim"), _note(series))


def _note(series: Series) -> tuple[str, str]:
    return (f"\n{series.note}" if series.note else "", "dim")


def _beside(line: Line) -> Text:
    shown = []
    for series in line.beside:
        ratio = ""
        if line.ours is not None and series.median > 0:
            ratio = f"  {line.ours.median / series.median:.2f} x"
        shown.append(Text.assemble(f"{series.name}: {series}", (ratio, "cyan"), _note(series)))
    return Text("\n").join(shown)


def _goals(line: Line, kind: Kind) -> Text:
    shown = []
    for goal in line.goals:
        if goal.kind == kind:
            mark, style = {True: ("yes", "green"), False: ("NO", "bold red"), None: ("?", "yellow")}[goal.reached]
            shown.append(Text.assemble((f"{mark} ", style), f"{goal.target}", (f"  ({goal.measured})", "dim")))
    return Text("\n").join(shown)


def write(path: Path, lines: Sequence[Line], about: dict[str, object]) -> None:
    """Everything measured, as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    machine = {"system": platform.platform(), "python": platform.python_version()}
    document = {"machine": machine, **about, "lines": [asdict(line) for line in lines]}
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
