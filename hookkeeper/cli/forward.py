"""`hookkeeper listen --forward-to`: hand deliveries to a program on this machine, which needs no public address.

The command creates an address of the API and a webhook with this URL. It streams the requests to the address, and
reports the program's answers, which become the outcomes of the attempts. It deletes the webhook when it stops.
"""

import asyncio
import json
import os
import signal
import sys
import threading
import time
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import count
from urllib.parse import quote

import aiohttp
import typer
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.text import Text
from yarl import URL

from hookkeeper.cli.client import Api, ApiUnavailable, present
from hookkeeper.cli.console import Failed, Json, err, out, print_failure
from hookkeeper.cli.processes import run, until_stopped
from hookkeeper.cli.signatures import signed_headers

RECONNECT_AFTER = 1.0
"""Seconds before a stream that has ended is opened again."""
TIMEOUT = aiohttp.ClientTimeout(30)
"""Seconds in which the program must answer: the longest timeout of a webhook."""
MAX_ANSWER = 4096
"""Characters of an answer that are reported. An attempt keeps as many."""
DISABLE_AFTER = 3600.0
"""Seconds of failures that disable a webhook which a killed command has left behind."""
MAX_KEPT = 200
"""Deliveries that the screen keeps."""
FRAME = 0.1
"""Seconds between two frames of the screen, unless a key is pressed."""
UNREACHABLE = 502
KEYS = "↑↓ select   r again   o open   f failed only   q quit"
UP, DOWN = "\x1b[A", "\x1b[B"
WAITING = "Waiting for deliveries."


@dataclass(frozen=True, slots=True)
class Forwarded:
    """A delivery and the program's answer."""

    number: int
    event_id: str
    type: str
    headers: dict[str, str]
    body: str
    status: int
    answer: str
    retry_after: str | None
    duration_ms: float
    note: str = ""
    """Why the answer is not the outcome of an attempt; empty if it is."""

    @property
    def failed(self) -> bool:
        return not 200 <= self.status < 300


