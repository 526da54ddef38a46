"""`hookkeeper listen --forward-to`: hand deliveries to a program on this machine, which needs no public address.

The command makes an address of the API and a webhook with it, takes its requests as a stream, and reports the answers,
which become the outcomes of the attempts. It deletes the webhook when it stops.
"""

import json
import os
import select
import signal
import sys
import threading
import time
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import quote, urlsplit

import typer
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.text import Text

from hookkeeper.cli.client import Api, ApiUnavailable, present
from hookkeeper.cli.console import Failed, Json, err, out, print_failure
from hookkeeper.cli.signatures import signed_headers

RECONNECT_AFTER = 1.0
"""Seconds until a stream that has ended is opened again."""
TIMEOUT = 30.0
"""Seconds that the program has to answer, as many as a webhook can have."""
MAX_ANSWER = 4096
"""Characters of an answer that are reported, as many as an attempt keeps."""
MAX_RETRY_AFTER = 100
DISABLE_AFTER = 3600.0
"""Seconds of failures after which a webhook is disabled that a killed command has left behind."""
MAX_KEPT = 200
"""Deliveries that the screen keeps."""
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
    duration_ms: float
    note: str = ""
    """Why the answer became no outcome of an attempt; empty if it did."""

    @property
    def failed(self) -> bool:
        return not 200 <= self.status < 300


class Forwarder:
    """The address and its webhook, and a thread that takes the requests."""

    def __init__(self, api: Api, target: str, webhook: Json, tenant: str | None) -> None:
        """Make address and webhook. Raises `Failed`."""
        import httpx

        address = api.call("POST", "forwards", tenant=tenant)
        self.api, self.target, self.shown_target = api, target, without_secrets(target)
        self.webhook = api.call("POST", "webhooks", body=webhook | {"url": address["url"]} | present(tenant=tenant))
        self.news: SimpleQueue[Forwarded | str | None] = SimpleQueue()
        """Deliveries, sentences about the connection, and None if the stream cannot go on."""
        self.failure: Failed | None = None
        self._token = address["token"]
        self._http = httpx.Client(timeout=TIMEOUT, trust_env=False)
        self._numbers = iter(range(1, sys.maxsize))
        _start(self._take)

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
                        _start(self._forward, next(self._numbers), data)
            except ApiUnavailable as error:
                if not is_away:
                    self.news.put(f"{error} Trying again.")
                is_away = True
            except Failed as failure:
                self.failure = failure
                self.news.put(None)
                return
            time.sleep(RECONNECT_AFTER)

    def _resume(self) -> None:
        """Go on with the webhook, which was disabled if it has failed for long. Raises `Failed` if it was deleted."""
        self.api.call("PATCH", "webhooks", self.webhook["id"], body={"enabled": True})
        self.news.put("Connected again.")

    def _forward(self, number: int, request: Json) -> None:
        status, retry_after, forwarded = self._send(number, request["headers"], request["body"])
        answer = present(id=request["id"], status=status, body=forwarded.answer, retry_after=retry_after)
        note = ""
        try:
            self.api.call("PATCH", "forwards", self._token, body=answer)
        except Failed as failure:
            note = f"not reported: {failure}"
        self.news.put(_with_note(forwarded, note) if note else forwarded)

    def again(self, earlier: Forwarded) -> None:
        """Send a delivery to the program once more, signed anew. It is no attempt of the event."""
        signed = signed_headers(self.webhook["secret"], earlier.event_id, earlier.body.encode())

        def send() -> None:
            _, _, forwarded = self._send(next(self._numbers), earlier.headers | signed, earlier.body)
            self.news.put(_with_note(forwarded, "sent again: no attempt"))

        _start(send)

    def _send(self, number: int, headers: dict[str, str], body: str) -> tuple[int, str | None, Forwarded]:
        import httpx

        start = time.perf_counter()
        response: httpx.Response | None = None
        try:
            response = self._http.post(self.target, content=body.encode(), headers=headers)
            status = response.status_code if 200 <= response.status_code <= 599 else UNREACHABLE
            text = response.text
        except (httpx.HTTPError, ValueError) as error:  # a header that the program cannot be sent is a ValueError
            reason = str(error) if isinstance(error, httpx.HTTPError) else ""
            status, text = UNREACHABLE, f"cannot reach {self.shown_target}: {reason or type(error).__name__}"
        forwarded = Forwarded(
            number=number,
            event_id=headers.get("webhook-id", ""),
            type=_type_of(body),
            headers=headers,
            body=body,
            status=status,
            answer=text[:MAX_ANSWER],
            duration_ms=(time.perf_counter() - start) * 1000,
        )
        retry_after = response.headers.get("retry-after") if response is not None else None
        return status, retry_after and retry_after[:MAX_RETRY_AFTER], forwarded

    def close(self) -> None:
        """Delete the webhook; say so if that fails."""
        try:
            self.api.call("DELETE", "webhooks", self.webhook["id"])
        except Failed as failure:
            print_failure(failure)
            err.print(f"The webhook is left: `hookkeeper webhooks delete {self.webhook['id']}` deletes it.")


