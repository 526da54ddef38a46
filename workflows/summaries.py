"""The texts by which the Temporal web UI describes steps. Pure."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from hookkeeper.kinds import KINDS
from hookkeeper.messages.alert import Alert
from hookkeeper.messages.event import Delivery, Reason
from hookkeeper.wording import duration

MAX_SUMMARY = 200
HOLDS: dict[Reason | None, str] = {
    "webhook_paused": "held: webhook paused",
    "webhook_disabled": "held: webhook disabled",
}


def attempt_summary(channel: str, targets: Sequence[str], number: int) -> str:
    """`POST https://acme.example/hook · attempt 3`, `email to ann@acme.example · attempt 1`.

    For several targets, their number and as many of them as fit.
    """
    return f"{KINDS[channel].shown(targets)[:MAX_SUMMARY]} · attempt {number}"


def together_summary(events: Sequence[str], attempts: int) -> str:
    """`first attempts of 37 events (40 requests): evt_1, evt_2, …`, with as many ids as fit."""
    requests = "1 request" if attempts == 1 else f"{attempts} requests"
    what = f"first attempts of {len(events)} events ({requests}): {', '.join(events)}"
    return what if len(what) <= MAX_SUMMARY else f"{what[: MAX_SUMMARY - 1]}…"


def recheck_summary(webhook_id: str, attempt: str) -> str:
    """`is wh_1 still off? · POST https://acme.example/hook · attempt 3`: if it is, no request is made."""
    return f"is {webhook_id} still off? · {attempt}"


def wait_summary(delivery: Delivery, time: str, length: timedelta) -> str:
    """Return what the delivery waits for; `time` is the name of the field that has the time.

    `retry in 5 min · http_503`, `held: webhook paused, rechecked in 1 h`, `held by request, fails in 30 d`.
    """
    wait = duration(length.total_seconds())
    if time == "recheck_at":
        return f"{_hold(delivery)}, rechecked in {wait}"
    if time == "held_until":
        return f"{_hold(delivery)}, fails in {wait}"
    if time == "awaiting_until":
        return f"wait for receipts of {', '.join(delivery.awaiting)}"[:MAX_SUMMARY]
    if not delivery.attempts_made:
        return f"attempt in {wait}"
    cause = delivery.attempts[-1].error if delivery.attempts else None
    return " · ".join(part for part in (f"retry in {wait}", cause) if part)


def _hold(delivery: Delivery) -> str:
    return HOLDS.get(delivery.reason, "held by request")


def alert_summary(alert: Alert) -> str:
    """`alert: https://acme.example/hook failed · exhausted`."""
    words = {
        "failed": f"failed · {alert.reason}",
        "failing": "is failing",
        "reminder": "is still failing",
        "disabling": "will be disabled",
        "disabled": "is disabled",
        "recovered": "works again",
    }[alert.kind]
    return f"alert: {alert.target[:MAX_SUMMARY]} {words}"


def deliver_at_summary(when: datetime) -> str:
    return f"deliver at {when:%Y-%m-%d %H:%M:%S} UTC"
