"""Events in words: `email to ann@acme.example → 250`. What comes from receivers is escaped."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from rich.markup import escape

from workflows.summaries import VERBS, duration

COLORS = {"succeeded": "green", "failed": "red", "cancelled": "yellow", "held": "yellow"}
TURNS = ("failed", "cancelled", "held", "sent")
"""Statuses that an attempt's own line does not say."""
RECEIPTS = {
    "delivered": ("[green]✓[/green]", "delivered to"),
    "deferred": ("[yellow]·[/yellow]", "deferred for"),
    "bounced": ("[red]✗[/red]", "bounced from"),
    "dropped": ("[red]✗[/red]", "dropped for"),
    "spam_report": ("[yellow]![/yellow]", "called spam by"),
}
EXCERPT = 60
"""Characters of an answer that are shown."""
_KEPT = re.compile(r"not sent: no email provider is set; kept as (?P<file>\S+)\s*")
"""What `hookkeeper.mail.capture` says of a letter."""

Json = dict[str, Any]


def colored(status: str) -> str:
    color = COLORS.get(status, "cyan")
    return f"[{color}]{status}[/{color}]"


def goal(delivery: Json) -> str:
    """`POST https://acme.example/hook`, `email to ann@acme.example`, `notify slack`."""
    return f"{VERBS[delivery['channel']]} {delivery['target']}"


def state(delivery: Json) -> str:
    """`failed (exhausted)`, `retrying, next attempt in 5 min`, `sent, waiting for word of ann@acme.example`."""
    text = colored(delivery["status"])
    if delivery["reason"]:
        text += f" ({delivery['reason'].replace('_', ' ')})"
    if delivery["next_attempt_at"]:
        text += f", next attempt in {_until(delivery['next_attempt_at'])}"
    if delivery["awaiting"]:
        text += f", waiting for word of {escape(', '.join(delivery['awaiting']))}"
    return text


def attempt_in_event(event: Json, delivery: Json, attempt: Json, width: int) -> str:
    """Say what was attempted and how it went, in one line; what was attempted is padded to `width`."""
    said = _excerpt(_said(delivery, attempt))
    return (
        f"{_start(event, attempt)}  {escape(goal(delivery).ljust(width))} → {_result(attempt):<3}"
        f"  [dim]{attempt['duration_ms']:.0f} ms[/dim]{_by_hand(attempt)}{said}"
    )


def attempt_in_delivery(event: Json, delivery: Json, attempt: Json) -> str:
    """Say how it went, where what was attempted is known."""
    kept = _KEPT.match(attempt["response_excerpt"])
    file = f"  [dim]{escape(kept['file'])}[/dim]" if kept else ""
    result = f"{_result(attempt)} {_phrase(attempt)}"
    said = _excerpt(_said(delivery, attempt))
    return f"{_start(event, attempt)}  {result:<23} {attempt['duration_ms']:5.0f} ms{_by_hand(attempt)}{file}{said}"


def receipt(event: Json, receipt_: Json) -> str:
    """`✗ bounced from ann@acme.example  “550 no such user”`."""
    mark, words = RECEIPTS[receipt_["kind"]]
    return (
        f"  [dim]{_since(event, receipt_['at'])}[/dim]  {mark} {words} {escape(receipt_['address'])}"
        f"{_excerpt(receipt_['detail'])}"
    )


def turn(delivery: Json) -> str:
    """Say what has become of a delivery, where the attempt's own line does not."""
    if delivery["status"] not in TURNS:
        return ""
    return f"  {'':>8}    {escape(goal(delivery))}  {state(delivery)}"


def waiting_for(event: Json) -> str:
    """Say what the event waits for."""
    due = [each["next_attempt_at"] for each in event["deliveries"] if each["next_attempt_at"]]
    if due:
        return f"next attempt in {_until(min(due))}"
    if event["status"] == "scheduled":
        return f"scheduled: delivered in {_until(event['deliver_at'])}"
    if any(each["status"] == "held" for each in event["deliveries"]):
        return "held: `hookkeeper events release` lets it go on"
    awaited = list(_awaited(event))
    return f"sent: waiting for word of {escape(', '.join(awaited))}" if awaited else "delivering"


def _awaited(event: Json) -> Iterator[str]:
    for delivery in event["deliveries"]:
        yield from delivery["awaiting"]


def _start(event: Json, attempt: Json) -> str:
    mark = "[red]✗[/red]" if attempt["error"] else "[green]✓[/green]"
    return f"  [dim]{_since(event, attempt['started_at'])}[/dim]  {mark} attempt {attempt['number']}"


def _since(event: Json, text: str) -> str:
    """Say how long after the event was accepted something happened."""
    seconds = (_time(text) - _time(event["accepted_at"])).total_seconds()
    return f"{f'{seconds:.1f} s' if seconds < 60 else duration(seconds):>8}"


def _result(attempt: Json) -> str:
    """`503`, `250`, `timeout`, `200, timeout` where an answer began and did not end."""
    code, error = attempt["status_code"], attempt["error"]
    if code is None and error is None:
        return "kept in the outbox" if _KEPT.match(attempt["response_excerpt"]) else "done"
    if error in (None, f"http_{code}", f"smtp_{code}"):
        return str(code)
    words = str(error).replace("_", " ")
    return words if code is None else f"{code}, {words}"


def _phrase(attempt: Json) -> str:
    """Name an HTTP status; the codes of SMTP that look the same mean something else."""
    code, error = attempt["status_code"], attempt["error"]
    is_http = error in (None, f"http_{code}") and code in HTTPStatus._value2member_map_
    return HTTPStatus(code).phrase if is_http else ""


def _said(delivery: Json, attempt: Json) -> str:
    """Give what the receiver said, where it matters: why it went wrong, and of an email always.

    Whoever failed without a word is given the words of HTTP.
    """
    text: str = attempt["response_excerpt"]
    if attempt["error"]:
        return text or _phrase(attempt)
    return _KEPT.sub("", text) if delivery["channel"] == "email" else ""


def _by_hand(attempt: Json) -> str:
    return "  by hand" if attempt["trigger"] == "manual" else ""


def _excerpt(text: str) -> str:
    line = " ".join(text.split())
    cut = line if len(line) <= EXCERPT else f"{line[:EXCERPT]}…"
    return f"  [dim]“{escape(cut)}”[/dim]" if line else ""


def _until(text: str) -> str:
    seconds = max(0.0, (_time(text) - datetime.now(UTC)).total_seconds())
    return duration(round(seconds, 0 if seconds > 10 else 1))


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
