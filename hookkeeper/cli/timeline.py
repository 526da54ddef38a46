"""Show an event's attempts as they happen, or as they happened: a timeline that a newcomer understands."""

import time
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.markup import escape

from hookkeeper.cli import wording
from hookkeeper.cli.client import Api, OutOfReach

POLL = 0.15
PATIENCE = 30.0
"""Seconds without an answer until following is given up: the API or the worker may be starting again."""
FINAL = ("succeeded", "failed", "cancelled")
ALIGNED = 48
"""Characters that what is attempted may have, to be padded like the others."""

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
    """Print each thing that happens until it is enough; give the event as it is then."""
    story = _Story(console)
    with console.status("waiting for the first attempt") as status:
        for event in _states(api, event_id, tenant, sleep):
            if event is None:
                status.update("no answer for now, asking again")
                continue
            story.go_on(event)
            if is_enough(event):
                return event
            status.update(wording.waiting_for(event))
    raise AssertionError("asking never ends by itself")


def show(console: Console, event: Json) -> None:
    """Print an event with all that has happened, delivery by delivery."""
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


class _Story:
    """Tells everything once: attempts, receipts, and what has become of a delivery."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told: set[tuple[object, ...]] = set()
        self._turns: dict[str, tuple[str, str | None]] = {}

    def go_on(self, event: Json) -> None:
        """Print what is new."""
        width = max((len(wording.goal(each)) for each in event["deliveries"]), default=0)
        lines = [*_attempts(event, min(width, ALIGNED)), *_receipts(event)]
        for _, key, line in sorted(lines, key=lambda each: each[0]):
            if key not in self._told:
                self._told.add(key)
                self._console.print(line)
        for delivery in event["deliveries"]:
            now = (delivery["status"], delivery["reason"])
            if self._turns.get(delivery["id"]) != now and (turn := wording.turn(delivery)):
                self._console.print(turn)
            self._turns[delivery["id"]] = now


Line = tuple[str, tuple[object, ...], str]
"""When it happened, what it is known by, and how it is told."""


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
    """Ask how the event is doing, again and again; None while there is no answer."""
    answered = time.monotonic()
    while True:
        try:
            state = api.call("GET", "events", event_id, tenant=tenant)
            answered = time.monotonic()
        except OutOfReach:
            if time.monotonic() - answered > PATIENCE:
                raise
            state = None
        yield state
        sleep(POLL)
