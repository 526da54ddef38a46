"""`hookkeeper forward`: hand deliveries to a program on this machine, which needs no public address.

The command creates an address of the API and a webhook with this URL, and shows each delivery with the program's
answer. It deletes the webhook when it stops.
"""

import asyncio
import json
import os
import signal
import sys
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import asdict, dataclass, field
from urllib.parse import quote

import typer
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.text import Text
from yarl import URL

from cli.client.api import Api
from cli.console import Json, err, out
from cli.processes import run, until_stopped
from extensions.forwarding.forwarder import WAITING, Forwarded, Forwarder

MAX_KEPT = 200
"""Deliveries that the screen keeps."""
FRAME = 0.1
"""Seconds between two frames of the screen, unless a key is pressed."""
KEYS = "↑↓ select   r again   o open   f failed only   q quit"
UP, DOWN = "\x1b[A", "\x1b[B"


def run_forward(target: str, webhook: Json, *, as_json: bool) -> None:
    """Forward until stopped: on a full screen if this is a terminal, else in lines. Raises `Failed`."""
    run(_run(target_of(target), webhook, as_json))


async def _run(target: URL, webhook: Json, as_json: bool) -> None:
    async with until_stopped(), aclosing(Forwarder(Api.of_environment(), target, webhook)) as forwarder:
        if out.is_terminal and sys.stdin.isatty() and not as_json:
            await _show_screen(forwarder)
        else:
            await _print_lines(forwarder, as_json)


def target_of(target: str) -> URL:
    """Return the URL of the program. Raises `BadParameter` for an invalid one."""
    try:
        url = URL(target)
        is_valid = url.scheme in ("http", "https") and bool(url.host) and url.port != 0 and " " not in target
    except ValueError:
        is_valid = False
    if not is_valid:
        raise typer.BadParameter(f"{target!r} is no URL such as http://localhost:3000/hook", param_hint="URL")
    return url


async def _print_lines(forwarder: Forwarder, as_json: bool) -> None:
    console = err if as_json else out
    console.print(
        f"Forwarding [bold]{forwarder.webhook['id']}[/bold] to {escape(forwarder.shown_target)}, signed with"
        f" {forwarder.webhook['secret']}. Ctrl-C stops it."
    )
    while True:
        news = await forwarder.next()
        if isinstance(news, str):
            err.print(f"[yellow]{escape(news)}[/yellow]")
        elif as_json:
            typer.echo(json.dumps(asdict(news)))
        else:
            out.print(line_of(news))


def line_of(forwarded: Forwarded) -> str:
    """Return a delivery as one line: `#3  200  evt_1  order.paid  12 ms`."""
    color = "red" if forwarded.failed else "green"
    note = f"  [yellow]{escape(forwarded.note)}[/yellow]" if forwarded.note else ""
    return (
        f"#{forwarded.number}  [{color}]{forwarded.status}[/{color}]  {escape(forwarded.event_id)}"
        f"  {escape(forwarded.type)}  [dim]{forwarded.duration_ms:.0f} ms[/dim]{note}"
    )


# The full screen


@dataclass
class Screen:
    """The state of the screen."""

    forwarded: list[Forwarded] = field(default_factory=list)
    """Oldest first."""
    selected: int | None = None
    """The number of a delivery; None selects the latest."""
    only_failed: bool = False
    message: str = ""

    def add(self, news: Forwarded | str) -> None:
        if isinstance(news, str):
            self.message = news
        else:
            self.forwarded = [*self.forwarded, news][-MAX_KEPT:]

    @property
    def shown(self) -> list[Forwarded]:
        """The deliveries that pass the filter, latest first."""
        return [one for one in reversed(self.forwarded) if one.failed or not self.only_failed]

    @property
    def current(self) -> Forwarded | None:
        shown = self.shown
        return next((one for one in shown if one.number == self.selected), shown[0] if shown else None)

    def press(self, key: str) -> None:
        """Select another delivery (`j`, `k`), or change the filter (`f`)."""
        if key == "f":
            self.only_failed = not self.only_failed
        if key in ("j", "k") and (current := self.current):
            shown = self.shown
            place = shown.index(current) + (1 if key == "j" else -1)
            self.selected = shown[min(place, len(shown) - 1)].number if place > 0 else None

    def frame(self, title: str, height: int) -> RenderableType:
        """Draw the deliveries, then the answer to the current one and the start of its body."""
        rows, shown, current = max((height - 6) // 2, 1), self.shown, self.current
        first = max(shown.index(current) - rows + 1, 0) if current else 0
        message = "" if shown and self.message == WAITING else self.message
        lines = [Text.from_markup(title), Text(KEYS, "dim"), Text(message, "yellow")]
        lines += [
            Text.from_markup(f"{'›' if one is current else ' '} {line_of(one)}") for one in shown[first : first + rows]
        ]
        if current:
            lines += [Text(), Text(f"→ {current.answer}".partition("\n")[0], "dim")]
        for line in lines:
            line.no_wrap, line.overflow = True, "ellipsis"
        return Group(*lines, Text(current.body[: 60 * rows] if current else "", no_wrap=False, overflow="fold"))


async def _show_screen(forwarder: Forwarder) -> None:
    from rich.live import Live

    screen = Screen(message="Connecting.")
    title = (
        f"[bold]{forwarder.webhook['id']}[/bold] → {escape(forwarder.shown_target)}"
        f"  [dim]{forwarder.webhook['secret']}[/dim]"
    )

    def draw() -> None:
        live.update(screen.frame(title, out.height), refresh=True)

    def press(key: str) -> None:
        screen.press(key)
        if key == "q":
            signal.raise_signal(signal.SIGINT)  # as Ctrl-C does
        if key == "r" and (current := screen.current):
            forwarder.again(current)
            screen.selected = None  # show the new answer
        if key == "o" and (current := screen.current):
            screen.message = _open(forwarder, current)
        draw()

    with Live(console=out, auto_refresh=False, screen=True) as live, _keys(press):
        asyncio.get_running_loop().add_signal_handler(signal.SIGWINCH, draw)
        while True:
            draw()
            for _ in range(max(forwarder.news.qsize(), 1)):
                screen.add(await forwarder.next())
            await asyncio.sleep(FRAME)


def _open(forwarder: Forwarder, current: Forwarded) -> str:
    """Open a delivery's event in the browser. Return the URL."""
    tenant = quote(forwarder.webhook["tenant"])
    url = f"{forwarder.api.url}/events/{quote(current.event_id)}?tenant={tenant}"
    webbrowser.open(url)
    return url


@contextmanager
def _keys(press: Callable[[str], None]) -> Iterator[None]:
    """Read single keys from the terminal while the block lasts."""
    import termios
    import tty

    terminal, loop = sys.stdin.fileno(), asyncio.get_running_loop()
    before = termios.tcgetattr(terminal)

    def read() -> None:
        for key in os.read(terminal, 64).decode(errors="replace").replace(UP, "k").replace(DOWN, "j"):
            press(key)

    try:
        tty.setcbreak(terminal)
        loop.add_reader(terminal, read)
        yield
    finally:
        loop.remove_reader(terminal)
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
