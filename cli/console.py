"""Output of the command line: results on standard output, errors on standard error."""

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from hookkeeper.content.text import visible

Json = dict[str, Any]
NO_MATCH = "Nothing matches."
CONTINUE = "run the same command again to continue"
OVER = "over 1,000, or too many events would have to be read to count them"
NOT_FILTERS = {"tenant", "total", "limit", "cursor"}
"""Parameters of lists: a tenant without events is not a search without a match."""


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


@contextmanager
def output_added_to(log: Path) -> Iterator[None]:
    """Add what this process and its libraries write to a file; only `out` and `err` still write to the terminal."""
    streams = (out, sys.stdout), (err, sys.stderr)
    kept = []
    for console, stream in streams:
        stream.flush()
        kept.append(os.dup(stream.fileno()))
        console.file = open(kept[-1], "w", encoding=stream.encoding, errors=stream.errors, closefd=False)  # noqa: SIM115
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        for _, stream in streams:
            os.dup2(descriptor, stream.fileno())
        yield
    finally:
        os.close(descriptor)
        for (console, stream), descriptor in zip(streams, kept, strict=True):
            with suppress(OSError):
                stream.flush()
            os.dup2(descriptor, stream.fileno())
            os.close(descriptor)
            console.file = stream


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, wide: bool = False) -> None:
    """Print aligned columns; cells may contain markup. Nothing is truncated, so ids can be copied.

    On a terminal that is too narrow, and not `wide`, the last columns of each row follow in lines of their own.
    """
    table = [[_cell(cell) for cell in row] for row in rows]
    heads = [Text(name, "dim") for name in header]
    widths = [max(cell.cell_len for cell in column) for column in zip(heads, *table, strict=True)]
    is_narrow = not wide and out.is_terminal
    fitting = _columns_within(out.width, widths) if is_narrow else len(widths)
    for line in [heads, *table]:
        is_short = sum(widths[:-1]) + 2 * len(widths[1:]) + line[-1].cell_len <= out.width
        kept = len(line) if is_short else fitting
        for cell, width in zip(line[: kept - 1], widths, strict=False):
            cell.pad_right(width - cell.cell_len)
        out.print(Text("  ").join(line[:kept]))
        if line is not heads and kept < len(line):
            rest = zip(header[kept:], line[kept:], strict=True)
            _print_within(
                out.width - 4, [Text(name, "dim").append(" " * bool(name)) + cell for name, cell in rest if cell]
            )


def _columns_within(width: int, widths: Sequence[int]) -> int:
    """Return how many columns, with two spaces between them, a line has room for; at least one."""
    ends = [sum(widths[: n + 1]) + 2 * n for n in range(len(widths))]
    return max(1, sum(end <= width for end in ends))


def _print_within(width: int, parts: Sequence[Text]) -> None:
    """Print parts in indented lines of at most this width; a longer one has lines of its own."""
    lines: list[Text] = []
    for part in parts:
        if lines and lines[-1].cell_len + 2 + part.cell_len <= width:
            lines[-1] = Text("  ").join([lines[-1], part])
        else:
            lines += part.wrap(out, width)
    for line in lines:
        out.print(Text("    ") + line)


def _cell(markup: str) -> Text:
    return Text.from_markup(visible(markup).replace("\n", " "))


def print_columns(rows: Sequence[tuple[str, str]]) -> None:
    """Print names and values in two columns."""
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        out.print(f"{name:<{width}}  {value}", markup=False)


def print_fields(result: Json) -> None:
    """Print all fields of a result in two columns."""
    print_columns([(name, text_of(value)) for name, value in result.items()])


def text_of(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def print_json_or(as_json: bool, result: Any, print_text: Callable[[Any], None]) -> None:
    """Print the result of a command: as ASCII JSON, or as `print_text` prints it."""
    if as_json:
        typer.echo(json.dumps(result))
    else:
        print_text(result)


def print_result(as_json: bool, result: Any, sentence: str) -> None:
    """Print the result of a command: as ASCII JSON, or as a sentence."""
    print_json_or(as_json, result, lambda _: out.print(sentence, markup=False))


def print_page(
    as_json: bool,
    page: Json,
    header: Sequence[str],
    cells: Callable[[Json], Sequence[str]],
    empty: str,
    query: Json | None = None,
    *,
    wide: bool = False,
) -> None:
    """Print one page of a list: as ASCII JSON, or as a table with the cells of each item.

    `empty` is printed instead of a table without rows, unless the list's query has a filter.
    """
    is_filtered = any(value not in (None, []) for name, value in (query or {}).items() if name not in NOT_FILTERS)

    def print_rows(_: Json) -> None:
        if page["items"] or page["next_cursor"]:
            print_table(header, [cells(item) for item in page["items"]], wide=wide)
        else:
            out.print(NO_MATCH if is_filtered else empty, markup=False)
        if until := page.get("searched_until"):
            out.print(f"[dim]The data of events were searched back to {until}.[/dim]")
        if page["next_cursor"]:
            out.print(f"[dim]More: --cursor {page['next_cursor']}[/dim]")
        if query and query.get("total"):
            total = page["total"]
            out.print(f"[dim]Total: {OVER if total is None else f'{total:,}'}[/dim]")

    print_json_or(as_json, page, print_rows)


class Failed(Exception):
    """The command failed; the message is a sentence for users."""

    exit_code = 1


class WrongUsage(Failed):
    """The value of an option cannot be used."""

    exit_code = 2


class InvalidSettings(Failed):
    """A setting cannot be used, so a process that is started again would fail again."""

    exit_code = 78
    """`EX_CONFIG` of `sysexits.h`."""


_reports: list[Callable[[Failed], None]] = []


def report_failures_with(report: Callable[[Failed], None]) -> None:
    """Report a failure of this process with this function, in place of a line of text."""
    _reports[:] = [report]


def print_failure(failure: Failed) -> None:
    if _reports:
        _reports[0](failure)
        return
    err.print(Text.assemble(("Error:", "red"), " ", visible(str(failure))))
