"""`hookkeeper listen --forward-to`: hand deliveries to a program on this machine, which needs no public address.

The command makes an address of the API and a webhook with it, takes its requests as a stream, and reports the answers,
which become the outcomes of the attempts. It deletes the webhook when it stops.
"""

import asyncio
import json
import os
import signal
import sys
import threading
import time
import webbrowser
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import count
from typing import Any
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
"""Seconds until a stream that has ended is opened again."""
TIMEOUT = aiohttp.ClientTimeout(30)
"""Seconds that the program has to answer, as many as a webhook can have."""
MAX_ANSWER = 4096
"""Characters of an answer that are reported, as many as an attempt keeps."""
DISABLE_AFTER = 3600.0
"""Seconds of failures after which a webhook is disabled that a killed command has left behind."""
MAX_KEPT = 200
"""Deliveries that the screen keeps."""
FRAME = 0.1
"""Seconds between two frames of the screen, unless a key is pressed."""
UNREACHABLE = 502
KEYS = "↑↓ select   r again   o open   f failed only   q quit"
ARROWS = {b"\x1b[A": "k", b"\x1b[B": "j"}


@dataclass(frozen=True, slots=True)
class Forwarded:
    """A delivery, and what the program has answered."""

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
    """Why the answer became no outcome of an attempt; empty if it did."""

    @property
    def failed(self) -> bool:
        return not 200 <= self.status < 300


