"""Show an event's attempts as they happen, or as they happened: a timeline that a newcomer understands."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from rich.console import Console
from rich.markup import escape

from cli.client import Api
from workflows.summaries import duration

POLL = 0.15
COLORS = {"succeeded": "green", "failed": "red", "cancelled": "yellow", "held": "yellow"}
OnAttempt = Callable[[dict[str, Any]], None]


def follow(api: Api, console: Console, event_id: str, tenant: str, after: OnAttempt | None = None) -> dict[str, Any]:
    """Print each attempt as it happens until the event is final; give the event as it ended."""
    shown: set[tuple[str, int]] = set()
    with console.status("waiting for the first attempt") as waiting:
        while True:
            event: dict[str, Any] = api.call("GET", f"/events/{event_id}", tenant=tenant)
            for delivery, attempt in _attempts(event):
                key = (delivery["id"], attempt["number"])
                if key not in shown:
                    shown.add(key)
                    console.print(_line(event, delivery, attempt))
                    if after:
                        after(attempt)
            if event["finished_at"]:
                return event
            waiting.update(_waiting_for(event))
            time.sleep(POLL)


def show(console: Console, event: dict[str, Any]) -> None:
    """Print an event with all its attempts."""
    console.print(f"[bold]{event['id']}[/bold]  {event['type']}  tenant {event['tenant']}  {colored(event['status'])}")
    for delivery, attempt in _attempts(event):
        console.print(_line(event, delivery, attempt))
    for delivery in event["deliveries"]:
        console.print(f"  {delivery['id']}  {escape(delivery['target'])}  {_how(delivery)}")
    if event["links"]["temporal"]:
        console.print(f"  [dim]{event['links']['temporal']}[/dim]")


def colored(status: str) -> str:
    color = COLORS.get(status, "cyan")
    return f"[{color}]{status}[/{color}]"


def _attempts(event: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    pairs = [(delivery, attempt) for delivery in event["deliveries"] for attempt in delivery["attempts"]]
    yield from sorted(pairs, key=lambda pair: pair[1]["started_at"])


def _line(event: dict[str, Any], delivery: dict[str, Any], attempt: dict[str, Any]) -> str:
    since = (_time(attempt["started_at"]) - _time(event["accepted_at"])).total_seconds()
    good = attempt["error"] is None
    mark, color = ("✓", "green") if good else ("✗", "red")
    where = f"  {escape(delivery['target'])}" if len(event["deliveries"]) > 1 else ""
    by_hand = "  by hand" if attempt["trigger"] == "manual" else ""
    excerpt = "" if good else _excerpt(attempt["response_excerpt"])
    return (
        f"  [dim]{since:7.1f} s[/dim]  [{color}]{mark}[/{color}] attempt {attempt['number']}"
        f"  {_result(attempt):<24} {attempt['duration_ms']:6.0f} ms{by_hand}{where}{excerpt}"
    )


def _result(attempt: dict[str, Any]) -> str:
    code = attempt["status_code"]
    if code is None:
        return str(attempt["error"]).replace("_", " ")
    phrase = HTTPStatus(code).phrase if code in HTTPStatus._value2member_map_ else ""
    return f"{code} {phrase}"


def _excerpt(text: str) -> str:
    line = " ".join(text.split())[:60]
    return f"  [dim]“{escape(line)}”[/dim]" if line else ""


def _how(delivery: dict[str, Any]) -> str:
    text = colored(delivery["status"])
    if delivery["reason"]:
        text += f" ({delivery['reason'].replace('_', ' ')})"
    if delivery["next_attempt_at"]:
        text += f", next attempt {delivery['next_attempt_at']}"
    return text


def _waiting_for(event: dict[str, Any]) -> str:
    due = [each["next_attempt_at"] for each in event["deliveries"] if each["next_attempt_at"]]
    if not due:
        held = any(each["status"] == "held" for each in event["deliveries"])
        return "held: `hookkeeper events release` lets it go on" if held else "delivering"
    seconds = max(0.0, (_time(min(due)) - datetime.now(UTC)).total_seconds())
    return f"next attempt in {duration(round(seconds, 0 if seconds > 10 else 1))}"


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
