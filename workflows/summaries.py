"""What the Temporal web UI says of a step, in words. Pure."""

from collections.abc import Sequence
from datetime import datetime

from activities.news import Alert
from workflows.models import Channel, Delivery

MAX_SUMMARY = 200
VERBS: dict[Channel, str] = {"webhook": "POST", "email": "email to", "notification": "notify"}
MANY: dict[Channel, str] = {"webhook": "POST to {} webhooks", "email": "{} emails", "notification": "{} notifications"}


def attempt_summary(channel: Channel, targets: Sequence[str], number: int) -> str:
    """`POST https://acme.example/hook · attempt 3`, `email to ann@acme.example · attempt 1`.

    For many, how many they are and as many of them as fit.
    """
    if len(targets) == 1:
        what = f"{VERBS[channel]} {targets[0]}"
    else:
        what = MANY[channel].format(len(targets))
        if channel != "webhook":
            what += f": {'; '.join(targets)}"
    return f"{what[:MAX_SUMMARY]} · attempt {number}"


def wait_summary(delivery: Delivery, seconds: float) -> str:
    """`retry in 5 min · http_503`, or of whom word from the mail provider is awaited."""
    if delivery.awaiting:
        return f"wait for word of {', '.join(delivery.awaiting)}"[:MAX_SUMMARY]
    cause = delivery.attempts[-1].error if delivery.attempts else None
    return " · ".join(part for part in (f"retry in {duration(seconds)}", cause) if part)


def alert_summary(alert: Alert) -> str:
    """`alert: https://acme.example/hook failed · exhausted`."""
    words = {"failed": f"failed · {alert.reason}", "disabled": "is disabled", "recovered": "works again"}[alert.kind]
    return f"alert: {alert.target[:MAX_SUMMARY]} {words}"


def deliver_at_summary(when: datetime) -> str:
    return f"deliver at {when:%Y-%m-%d %H:%M:%S} UTC"


def duration(seconds: float) -> str:
    """Say a duration in its largest fitting unit: `5 s`, `2.5 min`, `14 h`."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"
