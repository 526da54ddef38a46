"""Show an event's attempts as they happen, or as they happened: a timeline that a newcomer understands."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from rich.console import Console
from rich.markup import escape

from cli.client import Api, OutOfReach
from workflows.summaries import duration

POLL = 0.15
PATIENCE = 30.0
"""Seconds without an answer until following is given up: the API or the worker may be starting again."""
FINAL = ("succeeded", "failed", "cancelled")
COLORS = {"succeeded": "green", "failed": "red", "cancelled": "yellow", "held": "yellow"}

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
    """Print each attempt as it happens until it is enough; give the event as it is then."""
    shown: set[tuple[str, int]] = set()
    with console.status("waiting for the first attempt") as status:
        for event in _states(api, event_id, tenant, sleep):
            if event is None:
                status.update("no answer for now, asking again")
                continue
            for delivery, attempt in _attempts(event):
                key = (delivery["id"], attempt["number"])
                if key not in shown:
                    shown.add(key)
                    where = f"  {escape(delivery['target'])}" if len(event["deliveries"]) > 1 else ""
                    console.print(_line(event, attempt) + where)
            if is_enough(event):
                return event
            status.update(_waiting_for(event))
    raise AssertionError("asking never ends by itself")


def show(console: Console, event: Json) -> None:
    """Print an event with all its attempts."""
    console.print(f"[bold]{event['id']}[/bold]  {event['type']}  tenant {event['tenant']}  {colored(event['status'])}")
    console.print(f"  [dim]accepted {event['accepted_at']}[/dim]")
    for delivery in event["deliveries"]:
        console.print(f"\n  {escape(delivery['target'])}  {_how(delivery)}  [dim]{delivery['id']}[/dim]")
        if delivery["attempts_omitted"]:
            console.print(f"  [dim]  {delivery['attempts_omitted']} older attempts are in the Temporal history[/dim]")
        for attempt in delivery["attempts"]:
            console.print(_line(event, attempt))
    if event["links"]["temporal"]:
        console.print(f"\n  [dim]{event['links']['temporal']}[/dim]")


def colored(status: str) -> str:
    color = COLORS.get(status, "cyan")
    return f"[{color}]{status}[/{color}]"


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


def _attempts(event: Json) -> Iterator[tuple[Json, Json]]:
    pairs = [(delivery, attempt) for delivery in event["deliveries"] for attempt in delivery["attempts"]]
    yield from sorted(pairs, key=lambda pair: pair[1]["started_at"])


def _line(event: Json, attempt: Json) -> str:
    good = attempt["error"] is None
    mark, color = ("✓", "green") if good else ("✗", "red")
    by_hand = "  by hand" if attempt["trigger"] == "manual" else ""
    excerpt = "" if good else _excerpt(attempt["response_excerpt"])
    return (
        f"  [dim]{_since(event, attempt):>8}[/dim]  [{color}]{mark}[/{color}] attempt {attempt['number']}"
        f"  {_result(attempt):<23} {attempt['duration_ms']:5.0f} ms{by_hand}{excerpt}"
    )


def _since(event: Json, attempt: Json) -> str:
    """Say how long after the event was accepted the attempt began."""
    seconds = (_time(attempt["started_at"]) - _time(event["accepted_at"])).total_seconds()
    return f"{seconds:.1f} s" if seconds < 60 else duration(seconds)


def _result(attempt: Json) -> str:
    code = attempt["status_code"]
    if code is None:
        return str(attempt["error"]).replace("_", " ")
    phrase = HTTPStatus(code).phrase if code in HTTPStatus._value2member_map_ else ""
    return f"{code} {phrase}"


def _excerpt(text: str) -> str:
    line = " ".join(text.split())
    cut = line if len(line) <= 60 else f"{line[:60]}…"
    return f"  [dim]“{escape(cut)}”[/dim]" if line else ""


def _how(delivery: Json) -> str:
    text = colored(delivery["status"])
    if delivery["reason"]:
        text += f" ({delivery['reason'].replace('_', ' ')})"
    if delivery["next_attempt_at"]:
        text += f", next attempt in {_until(delivery['next_attempt_at'])}"
    return text


def _waiting_for(event: Json) -> str:
    due = [each["next_attempt_at"] for each in event["deliveries"] if each["next_attempt_at"]]
    if due:
        return f"next attempt in {_until(min(due))}"
    if event["status"] == "scheduled":
        return f"scheduled: delivered in {_until(event['deliver_at'])}"
    if any(each["status"] == "held" for each in event["deliveries"]):
        return "held: `hookkeeper events release` lets it go on"
    return "delivering"


def _until(text: str) -> str:
    seconds = max(0.0, (_time(text) - datetime.now(UTC)).total_seconds())
    return duration(round(seconds, 0 if seconds > 10 else 1))


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