class Forwarder:
    """The webhook, whose requests a thread takes from the stream of its address."""

    def __init__(self, api: Api, token: str, webhook: Json, target: URL, http: aiohttp.ClientSession) -> None:
        self.api, self.webhook, self.shown_target = api, webhook, without_secrets(target)
        self._token, self._target, self._http = token, target, http
        self._answers = f"{api.url}/v1/forwards/{token}"
        self.news: asyncio.Queue[Forwarded | str | Failed] = asyncio.Queue()
        """Deliveries, sentences about the connection, and why the stream cannot go on."""
        self._numbers = count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._take, daemon=True).start()

    async def next(self) -> Forwarded | str:
        """Wait for a delivery or a sentence. Raises `Failed` if the stream cannot go on."""
        news = await self.news.get()
        if isinstance(news, Failed):
            raise news
        return news

    def again(self, earlier: Forwarded) -> None:
        """Send a delivery to the program once more, signed anew. It is no attempt of the event."""
        signed = signed_headers(self.webhook["secret"], earlier.event_id, earlier.body.encode())

        async def send() -> None:
            forwarded = await self._send(next(self._numbers), earlier.headers | signed, earlier.body)
            self.news.put_nowait(replace(forwarded, note="sent again: no attempt"))

        self._start(send())

    def cancel(self) -> None:
        """Wait for no more answers."""
        for task in self._tasks:
            task.cancel()

    def _take(self) -> None:
        """Take requests until the process ends, through restarts of the API and losses of the connection."""
        is_away = False
        while True:
            try:
                for kind, data, _ in self.api.stream("forwards", self._token, last_id=""):
                    if is_away and kind == "ready":
                        self._resume()
                    is_away = False
                    if kind == "request":
                        self._in_loop(self._begin, data)
            except ApiUnavailable as error:
                if not is_away:
                    self._in_loop(self.news.put_nowait, f"{error} Trying again.")
                is_away = True
            except Failed as failure:
                self._in_loop(self.news.put_nowait, failure)
                return
            time.sleep(RECONNECT_AFTER)

    def _resume(self) -> None:
        """Go on with the webhook, which was disabled if it has failed for long. Raises `Failed` if it was deleted."""
        self.api.call("PATCH", "webhooks", self.webhook["id"], body={"enabled": True})
        self._in_loop(self.news.put_nowait, "Connected again.")

    def _in_loop(self, work: Callable[[Any], None], argument: Any) -> None:
        if not self._loop.is_closed():  # as it is when the command ends
            self._loop.call_soon_threadsafe(work, argument)

    def _begin(self, request: Json) -> None:
        self._start(self._forward(next(self._numbers), request))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        """Start a task. The API bounds how many deliveries wait at once."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _forward(self, number: int, request: Json) -> None:
        forwarded = await self._send(number, request["headers"], request["body"])
        note = await self._report(request["id"], forwarded)
        self.news.put_nowait(replace(forwarded, note=note))

    async def _report(self, id_: str, given: Forwarded) -> str:
        """Answer a request. Return why that failed; empty if it did not."""
        answer = present(id=id_, status=given.status, body=given.answer, retry_after=given.retry_after)
        try:
            async with self._http.patch(self._answers, json=answer, headers=self.api.headers) as reported:
                if reported.status == 404:
                    return "too late: the attempt has ended"
                return "" if reported.ok else f"not reported: {reported.status} {reported.reason}"
        except (aiohttp.ClientError, TimeoutError) as error:
            return f"not reported: {str(error) or type(error).__name__}"

    async def _send(self, number: int, headers: dict[str, str], body: str) -> Forwarded:
        start, retry_after = time.perf_counter(), None
        try:
            async with self._http.post(
                self._target, data=body.encode(), headers=headers, allow_redirects=False
            ) as response:
                answer = await response.text(errors="replace")
                status, retry_after = response.status, response.headers.get("retry-after")
        except TimeoutError:
            status, answer = UNREACHABLE, f"{self.shown_target} has not answered in {TIMEOUT.total:.0f} s"
        except aiohttp.ClientError as error:
            status, answer = UNREACHABLE, f"cannot reach {self.shown_target}: {error}"
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


def run_forward(target: str, webhook: Json, tenant: str | None, *, as_json: bool) -> None:
    """Forward until stopped: on a full screen if this is a terminal, else in lines. Raises `Failed`."""
    run(_run(Api.of_environment(), target_of(target), webhook | present(tenant=tenant), as_json))


async def _run(api: Api, target: URL, webhook: Json, as_json: bool) -> None:
    async with until_stopped(), forwarding(api, target, webhook) as forwarder:
        if out.is_terminal and sys.stdin.isatty() and not as_json:
            await _show_screen(forwarder)
        else:
            await _print_lines(forwarder, as_json)


@asynccontextmanager
async def forwarding(api: Api, target: URL, webhook: Json) -> AsyncIterator[Forwarder]:
    """Make an address and a webhook, and forward its deliveries until the block ends. Raises `Failed`."""
    address = api.call("POST", "forwards", tenant=webhook.get("tenant"))
    defaults = {"name": f"listen → {without_secrets(target)}"[:100], "disable_after": DISABLE_AFTER}
    made = api.call("POST", "webhooks", body=defaults | webhook | {"url": address["url"]})
    try:
        connector = aiohttp.TCPConnector(resolver=aiohttp.ThreadedResolver())  # knows what the system calls the target
        async with aiohttp.ClientSession(connector=connector, timeout=TIMEOUT) as http:
            forwarder = Forwarder(api, address["token"], made, target, http)
            try:
                yield forwarder
            finally:
                forwarder.cancel()
    finally:
        try:
            api.call("DELETE", "webhooks", made["id"])
        except Failed as failure:
            print_failure(failure)
            err.print(f"The webhook is left: `hookkeeper webhooks delete {made['id']}` deletes it.")


def target_of(target: str) -> URL:
    """Read the URL of the program. Raises `BadParameter` unless requests can be sent to it."""
    try:
        url = URL(target)
        is_valid = url.scheme in ("http", "https") and bool(url.host) and url.port != 0
    except ValueError:
        is_valid = False
    if not is_valid:
        raise typer.BadParameter(f"{target!r} is no URL such as http://localhost:3000/hook", param_hint="--forward-to")
    return url


def without_secrets(target: URL) -> str:
    """Return a URL as it is reported and stored: without password, query and fragment."""
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
    """What the screen shows. Keys change it."""

    forwarded: list[Forwarded] = field(default_factory=list)
    """Oldest first."""
    selected: int | None = None
    """The number of a delivery; None: always the latest."""
    only_failed: bool = False
    message: str = ""

    def add(self, news: Forwarded | str) -> None:
        if isinstance(news, str):
            self.message = news
        else:
            self.forwarded = [*self.forwarded, news][-MAX_KEPT:]

    @property
    def shown(self) -> list[Forwarded]:
        """The deliveries that the filter leaves, latest first."""
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
        """Draw the deliveries, and below them body and answer of the current one."""
        rows, current = max((height - 6) // 2, 1), self.current
        shown = self.shown
        first = max(shown.index(current) - rows + 1, 0) if current else 0
        lines: list[RenderableType] = [Text.from_markup(title), Text(KEYS, "dim"), Text(self.message, "yellow")]
        lines += [
            Text.from_markup(f"{'›' if one is current else ' '} {line_of(one)}") for one in shown[first : first + rows]
        ]
        if current:
            lines += [Text(), Text(current.body[: 20 * rows]), Text(f"→ {current.answer[: 10 * rows]}", "dim")]
        for line in lines:
            if isinstance(line, Text):
                line.no_wrap, line.overflow = line is not lines[-2], "ellipsis"
        return Group(*lines)


async def _show_screen(forwarder: Forwarder) -> None:
    from rich.live import Live

    screen = Screen(message="Waiting for deliveries.")
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
    """Open a delivery's event in the browser, and return where it is."""
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
        pressed = os.read(terminal, 64)
        for key in ARROWS.get(pressed) or pressed.decode(errors="replace"):
            press(key)

    try:
        tty.setcbreak(terminal)
        loop.add_reader(terminal, read)
        yield
    finally:
        loop.remove_reader(terminal)
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def _type_of(body: str) -> str:
    """Return the type in a body that Hookkeeper has made; a template can make others."""
    try:
        return str(json.loads(body)["type"])
    except (ValueError, LookupError, TypeError):
        return ""
