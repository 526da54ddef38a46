"""Default texts of emails and notifications, for events and alerts."""

from collections.abc import Iterator, Mapping
from typing import Any

from hookkeeper.content.context import Context
from hookkeeper.content.json_text import readable
from hookkeeper.content.text import is_line, truncate

MAX_LINE = 255
"""Characters of a subject or a title; longer ones are truncated."""
MAX_TEXT = 64 * 1024
MAX_OUTCOME = 500
"""Characters of a receiver's text, so that the lines after it stay visible."""

_WHY = {
    "exhausted": "All attempts of the retry schedule have failed.",
    "gone": "The receiver answered 410 Gone, so the webhook was disabled.",
    "rejected": "The provider rejected it, and a retry would not help.",
    "bounced": "The provider accepted it, but a recipient's mail server did not.",
    "bad_template": "A template of the webhook failed for this event.",
    "forbidden_address": "The receiver's address is not allowed.",
}


def subject(context: Context) -> str:
    """Return the default subject of an email, or title of a notification."""
    return truncate(_one_line(_alert_subject(context) if "alert" in context else context["event"]["type"]), MAX_LINE)


def text(context: Context, limit: int = MAX_TEXT) -> str:
    """Return the default text of an email, or body of a notification."""
    return truncate("\n".join(_alert_lines(context) if "alert" in context else _event_lines(context, limit)), limit)


def _event_lines(context: Context, limit: int) -> Iterator[str]:
    event = context["event"]
    yield f"{event['type']} happened at {event['timestamp']} (event {event['id']} of {event['tenant']})."
    yield ""
    yield readable(event["data"], limit)


def _alert_subject(context: Context) -> str:
    alert = context["alert"]
    if alert["kind"] == "disabled":
        return f"Webhook disabled: {_name_of(alert)} ({alert['tenant']})"
    what = "Delivered again" if alert["kind"] == "recovered" else "Delivery failed"
    return f"{what}: {context['event']['type']} to {_name_of(alert)} ({alert['tenant']})"


def _alert_lines(context: Context) -> Iterator[str]:
    event, alert = context["event"], context["alert"]
    webhook = alert["webhook"]
    yield _what_happened(alert)
    yield ""
    yield f"Tenant:   {alert['tenant']}"
    yield f"Webhook:  {_name_of(alert)}" + (f" ({webhook['id']})" if webhook["name"] else "")
    yield f"Event:    {event['type']} {event['id']}"
    yield f"Delivery: {alert['delivery']} ({alert['channel']})"
    if alert["target"]:
        yield f"Target:   {truncate(alert['target'], 256)}"
    yield f"Outcome:  {_outcome(alert)}"
    if alert.get("link"):
        yield f"Link:     {alert['link']}"
    if alert.get("unreported"):
        yield ""
        yield f"Further failures since the last alert: {alert['unreported']}."


def _what_happened(alert: Mapping[str, Any]) -> str:
    reason = alert["reason"]
    if alert["kind"] == "recovered":
        return "Deliveries succeed again."
    if alert["kind"] == "disabled":
        return f"{_why_disabled(alert)}: the webhook was disabled, and its deliveries are held until it is enabled."
    return f"Hookkeeper could not deliver an event. {_WHY.get(reason, f'Reason: {reason}.')}"


def _why_disabled(alert: Mapping[str, Any]) -> str:
    if alert["reason"] == "gone":
        return "The receiver answered 410 Gone"
    since = f" since {alert['failing_since']}" if alert.get("failing_since") else ""
    return f"All requests have failed{since}, {alert.get('failures', 0)} in a row"


def _outcome(alert: Mapping[str, Any]) -> str:
    """Describe the last outcome: `503, http_503, out of order`."""
    outcome = alert.get("last_outcome") or {}
    status, error, said = (outcome.get(name) for name in ("status_code", "error", "text"))
    if alert["kind"] == "failed" and said and not error:
        status = None  # of an email that the provider accepted, but could not deliver
    words = _one_line(", ".join(str(part) for part in (status, error, said) if part))
    return truncate(words, MAX_OUTCOME) or "no attempt was made"


def _name_of(alert: Mapping[str, Any]) -> str:
    return _one_line(alert["webhook"]["name"]) or str(alert["webhook"]["id"])


def _one_line(text: str) -> str:
    return " ".join("".join(character if is_line(character) else " " for character in text).split())
