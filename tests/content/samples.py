"""An event, and what templates see of it."""

from datetime import UTC, datetime
from typing import Any

from hookkeeper.content.context import OutgoingEvent, WebhookContext, context_of

WHEN = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
WEBHOOK = WebhookContext("wh_1", "Orders", {"plan": "gold"})


def seeing(data: Any) -> dict[str, Any]:
    """Return the variables of a template for an event with this data."""
    return context_of(OutgoingEvent("evt_1", "order.paid", "acme", WHEN, data), WEBHOOK)


def alerting(**changes: Any) -> dict[str, Any]:
    """Return the variables of a template of an alert."""
    alert = {
        "kind": "failed",
        "reason": "exhausted",
        "tenant": "acme",
        "webhook": {"id": "wh_1", "name": "Orders"},
        "delivery": "wh_1",
        "target": "https://acme.example/hook",
        "channel": "webhook",
        "last_outcome": {"status_code": 503, "error": "http_503", "text": "out of order"},
        "link": "https://temporal.example/run",
        "unreported": 0,
    }
    return seeing({"order": 4711}) | {"alert": alert | changes}
