"""What the command line says: results on standard output, and why it failed on standard error."""

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print aligned columns; cells may hold markup. Nothing is cut off: an id has to be copied whole."""
    lines = [[Text(name, "dim") for name in header], *([Text.from_markup(cell) for cell in row] for row in rows)]
    widths = [max(cell.cell_len for cell in column) for column in zip(*lines, strict=True)]
    for line in lines:
        for cell, width in zip(line[:-1], widths, strict=False):
            cell.pad_right(width - cell.cell_len)
        out.print(Text("  ").join(line))


class Failed(Exception):
    """The command cannot do what it was asked to; says why in a sentence for people. Ends it with 1."""


def tell_failure(failure: Failed) -> None:
    err.print(Text.assemble(("Error:", "red"), " ", str(failure)))