def run_forward(target: str, webhook: Json, tenant: str | None, *, as_json: bool) -> None:
    """Forward until stopped: on a full screen if this is a terminal, else in lines. Raises `Failed`."""
    check_target(target)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    defaults = {"name": f"listen → {without_secrets(target)}"[:100], "disable_after": DISABLE_AFTER}
    api = Api.of_environment()
    with closing(Forwarder(api, target, defaults | webhook, tenant)) as forwarder:
        try:
            if out.is_terminal and sys.stdin.isatty() and not as_json:
                _show_screen(forwarder)
            else:
                _print_lines(forwarder, as_json)
        except KeyboardInterrupt:
            return


def check_target(target: str) -> None:
    """Raise `BadParameter` unless requests can be sent to this URL."""
    import httpx

    try:
        url = httpx.URL(target)
        is_valid = url.scheme in ("http", "https") and bool(url.host) and urlsplit(target).port != 0
    except (httpx.InvalidURL, ValueError):  # the latter for a port that is none
        is_valid = False
    if not is_valid:
        raise typer.BadParameter(f"{target!r} is no URL such as http://localhost:3000/hook", param_hint="--forward-to")


def without_secrets(target: str) -> str:
    """Return a URL as it is reported and stored: without password, query and fragment."""
    parts = urlsplit(target)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _print_lines(forwarder: Forwarder, as_json: bool) -> None:
    console = err if as_json else out
    console.print(
        f"Forwarding [bold]{forwarder.webhook['id']}[/bold] to {escape(forwarder.shown_target)}, signed with"
        f" {forwarder.webhook['secret']}. Ctrl-C stops it."
    )
    while (news := forwarder.news.get()) is not None:
        if isinstance(news, str):
            err.print(f"[yellow]{escape(news)}[/yellow]")
        elif as_json:
            typer.echo(json.dumps(asdict(news)))
        else:
            out.print(line_of(news))
    raise forwarder.failure or Failed("the stream has ended")


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


def _show_screen(forwarder: Forwarder) -> None:
    from rich.live import Live

    screen = Screen(message="Waiting for deliveries.")
    title = (
        f"[bold]{forwarder.webhook['id']}[/bold] → {escape(forwarder.shown_target)}"
        f"  [dim]{forwarder.webhook['secret']}[/dim]"
    )
    with _keys() as read_key, Live(console=out, auto_refresh=False, screen=True) as live:
        while True:
            live.update(screen.frame(title, out.height), refresh=True)
            key = read_key()
            if key == "q":
                return
            screen.press(key)
            if current := screen.current:
                _act(key, current, forwarder)
            _take_news(screen, forwarder)


def _act(key: str, current: Forwarded, forwarder: Forwarder) -> None:
    if key == "r":
        forwarder.again(current)
    elif key == "o":
        webbrowser.open(
            f"{forwarder.api.url}/events/{quote(current.event_id)}?tenant={quote(forwarder.webhook['tenant'])}"
        )


def _take_news(screen: Screen, forwarder: Forwarder) -> None:
    try:
        while (news := forwarder.news.get_nowait()) is not None:
            screen.add(news)
    except Empty:
        return
    raise forwarder.failure or Failed("the stream has ended")


@contextmanager
def _keys() -> Iterator[Callable[[], str]]:
    """Read single keys from the terminal while the block lasts: each call waits up to a fifth of a second."""
    import termios
    import tty

    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)

    def read() -> str:
        if not select.select([terminal], [], [], 0.2)[0]:
            return ""
        pressed = os.read(terminal, 8)
        return ARROWS.get(pressed, pressed[:1].decode(errors="replace"))

    try:
        tty.setcbreak(terminal)
        yield read
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def _type_of(body: str) -> str:
    """Return the type in a body that Hookkeeper has made; a template can make others."""
    try:
        found = json.loads(body)
    except ValueError:
        return ""
    type_ = found.get("type") if isinstance(found, dict) else None
    return type_ if isinstance(type_, str) else ""


def _with_note(forwarded: Forwarded, note: str) -> Forwarded:
    return Forwarded(**asdict(forwarded) | {"note": note})


def _start(work: Callable[..., None], *args: Any) -> None:
    """Run work in a thread that keeps no process alive. The API bounds how many run at once."""
    threading.Thread(target=work, args=args, daemon=True).start()
