"""What a drill gets and what it gives: its options, and its outcome, which is printed as a table with a verdict."""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from cli.console import out
from drills.schedule import USUAL, Kind
from drills.shape import Extra, Server, Shape

WIDTH = 160
"""Most characters of a table, also where the output is no terminal, or a narrow one."""
MAX_SHOWN = 10
"""Number of failures of each kind that are printed."""


@dataclass(frozen=True, slots=True)
class Options:
    """The arguments of `python -m drills`. None: the drill has a default of its own."""

    drill: str = "faults"
    on: Server = "embedded"
    extras: Collection[Extra] = ()
    only: Sequence[str] = ()
    seed: int = field(default_factory=lambda: int(time.time()))
    rate: float | None = None
    seconds: float | None = None
    tour: bool = False
    long: bool = False
    kinds: Collection[Kind] = USUAL
    keep: Path | None = None
    runs: int = 10_000
    events: int | None = None
    release: str = ""
    keys: int = 0
    case: Sequence[str] = ()
    factor: float = 1.0
    pages: int = 0

    @property
    def shape(self) -> Shape:
        return Shape(self.on, frozenset(self.extras))


@dataclass(frozen=True, slots=True)
class Numbers:
    """The figures of a drill in the table of `production`. Numbers are of events; None: they are not counted."""

    posted: int | None = None
    lost: int | None = None
    stuck: int | None = None
    doubled: int | None = None
    figure: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a drill."""

    rows: Mapping[str, object]
    """A value, or one for each further column, by what the first column has."""
    failures: Mapping[str, Collection[str]] = field(default_factory=dict)
    """What is wrong, by kind; a drill without failures has passed."""
    columns: Sequence[str] = ("<", "")
    """Titles; a column of text begins with `<`."""
    notes: Sequence[str] = ()
    """Sentences below the table."""
    numbers: Numbers = Numbers()

    @property
    def passed(self) -> bool:
        return not any(self.failures.values())


def unmet(conditions: Mapping[str, bool]) -> list[str]:
    """Return the names of the conditions that do not hold."""
    return [name for name, holds in conditions.items() if not holds]


def print_step(text: str) -> None:
    out.print(f"  {text}", style="dim", markup=False)


def print_fault(at: float, text: str) -> None:
    out.print(f"  [dim]{at:6.1f} s[/dim]  {text}")


def print_outcome(outcome: Outcome, details: str = "") -> bool:
    """Print the table, failures and the verdict, and return whether the drill passed."""
    table = Table(box=None, show_header=len(outcome.columns) > 2, padding=(0, 2))
    for title in outcome.columns:
        table.add_column(title.removeprefix("<"), justify="left" if title.startswith("<") else "right")
    for name, shown in outcome.rows.items():
        cells = (name, *shown) if isinstance(shown, tuple | list) else (name, shown)
        table.add_row(*(escape(str(cell)) for cell in cells))
    table.width = Measurement.get(out, out.options.update(max_width=WIDTH), table).maximum
    out.print(table, crop=False)
    for note in outcome.notes:
        print_step(note)
    for kind, found in outcome.failures.items():
        if found:
            out.print(f"\n  [red]{kind}[/red] ({len(found)})")
        for failure in [*found][:MAX_SHOWN]:
            out.print(f"    {failure}", markup=False)
    out.print(f"\n{'[green]PASS[/green]' if outcome.passed else '[red]FAIL[/red]'}  {details}")
    return outcome.passed
