"""Output of the command line: results on standard output, errors on standard error."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from hookkeeper.content.text import visible


class SafeConsole(Console):
    """Shows control and bidirectional characters instead of sending them to the terminal.

    Printed text comes from tenants and receivers. Only our own styles become escape sequences.
    """

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(visible(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)


out = SafeConsole(highlight=False, soft_wrap=True)
err = SafeConsole(stderr=True, highlight=False, soft_wrap=True)


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print aligned columns; cells may contain markup. Nothing is truncated, so ids can be copied."""
    lines = [[Text(name, "dim") for name in header], *([_cell(cell) for cell in row] for row in rows)]
    widths = [max(cell.cell_len for cell in column) for column in zip(*lines, strict=True)]
    for line in lines:
        for cell, width in zip(line[:-1], widths, strict=False):
            cell.pad_right(width - cell.cell_len)
        out.print(Text("  ").join(line))


def _cell(markup: str) -> Text:
    return Text.from_markup(visible(markup).replace("\n", " "))


def print_result(result: Any, as_json: bool, words: str) -> None:
    """Print the result of a command: ASCII JSON, or a sentence."""
    if as_json:
        typer.echo(json.dumps(result))
    else:
        out.print(words, markup=False)


class Failed(Exception):
    """The command failed; the message is a sentence for users. The exit code is 1."""


def print_failure(failure: Failed) -> None:
    err.print(Text.assemble(("Error:", "red"), " ", visible(str(failure))))