class Forwarder:
    """An address, its webhook, and a thread that reads the stream of requests."""

    def __init__(self, api: Api, target: URL, webhook: Json) -> None:
        """Create the address and the webhook. Raises `Failed`."""
        self.api, self.target = api, target
        self.shown_target = without_secrets(target)
        address = api.call("POST", "forwards", tenant=webhook.get("tenant"))
        defaults = {"name": f"listen → {self.shown_target}"[:100], "disable_after": DISABLE_AFTER}
        self.webhook = api.call("POST", "webhooks", body=defaults | webhook | {"url": address["url"]})
        self.news: asyncio.Queue[Forwarded | str | Failed] = asyncio.Queue()
        """Deliveries, texts about the connection, and the failure that ends the stream."""
        self._token = address["token"]
        connector = aiohttp.TCPConnector(resolver=aiohttp.ThreadedResolver())  # resolves names as the system does
        self._http = aiohttp.ClientSession(connector=connector, timeout=TIMEOUT)
        self._numbers = count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._in_loop = asyncio.get_running_loop().call_soon_threadsafe
        threading.Thread(target=self._take, daemon=True).start()

    async def next(self) -> Forwarded | str:
        """Wait for a delivery or a text about the connection. Raises `Failed` if the stream has ended for good."""
        news = await self.news.get()
        if isinstance(news, Failed):
            raise news
        return news

    def again(self, earlier: Forwarded) -> None:
        """Sign a delivery anew and send it to the program again. This is no attempt of the event."""
        signed = signed_headers(self.webhook["secret"], earlier.event_id, earlier.body.encode())
        self._start(earlier.headers | signed, earlier.body)

    async def aclose(self) -> None:
        """Cancel open requests and delete the webhook. Print how to delete it if that fails."""
        for task in self._tasks:
            task.cancel()
        await self._http.close()
        try:
            self.api.call("DELETE", "webhooks", self.webhook["id"])
        except Failed as failure:
            print_failure(failure)
            err.print(f"The webhook still exists. Delete it: `hookkeeper webhooks delete {self.webhook['id']}`.")

    def _take(self) -> None:
        """Take requests until the process ends. Connect again if the API restarts or the connection is lost."""
        is_away = False
        while True:
            try:
                for kind, data, _ in self.api.stream("forwards", self._token, last_id=""):
                    if kind == "ready":
                        self._in_loop(self.news.put_nowait, self._resume() if is_away else WAITING)
                    is_away = False
                    if kind == "request":
                        self._in_loop(self._start, data["headers"], data["body"], data["id"])
            except ApiUnavailable as error:
                if not is_away:
                    self._in_loop(self.news.put_nowait, f"{error} Trying again.")
                is_away = True
            except Failed as failure:
                self._in_loop(self.news.put_nowait, failure)
                return
            time.sleep(RECONNECT_AFTER)

    def _resume(self) -> str:
        """Enable the webhook again, in case failures have disabled it. Raises `Failed` if it was deleted."""
        self.api.call("PATCH", "webhooks", self.webhook["id"], body={"enabled": True})
        return "Connected again."

    def _start(self, headers: dict[str, str], body: str, id_: str | None = None) -> None:
        """Start to forward a request. Without an id, its answer is not reported. The API limits open requests."""
        task = asyncio.create_task(self._forward(next(self._numbers), headers, body, id_))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _forward(self, number: int, headers: dict[str, str], body: str, id_: str | None) -> None:
        forwarded = await self._send(number, headers, body)
        note = await self._report(id_, forwarded) if id_ else "sent again: no attempt"
        self.news.put_nowait(replace(forwarded, note=note))

    async def _report(self, id_: str, given: Forwarded) -> str:
        """Report the answer to a request. Return why that failed, or an empty text."""
        url = f"{self.api.url}/v1/forwards/{self._token}"
        answer = present(id=id_, status=given.status, body=given.answer, retry_after=given.retry_after)
        try:
            async with self._http.patch(url, json=answer, headers=self.api.headers) as reported:
                if reported.status == 404:
                    return "too late: the attempt has ended"
                return "" if reported.ok else f"not reported: {reported.status} {reported.reason}"
        except (aiohttp.ClientError, TimeoutError) as error:
            return f"not reported: {_reason(error)}"

    async def _send(self, number: int, headers: dict[str, str], body: str) -> Forwarded:
        start, retry_after = time.perf_counter(), None
        try:
            async with self._http.post(
                self.target, data=body.encode(), headers=headers, allow_redirects=False
            ) as response:
                answer = await response.text(errors="replace")
                status, retry_after = response.status, response.headers.get("retry-after")
        except TimeoutError:
            status, answer = UNREACHABLE, f"{self.shown_target} has not answered in {TIMEOUT.total:.0f} s"
        except aiohttp.ClientError as error:
            status, answer = UNREACHABLE, f"cannot reach {self.shown_target}: {_reason(error)}"
        return Forwarded(
            number=number,
            event_id=headers.get("webhook-id", ""),
            type=_type_of(body),
            headers=headers,
            body=body,
            status=status,
            answer=answer[:MAX_ANSWER],
            retry_after=retry_after,
            duration_ms=(time.perf_counter() - start) * 1000,
        )


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
        raise typer.BadParameter(f"{target!r} is no URL such as http://localhost:3000/hook", param_hint="--forward-to")
    return url


def without_secrets(target: URL) -> str:
    """Return a URL without user, password, query and fragment, so that it can be shown and stored."""
    return str(target.with_user(None).with_query(None).with_fragment(None))


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


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _type_of(body: str) -> str:
    """Return the event type in a body; empty if a template has made a body without one."""
    try:
        return str(json.loads(body)["type"])
    except (ValueError, LookupError, TypeError):
        return ""
