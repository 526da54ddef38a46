"""Events as text: `email to ann@acme.example → 250`, live or afterwards. Text of receivers is escaped."""

import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http import HTTPStatus
from operator import itemgetter

from rich.console import Console
from rich.markup import escape

from cli.client.api import Api, ApiUnavailable
from cli.console import Json
from hookkeeper.kinds import KINDS
from hookkeeper.wording import duration

COLORS = {"succeeded": "green", "failed": "red"} | dict.fromkeys(
    ("cancelled", "held", "retrying", "no_webhook"), "yellow"
)
SHOWN_STATUSES = ("failed", "cancelled", "held", "sent")
"""Statuses that the line of an attempt does not show."""
RECEIPTS = {
    "delivered": ("[green]✓[/green]", "delivered to"),
    "deferred": ("[yellow]·[/yellow]", "deferred for"),
    "bounced": ("[red]✗[/red]", "bounced from"),
    "dropped": ("[red]✗[/red]", "dropped for"),
    "spam_report": ("[yellow]![/yellow]", "reported as spam by"),
}
EXCERPT = 60
"""Characters of a response that are shown."""
_SAVED = re.compile(r"not sent: no email provider is set; saved as (?P<file>\S+)\s*")
"""The text of `hookkeeper.mail.capture`."""
WITH_ANSWER = {name for name, kind in KINDS.items() if kind.shows_answer}
POLL_INTERVAL = 0.15
"""Seconds between two reads of the event."""
NO_RESPONSE_TIMEOUT = 30.0
"""Seconds without a response after which `follow` gives up; API or worker may be restarting."""
SHORT_WAIT = 1.0
"""Seconds until an attempt that need not be announced."""
FINAL = ("succeeded", "failed", "cancelled", "no_webhook")
TARGET_WIDTH = 48
"""Maximum width of the target column."""

Sleep = Callable[[float], object]


def colored(status: str) -> str:
    color = COLORS.get(status, "cyan")
    return f"[{color}]{status.replace('_', ' ')}[/{color}]"


def target(delivery: Json) -> str:
    """`POST https://acme.example/hook`, `email to ann@acme.example`, `notify slack`."""
    channel = delivery["channel"]
    return f"{KINDS[channel].verb if channel in KINDS else channel} {delivery['target']}"


def state(delivery: Json) -> str:
    """`failed (exhausted)`, `retrying, next attempt in 5 min`, `sent, waiting for delivery to ann@acme.example`."""
    text = colored(delivery["status"])
    if delivery["reason"]:
        text += f" ({delivery['reason'].replace('_', ' ')})"
    if delivery["next_attempt_at"]:
        text += f", next attempt in {_until(delivery['next_attempt_at'])}"
    if delivery["awaiting"]:
        text += f", waiting for delivery to {escape(', '.join(delivery['awaiting']))}"
    return text


def attempt_in_event(event: Json, delivery: Json, attempt: Json, width: int) -> str:
    """Describe an attempt with its target and result in one line; the target is padded to `width`."""
    text = excerpt(_response_text(delivery, attempt))
    return (
        f"{_start(event, attempt)}  {escape(target(delivery).ljust(width))} → {_result(attempt):<3}"
        f"  [dim]{attempt['duration_ms']:.0f} ms[/dim]{_manual(attempt)}{text}"
    )


def attempt_in_delivery(event: Json, delivery: Json, attempt: Json) -> str:
    """Describe an attempt's result, without its target."""
    saved = _SAVED.match(attempt["response_excerpt"])
    file = f"  [dim]{escape(saved['file'])}[/dim]" if saved else ""
    result = f"{_result(attempt)} {_phrase(attempt)}"
    text = excerpt(_response_text(delivery, attempt))
    return f"{_start(event, attempt)}  {result:<23} {attempt['duration_ms']:5.0f} ms{_manual(attempt)}{file}{text}"


def receipt(event: Json, receipt_: Json) -> str:
    """`✗ bounced from ann@acme.example  “550 no such user”`."""
    mark, phrase = RECEIPTS[receipt_["kind"]]
    return (
        f"  [dim]{_since(event, receipt_['at'])}[/dim]  {mark} {phrase} {escape(receipt_['address'])}"
        f"{excerpt(receipt_['detail'])}"
    )


