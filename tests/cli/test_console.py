"""Text of tenants and receivers cannot control the terminal."""

import io
from typing import Any

import pytest

from cli import console
from cli.console import Failed, SafeConsole
from hookkeeper.content.text import is_visible_line, visible

HOSTILE = "a\x1b]0;owned\x07b\x1b[2Jc\x9b31md\u202ee\u2066f\rg\x7fh\x00"
SHOWN = r"a\x1b]0;owned\x07b\x1b[2Jc\x9b31md\u202ee\u2066f\rg\x7fh\x00"


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Return the output of both consoles, on a terminal with colors."""
    written = io.StringIO()
    for name in ("out", "err"):
        terminal = SafeConsole(file=written, highlight=False, soft_wrap=True, force_terminal=True, width=200)
        monkeypatch.setattr(console, name, terminal)
    return written


def without_styles(text: str) -> str:
    return text.replace("\x1b[31m", "").replace("\x1b[1m", "").replace("\x1b[2m", "").replace("\x1b[0m", "")


def test_every_way_to_print_shows_invisible_characters(printed: io.StringIO) -> None:
    console.out.print(f"[bold]{HOSTILE}[/bold]")
    console.out.print(HOSTILE, markup=False)
    console.print_table(("one",), [(HOSTILE,)])
    console.print_result(False, None, HOSTILE)
    console.print_failure(Failed(HOSTILE))
    text = without_styles(printed.getvalue())
    assert text.count(SHOWN) == 5
    assert visible(text) == text


def test_json_is_escaped_as_ascii(printed: io.StringIO, capsys: pytest.CaptureFixture[str]) -> None:
    console.print_result(True, {"name": HOSTILE}, "")
    printed_json = capsys.readouterr().out
    assert printed_json.isascii()
    assert "\x1b" not in printed_json


def test_a_cell_is_one_line(printed: io.StringIO) -> None:
    console.print_table(("one", "two"), [("a\nb", "c")])
    assert without_styles(printed.getvalue()).splitlines() == ["one  two", "a b  c"]


def test_a_narrow_table_goes_on_in_further_lines(printed: io.StringIO) -> None:
    console.out.width = 24
    rows = [("wh_1", "healthy", "", "order.* invoice.*"), ("wh_22", "new", "No such host", "a"), ("w", "new", "", "b")]
    console.print_table(("ID", "STATE", "CAUSE", "EVENTS"), rows)
    assert [line.rstrip() for line in without_styles(printed.getvalue()).splitlines()] == [
        "ID     STATE",
        "wh_1   healthy",
        "    EVENTS order.*",
        "    invoice.*",
        "wh_22  new",
        "    CAUSE No such host",
        "    EVENTS a",
        "w      new",
        "    EVENTS b",
    ]
    printed.truncate(printed.seek(0))
    console.print_table(("ID", "EVENTS"), [("wh_1", "order.* invoice.* paid.*")], wide=True)
    assert len(printed.getvalue().splitlines()) == 2


def test_an_empty_list_says_so(printed: io.StringIO, capsys: pytest.CaptureFixture[str]) -> None:
    page: dict[str, Any] = {"items": [], "next_cursor": None}
    console.print_page(False, page, ("one",), lambda row: (row["one"],), empty="No rows. `add` adds one.")
    assert printed.getvalue() == "No rows. `add` adds one.\n"
    console.print_page(True, page, ("one",), lambda row: (row["one"],), empty="No rows.")
    assert capsys.readouterr().out == '{"items": [], "next_cursor": null}\n'


def test_a_page_without_rows_that_is_not_the_last_does_not_say_there_are_none(printed: io.StringIO) -> None:
    page = {"items": [], "next_cursor": "c1"}
    console.print_page(False, page, ("one",), lambda row: (row["one"],), empty="No rows.")
    assert without_styles(printed.getvalue()).splitlines() == ["one", "More: --cursor c1"]


@pytest.mark.parametrize("text", ["Ann & Bob", "日本語", "שלום", "naïve 👩\u200d🚀", ""])
def test_usual_text_is_unchanged(text: str) -> None:
    assert visible(text) == text
    assert is_visible_line(text)


@pytest.mark.parametrize("character", [*map(chr, range(32)), "\x7f", "\x85", "\u2028", "\u200b", "\u202e", "\ufeff"])
def test_a_visible_line_has_no_control_characters(character: str) -> None:
    assert not is_visible_line(f"a{character}b")


@pytest.mark.parametrize(
    ("filters", "text"),
    [(None, "None yet."), ({"status": [], "type": None}, "None yet."), ({"enabled": False}, "Nothing matches.")],
    ids=str,
)
def test_an_empty_list_says_whether_there_is_nothing_or_nothing_matches(
    printed: io.StringIO, filters: dict[str, Any] | None, text: str
) -> None:
    console.print_page(
        False, {"items": [], "next_cursor": None}, ("Id",), lambda row: (row["id"],), "None yet.", filters
    )
    assert printed.getvalue() == f"{text}\n"


@pytest.mark.parametrize(
    ("query", "total", "ends"),
    [({"total": True}, 1000, "Total: 1,000"), ({"total": True}, None, f"Total: {console.OVER}"), ({}, None, "a")],
)
def test_a_list_says_how_many_match_if_it_was_asked(
    printed: io.StringIO, query: dict[str, Any], total: int | None, ends: str
) -> None:
    page = {"items": [{"id": "a"}], "next_cursor": None, "total": total}
    console.print_page(False, page, ("Id",), lambda row: (row["id"],), "None yet.", query)
    assert printed.getvalue().replace("\x1b[0m", "").endswith(f"{ends}\n")
