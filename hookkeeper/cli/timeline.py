"""Print the attempts of an event, live or afterwards."""

import time
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.markup import escape

from hookkeeper.cli import wording
from hookkeeper.cli.client import Api, OutOfReach

POLL = 0.15
NO_RESPONSE_TIMEOUT = 30.0
"""Seconds without a response after which `follow` gives up; API or worker may be restarting."""
FINAL = ("succeeded", "failed", "cancelled")
TARGET_WIDTH = 48
"""Maximum width of the target column."""

Json = dict[str, Any]
Sleep = Callable[[float], object]


def is_final(event: Json) -> bool:
    return event["status"] in FINAL


def follow(
    api: Api,
    console: Console,
    event_id: str,
    tenant: str,
    *,
    is_enough: Callable[[Json], bool] = is_final,
    sleep: Sleep = time.sleep,
) -> Json:
    """Print each change until `is_enough`; return the event."""
    timeline = _Timeline(console)
    with console.status("waiting for the first attempt") as status:
        for event in _states(api, event_id, tenant, sleep):
            if event is None:
                status.update("no response, trying again")
                continue
            timeline.update(event)
            if is_enough(event):
                return event
            status.update(wording.waiting_for(event))
    raise AssertionError("polling does not end")


def show(console: Console, event: Json) -> None:
    """Print an event with its deliveries and attempts."""
    status = wording.colored(event["status"])
    console.print(f"[bold]{event['id']}[/bold]  {event['type']}  tenant {event['tenant']}  {status}")
    console.print(f"  [dim]accepted {event['accepted_at']}[/dim]")
    for delivery in event["deliveries"]:
        goal, state = escape(wording.goal(delivery)), wording.state(delivery)
        console.print(f"\n  {goal}  {state}  [dim]{delivery['id']}[/dim]")
        if delivery["attempts_omitted"]:
            console.print(f"  [dim]  {delivery['attempts_omitted']} older attempts are in the Temporal history[/dim]")
        for attempt in delivery["attempts"]:
            console.print(wording.attempt_in_delivery(event, delivery, attempt))
        for receipt in delivery["receipts"]:
            console.print(wording.receipt(event, receipt))
    if event["links"]["temporal"]:
        console.print(f"\n  [dim]{event['links']['temporal']}[/dim]")


class _Timeline:
    """Prints each attempt, receipt and change of status once."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._printed: set[tuple[object, ...]] = set()
        self._statuses: dict[str, tuple[str, str | None]] = {}

    def update(self, event: Json) -> None:
        """Print what is new."""
        width = max((len(wording.goal(each)) for each in event["deliveries"]), default=0)
        lines = [*_attempts(event, min(width, TARGET_WIDTH)), *_receipts(event)]
        for _, key, line in sorted(lines, key=lambda each: each[0]):
            if key not in self._printed:
                self._printed.add(key)
                self._console.print(line)
        for delivery in event["deliveries"]:
            now = (delivery["status"], delivery["reason"])
            if self._statuses.get(delivery["id"]) != now and (line := wording.status_change(delivery)):
                self._console.print(line)
            self._statuses[delivery["id"]] = now


Line = tuple[str, tuple[object, ...], str]
"""Time, identity and text of a line."""


def _attempts(event: Json, width: int) -> Iterator[Line]:
    for delivery in event["deliveries"]:
        for attempt in delivery["attempts"]:
            line = wording.attempt_in_event(event, delivery, attempt, width)
            yield attempt["started_at"], (delivery["id"], attempt["number"]), line


def _receipts(event: Json) -> Iterator[Line]:
    for delivery in event["deliveries"]:
        for receipt in delivery["receipts"]:
            yield receipt["at"], (delivery["id"], *receipt.values()), wording.receipt(event, receipt)


def _states(api: Api, event_id: str, tenant: str, sleep: Sleep) -> Iterator[Json | None]:
    """Poll the event; yield None while there is no response."""
    answered = time.monotonic()
    while True:
        try:
            state = api.call("GET", "events", event_id, tenant=tenant)
            answered = time.monotonic()
        except OutOfReach:
            if time.monotonic() - answered > NO_RESPONSE_TIMEOUT:
                raise
            state = None
        yield state
        sleep(POLL)