def status_change(delivery: Json) -> str:
    """Describe the status of a delivery, if the line of its attempt does not."""
    if delivery["status"] not in SHOWN_STATUSES:
        return ""
    return f"  {'':>8}    {escape(target(delivery))}  {state(delivery)}"


def outcome(event: Json, delivery: Json) -> str | None:
    """Describe what has become of a delivery: `delivered 200 in 84 ms`, `failed 500, next in 5 s`, `held (paused)`.

    None if nothing has: it waits for its first attempt.
    """
    status, code = delivery["status"], result_of(delivery["status_code"], delivery["error"])
    result = f" {code}" if code and delivery["attempts"] else ""
    if status == "succeeded":
        if not (finished_at := delivery.get("finished_at")):  # a list has only that of the event
            return f"[green]delivered[/green]{result}"
        seconds = (_time(finished_at) - _time(event["accepted_at"])).total_seconds()
        return f"[green]delivered[/green]{result} in {f'{seconds * 1000:.0f} ms' if seconds < 1 else duration(seconds)}"
    if status in ("pending", "retrying"):
        if not delivery["attempts"]:
            return None
        due = delivery["next_attempt_at"]
        return f"[yellow]failed[/yellow]{result}" + (f", next in {_until(due)}" if due else "")
    reason = f" ({delivery['reason'].replace('_', ' ')})" if delivery["reason"] else ""
    return f"{colored(status)}{result if status in ('failed', 'sent') else ''}{reason}"


def next_attempt_at(event: Json) -> str | None:
    """Return when the first of the event's next attempts is due, if one is."""
    return min(filter(None, (delivery["next_attempt_at"] for delivery in event["deliveries"])), default=None)


def seconds_until(text: str) -> float:
    return max(0.0, (_time(text) - datetime.now(UTC)).total_seconds())


def waiting_for(event: Json) -> str:
    """Describe what the event waits for."""
    deliveries = event["deliveries"]
    if due := next_attempt_at(event):
        return f"next attempt in {_until(due)}"
    if event["status"] == "scheduled":
        return f"scheduled: delivered in {_until(event['deliver_at'])}"
    if any(delivery["status"] == "held" for delivery in deliveries):
        return "held: `hookkeeper events release` continues it"
    awaiting = [address for delivery in deliveries for address in delivery["awaiting"]]
    return f"sent: waiting for delivery to {escape(', '.join(awaiting))}" if awaiting else "delivering"


def _start(event: Json, attempt: Json) -> str:
    mark = "[red]✗[/red]" if attempt["error"] else "[green]✓[/green]"
    return f"  [dim]{_since(event, attempt['started_at'])}[/dim]  {mark} attempt {attempt['number']}"


def _since(event: Json, text: str) -> str:
    """Return the time since the event was accepted."""
    seconds = (_time(text) - _time(event["accepted_at"])).total_seconds()
    return f"{f'{seconds:.1f} s' if seconds < 60 else duration(seconds):>8}"


def _result(attempt: Json) -> str:
    if attempt["status_code"] is None and attempt["error"] is None:
        return "saved to a file" if _SAVED.match(attempt["response_excerpt"]) else "done"
    return result_of(attempt["status_code"], attempt["error"])


def result_of(code: int | None, error: str | None) -> str:
    """`503`, `250`, `timeout`, `200, timeout` for a response that did not end; empty without both."""
    if error in (None, f"http_{code}", f"smtp_{code}"):
        return "" if code is None else str(code)
    reason = str(error).replace("_", " ")
    return reason if code is None else f"{code}, {reason}"


def _phrase(attempt: Json) -> str:
    """Return the phrase of an HTTP status; SMTP codes with the same numbers mean something else."""
    code, error = attempt["status_code"], attempt["error"]
    is_http = error in (None, f"http_{code}") and code in HTTPStatus._value2member_map_
    return HTTPStatus(code).phrase if is_http else ""


def _response_text(delivery: Json, attempt: Json) -> str:
    """Return the receiver's text for failures, and of some kinds for successes; else the HTTP phrase of a failure."""
    text: str = attempt["response_excerpt"]
    if attempt["error"]:
        return text or _phrase(attempt)
    return _SAVED.sub("", text) if delivery["channel"] in WITH_ANSWER else ""


def _manual(attempt: Json) -> str:
    return "  manual" if attempt["trigger"] == "manual" else ""


