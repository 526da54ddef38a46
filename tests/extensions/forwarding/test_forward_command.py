"""`hookkeeper forward`: its options, and its screen, whose keys select a delivery and filter the list."""

import io

import pytest
from typer.testing import CliRunner
from yarl import URL

from cli.console import SafeConsole
from cli.main import app
from extensions.forwarding.forwarder import Forwarded, without_secrets
from extensions.forwarding.screen import MAX_KEPT, Screen


def forwarded(number: int, status: int = 200) -> Forwarded:
    return Forwarded(
        number, f"evt_{number}", "order.paid", {}, f'{{"n": {number}}}', status, "answer\x1b[2J", None, 12.0
    )


def screen() -> Screen:
    """Return a screen with four deliveries, of which the first and the third have failed."""
    made = Screen()
    for number, status in enumerate((500, 200, 404, 200), 1):
        made.add(forwarded(number, status))
    return made


@pytest.mark.parametrize(
    ("keys", "current", "shown"),
    [
        ("", 4, [4, 3, 2, 1]),
        ("j", 3, [4, 3, 2, 1]),
        ("jjk", 3, [4, 3, 2, 1]),
        ("jk", 4, [4, 3, 2, 1]),
        ("jjjjjj", 1, [4, 3, 2, 1]),
        ("k", 4, [4, 3, 2, 1]),
        ("f", 3, [3, 1]),
        ("fj", 1, [3, 1]),
        ("jjf", 3, [3, 1]),
        ("ffx", 4, [4, 3, 2, 1]),
    ],
)
def test_keys_select_and_filter(keys: str, current: int, shown: list[int]) -> None:
    made = screen()
    for key in keys:
        made.press(key)
    assert made.current
    assert (made.current.number, [one.number for one in made.shown]) == (current, shown)


def test_the_latest_delivery_is_current_until_another_is_selected() -> None:
    made = screen()
    made.add(forwarded(5))
    assert made.current == made.forwarded[-1]
    made.press("j")
    made.add(forwarded(6))
    assert made.current
    assert made.current.number == 4


def test_the_screen_keeps_the_latest_deliveries() -> None:
    made = Screen()
    made.press("j")
    assert made.current is None
    for number in range(MAX_KEPT + 1):
        made.add(forwarded(number))
    assert (len(made.forwarded), made.forwarded[0].number) == (MAX_KEPT, 1)


def test_a_frame_fits_the_screen_and_sends_no_control_characters() -> None:
    made = screen()
    made.add("lost")
    console = SafeConsole(file=io.StringIO(), width=60, height=20, highlight=False)
    with console.capture() as printed:
        console.print(made.frame("wh_1 → http://localhost:3000", 20))
    lines = printed.get().splitlines()
    assert len(lines) < 20
    assert "lost" in lines[2]
    assert lines[3].startswith("› #4  200  evt_4  order.paid  12 ms")
    assert lines[-2:] == ["→ answer\\x1b[2J", '{"n": 4}']


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (("localhost:3000",), "is no URL"),
        (("ftp://localhost/hook",), "is no URL"),
        (("http://localhost:99999/",), "is no URL"),
        (("http://local host/",), "is no URL"),
        (("http://localhost/", "--port", "9000"), "No such option"),
        (("--events", "order.*"), "Missing argument"),
    ],
)
def test_options_that_do_not_fit_are_refused(args: tuple[str, ...], reason: str) -> None:
    done = CliRunner().invoke(app, ["forward", *args])
    assert done.exit_code == 2
    assert reason in done.output


@pytest.mark.parametrize(
    ("target", "reported"),
    [
        ("http://localhost:3000/hook", "http://localhost:3000/hook"),
        ("https://ann:secret@localhost/hook?token=secret#secret", "https://localhost/hook"),
        ("http://[::1]:3000", "http://[::1]:3000"),
    ],
)
def test_the_shown_target_has_no_secrets(target: str, reported: str) -> None:
    assert without_secrets(URL(target)) == reported
