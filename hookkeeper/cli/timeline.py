"""Print the attempts of an event, live or afterwards."""

import time
from collections.abc import Callable, Iterator
from operator import itemgetter

from rich.console import Console
from rich.markup import escape

from hookkeeper.cli import event_views
from hookkeeper.cli.client import Api, ApiUnavailable
from hookkeeper.cli.console import Json

POLL_INTERVAL = 0.15
"""Seconds between two reads of the event."""
NO_RESPONSE_TIMEOUT = 30.0
"""Seconds without a response after which `follow` gives up; API or worker may be restarting."""
SHORT_WAIT = 1.0
"""Seconds until an attempt that need not be announced."""
FINAL = ("succeeded", "failed", "cancelled")
TARGET_WIDTH = 48
"""Maximum width of the target column."""

Sleep = Callable[[float], object]


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
            status.update(event_views.waiting_for(event))
            if not console.is_terminal:  # it shows no status
                timeline.announce_wait(event)
    raise AssertionError("polling does not end")


def show(console: Console, event: Json) -> None:
    """Print an event with its deliveries and attempts."""
    status = event_views.colored(event["status"])
    console.print(f"[bold]{event['id']}[/bold]  {event['type']}  tenant {event['tenant']}  {status}")
    console.print(f"  [dim]accepted {event['accepted_at']}[/dim]")
    for delivery in event["deliveries"]:
        target, state = escape(event_views.target(delivery)), event_views.state(delivery)
        console.print(f"\n  {target}  {state}  [dim]{delivery['id']}[/dim]")
        if delivery["attempts_omitted"]:
            console.print(f"  [dim]  {delivery['attempts_omitted']} older attempts are in the Temporal history[/dim]")
        for attempt in delivery["attempts"]:
            console.print(event_views.attempt_in_delivery(event, delivery, attempt))
        for receipt in delivery["receipts"]:
            console.print(event_views.receipt(event, receipt))
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
        width = max((len(event_views.target(delivery)) for delivery in event["deliveries"]), default=0)
        lines = [*_attempts(event, min(width, TARGET_WIDTH)), *_receipts(event)]
        for _, key, line in sorted(lines, key=itemgetter(0)):
            if key not in self._printed:
                self._printed.add(key)
                self._console.print(line)
        for delivery in event["deliveries"]:
            now = (delivery["status"], delivery["reason"])
            if self._statuses.get(delivery["id"]) != now and (line := event_views.status_change(delivery)):
                self._console.print(line)
            self._statuses[delivery["id"]] = now

    def announce_wait(self, event: Json) -> None:
        """Print once when the next attempt is due, if that is not at once."""
        due = event_views.next_attempt_at(event)
        if due and due != self._announced and event_views.seconds_until(due) > SHORT_WAIT:
            self._announced = due
            self._console.print(f"  [dim]{event_views.waiting_for(event)}[/dim]")


Line = tuple[str, tuple[object, ...], str]
"""Time, identity and text of a line."""


def _attempts(event: Json, width: int) -> Iterator[Line]:
    for delivery in event["deliveries"]:
        for attempt in delivery["attempts"]:
            line = event_views.attempt_in_event(event, delivery, attempt, width)
            yield attempt["started_at"], (delivery["id"], attempt["number"]), line


def _receipts(event: Json) -> Iterator[Line]:
    for delivery in event["deliveries"]:
        for receipt in delivery["receipts"]:
            yield receipt["at"], (delivery["id"], *receipt.values()), event_views.receipt(event, receipt)


def _states(api: Api, event_id: str, tenant: str, sleep: Sleep) -> Iterator[Json | None]:
    """Poll the event; yield None while there is no response."""
    responded_at = time.monotonic()
    while True:
        try:
            state = api.call("GET", "events", event_id, tenant=tenant)
            responded_at = time.monotonic()
        except ApiUnavailable:
            if time.monotonic() - responded_at > NO_RESPONSE_TIMEOUT:
                raise
            state = None
        yield state
        sleep(POLL_INTERVAL)