def excerpt(text: str) -> str:
    line = " ".join(text.split())
    cut = line if len(line) <= EXCERPT else f"{line[:EXCERPT]}…"
    return f"  [dim]“{escape(cut)}”[/dim]" if line else ""


def _until(text: str) -> str:
    seconds = seconds_until(text)
    return duration(round(seconds, 0 if seconds > 10 else 1))


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


# The timeline of an event


def is_final(event: Json) -> bool:
    return event["status"] in FINAL


def follow(
    api: Api,
    console: Console,
    event_id: str,
    tenant: str,
    *,
    is_done: Callable[[Json], bool] = is_final,
    sleep: Sleep = time.sleep,
) -> Json:
    """Print each change until `is_done`; return the event."""
    timeline = _Timeline(console)
    with console.status("waiting for the first attempt") as status:
        for event in _states(api, event_id, tenant, sleep):
            if event is None:
                status.update("no response, trying again")
                continue
            timeline.update(event)
            if is_done(event):
                return event
            status.update(waiting_for(event))
            if not console.is_terminal:  # it shows no status
                timeline.announce_wait(event)
    raise AssertionError("polling does not end")


def show(console: Console, event: Json) -> None:
    """Print an event with its deliveries and attempts."""
    status = colored(event["status"])
    console.print(f"[bold]{event['id']}[/bold]  {event['type']}  tenant {event['tenant']}  {status}")
    console.print(f"  [dim]accepted {event['accepted_at']}[/dim]")
    for delivery in event["deliveries"]:
        console.print(f"\n  {escape(target(delivery))}  {state(delivery)}  [dim]{delivery['id']}[/dim]")
        if delivery["attempts_omitted"]:
            console.print(f"  [dim]  {delivery['attempts_omitted']} older attempts are in the Temporal history[/dim]")
        for attempt in delivery["attempts"]:
            console.print(attempt_in_delivery(event, delivery, attempt))
        for one in delivery["receipts"]:
            console.print(receipt(event, one))
    if event["links"]["temporal"]:
        console.print(f"\n  [dim]{event['links']['temporal']}[/dim]")


class _Timeline:
    """Prints each attempt, receipt and change of status once."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._printed: set[tuple[object, ...]] = set()
        self._statuses: dict[str, tuple[str, str | None]] = {}
        self._announced: str | None = None
        """The time of the attempt that was announced last."""

    def update(self, event: Json) -> None:
        """Print what is new."""
        width = max((len(target(delivery)) for delivery in event["deliveries"]), default=0)
        lines = [*_attempts(event, min(width, TARGET_WIDTH)), *_receipts(event)]
        for _, key, line in sorted(lines, key=itemgetter(0)):
            if key not in self._printed:
                self._printed.add(key)
                self._console.print(line)
        for delivery in event["deliveries"]:
            now = (delivery["status"], delivery["reason"])
            if self._statuses.get(delivery["id"]) != now and (line := status_change(delivery)):
                self._console.print(line)
            self._statuses[delivery["id"]] = now

    def announce_wait(self, event: Json) -> None:
        """Print once when the next attempt is due, if that is not at once."""
        due = next_attempt_at(event)
        if due and due != self._announced and seconds_until(due) > SHORT_WAIT:
            self._announced = due
            self._console.print(f"  [dim]{waiting_for(event)}[/dim]")


Line = tuple[str, tuple[object, ...], str]
"""Time, identity and text of a line."""


def _attempts(event: Json, width: int) -> Iterator[Line]:
    for delivery in event["deliveries"]:
        for attempt in delivery["attempts"]:
            line = attempt_in_event(event, delivery, attempt, width)
            yield attempt["started_at"], (delivery["id"], attempt["number"]), line


def _receipts(event: Json) -> Iterator[Line]:
    for delivery in event["deliveries"]:
        for one in delivery["receipts"]:
            yield one["at"], (delivery["id"], *one.values()), receipt(event, one)


def _states(api: Api, event_id: str, tenant: str, sleep: Sleep) -> Iterator[Json | None]:
    """Poll the event; yield None while there is no response."""
    responded_at = time.monotonic()
    while True:
        try:
            event = api.call("GET", "events", event_id, tenant=tenant)
            responded_at = time.monotonic()
        except ApiUnavailable:
            if time.monotonic() - responded_at > NO_RESPONSE_TIMEOUT:
                raise
            event = None
        yield event
        sleep(POLL_INTERVAL)
