"""Default texts of emails and notifications, for events and alerts."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from html import escape
from typing import Any

from hookkeeper import causes
from hookkeeper.content.context import Context
from hookkeeper.content.json_text import readable
from hookkeeper.content.text import is_line, truncate
from hookkeeper.wording import duration

MAX_LINE = 255
"""Characters of a subject or a title; longer ones are truncated."""
MAX_TEXT = 64 * 1024
MAX_OUTCOME = 500
"""Characters of a receiver's text, so that the lines after it stay visible."""
MAX_NAME = 100
"""Characters of a webhook's name or URL in a subject, so that the words after it stay visible."""

_WHY = {
    "exhausted": "All attempts of the retry schedule have failed.",
    "gone": "The receiver answered 410 Gone, so the webhook was disabled.",
    "rejected": "The provider rejected it, and a retry would not help.",
    "bounced": "The provider accepted it, but a recipient's mail server did not.",
    "bad_template": "A template of the webhook failed for this event.",
    "forbidden_address": "The receiver's address is not allowed.",
}
MAX_COUNTED = 1000
"""Deliveries that wait: more are not counted."""
LINKS = ("Link", "Temporal")
"""Facts that are our own URLs, and become links. The others have texts of tenants and receivers, and do not."""
_COLOURS = {"disabled": "#b42318", "failing": "#b42318", "failed": "#b42318", "recovered": "#067647"}
_AMBER = "#b54708"


def subject(context: Context) -> str:
    """Return the default subject of an email, or title of a notification."""
    return truncate(_one_line(_alert_subject(context) if "alert" in context else context["event"]["type"]), MAX_LINE)


def text(context: Context, limit: int = MAX_TEXT) -> str:
    """Return the default text of an email, or body of a notification."""
    return truncate("\n".join(_alert_lines(context) if "alert" in context else _event_lines(context, limit)), limit)


def html(context: Context) -> str | None:
    """Return the default HTML of an email; None for an event, which is sent as text."""
    if "alert" not in context:
        return None
    alert = context["alert"]
    cell = 'style="padding:4px 12px 4px 0;vertical-align:top'
    rows = "".join(
        f'<tr><th {cell};text-align:left;font-weight:600;white-space:nowrap" scope="row">{escape(label)}</th>'
        f'<td {cell};word-break:break-word">{_linked(value) if label in LINKS else escape(value)}</td></tr>\n'
        for label, value in _facts(context)
    )
    note = f"<p>{escape(_unreported(alert))}</p>\n" if alert.get("unreported") else ""
    return (
        f'<div style="font:15px/1.5 system-ui,sans-serif;max-width:44em">\n'
        f'<h1 style="font-size:19px;color:{_COLOURS.get(alert["kind"], _AMBER)}">{escape(subject(context))}</h1>\n'
        f"<p>{escape(_what_happened(alert))}</p>\n"
        f'<table role="presentation" style="border-collapse:collapse">\n{rows}</table>\n{note}</div>\n'
    )


def _linked(value: str) -> str:
    shown = escape(value)
    return f'<a href="{shown}">{shown}</a>' if value.startswith(("https://", "http://")) else shown


def _event_lines(context: Context, limit: int) -> Iterator[str]:
    event = context["event"]
    yield f"{event['type']} happened at {event['timestamp']} (event {event['id']} of {event['tenant']})."
    yield ""
    yield readable(event["data"], limit)


def _alert_subject(context: Context) -> str:
    alert = context["alert"]
    name, since, answer = _name_of(alert), _since(alert), _answer(alert.get("last_outcome") or {})
    if alert.get("recipient") == "operator" or alert["kind"] == "failed":
        name += f" ({alert['tenant']})"
    match alert["kind"]:
        case "failing":
            return f"{name} is failing: {answer}{since}"
        case "reminder":
            return f"{name} is still failing: {answer}{since}"
        case "disabling":
            return f"{name} will be disabled {_disabled_when(alert)} if it keeps failing"
        case "disabled":
            return f"{name} was disabled: {'410 Gone' if alert['reason'] == 'gone' else 'failing' + since}"
        case "recovered":
            return f"{name} works again{_after(alert)}"
        case _:
            return f"Delivery failed: {context['event']['type']} to {name}"


def _alert_lines(context: Context) -> Iterator[str]:
    alert, facts = context["alert"], list(_facts(context))
    width = max(len(label) for label, _ in facts) + 2
    yield _what_happened(alert)
    yield ""
    for label, value in facts:
        yield f"{label + ':':{width}}{value}"
    if alert.get("unreported"):
        yield ""
        yield _unreported(alert)


def _unreported(alert: Mapping[str, Any]) -> str:
    return f"Further failures since the last alert: {alert['unreported']}."


def _what_happened(alert: Mapping[str, Any]) -> str:
    reason, since = alert["reason"], _since(alert)
    match alert["kind"]:
        case "failing":
            return f"The latest attempts of this webhook have failed{since}."
        case "reminder":
            return f"This webhook still fails{since}."
        case "disabling":
            when = f"If it does not work again, it is disabled {_disabled_when(alert)}, and its deliveries are held."
            return f"This webhook fails{since}. {when}"
        case "disabled":
            return f"{_why_disabled(alert)}: the webhook was disabled, and its deliveries are held until it is enabled."
        case "recovered":
            waits = " Those that wait can be sent at once: by the page of the webhook, or `hookkeeper webhooks retry`."
            return "Deliveries succeed again." + waits * bool(alert.get("waiting"))
        case _:
            return f"Hookkeeper could not deliver an event. {_WHY.get(reason, f'Reason: {reason}.')}"


def _why_disabled(alert: Mapping[str, Any]) -> str:
    if alert["reason"] == "gone":
        return "The receiver answered 410 Gone"
    count = alert.get("failures")
    return f"All requests have failed{_since(alert)}" + (f", {count} in a row" if count else "")


def _facts(context: Context) -> Iterator[tuple[str, str]]:
    """Yield what an alert says, as names and values of one line."""
    event, alert = context["event"], context["alert"]
    webhook, kind = alert["webhook"], alert["kind"]
    yield "Tenant", str(alert["tenant"])
    yield "Webhook", _name_of(alert) + (f" ({webhook['id']})" if _name_of(alert) != webhook["id"] else "")
    if kind == "failed":
        yield "Event", f"{event['type']} {event['id']}"
        yield "Delivery", f"{alert['delivery']} ({alert['channel']})"
    if alert["target"] and kind != "recovered":
        yield "Target", _one_line(truncate(alert["target"], 256))
    if kind == "failed":
        yield "Outcome", _outcome(alert)
        for other in alert.get("also_failed") or ():
            yield "Also failed", _one_line(f"{other['type']} {other['event']}: {_answer(other)}")
    else:
        yield from _state_facts(alert)
    if alert.get("link"):
        yield "Link", alert["link"]
    if alert.get("temporal"):
        yield "Temporal", alert["temporal"]


def _state_facts(alert: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what an alert says of the state of a webhook."""
    if since := alert.get("failing_since"):
        yield "Failing since", _day_and_time(since)
    if alert["kind"] == "recovered":
        yield from _waiting(alert)
        if at := alert.get("next_attempt_at"):
            yield "Next attempt", _day_and_time(at)
        return
    if count := alert.get("failures"):
        yield "Failed attempts", f"{count} in a row"
    latest = alert.get("last_outcome") or {}
    yield "Latest answer", _latest(latest)
    if remedy := causes.remedy_of(latest.get("error"), latest.get("text") or ""):
        yield "Remedy", remedy
    for other in alert.get("also_failing") or ():
        yield "Also failing", _one_line(f"{other['target']}: {_latest(other)}")
    yield from _waiting(alert)
    if at := alert.get("next_attempt_at"):
        yield "Next attempt", _day_and_time(at)
    if alert["kind"] != "disabled" and (at := alert.get("disable_at")):
        yield "Disabled", f"at the first failure after {_day_and_time(at)}"


def _waiting(alert: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if waiting := alert.get("waiting"):
        more = " or more" if waiting >= MAX_COUNTED else ""
        yield "Waiting", "1 delivery" if waiting == 1 else f"{waiting:,} deliveries{more}"


def _answer(outcome: Mapping[str, Any]) -> str:
    """Describe a failed attempt in a few words: `500 Internal Server Error`, `there is no such host: acme.example`."""
    status, error = outcome.get("status_code"), outcome.get("error")
    if error and not error.startswith(("http_", "smtp_")):
        said = causes.sentence_of(error, status, outcome.get("text") or "") or ""
        return said[:1].lower() + said[1:]
    return causes.status_of(error, status) or "no attempt was made"


def _latest(outcome: Mapping[str, Any]) -> str:
    """Describe a failed attempt with what the receiver said: `503 Service Unavailable: out of order`."""
    said, answer = _one_line(outcome.get("text") or ""), _answer(outcome)
    return truncate(answer if not said or said in answer else f"{answer}: {said}", MAX_OUTCOME)


def _outcome(alert: Mapping[str, Any]) -> str:
    """Describe the last outcome of a delivery: `503, http_503, out of order`."""
    outcome = alert.get("last_outcome") or {}
    status, error, said = (outcome.get(name) for name in ("status_code", "error", "text"))
    if said and not error:
        status = None  # of an email that the provider accepted, but could not deliver
    words = _one_line(", ".join(str(part) for part in (status, error, said) if part))
    return truncate(words, MAX_OUTCOME) or "no attempt was made"


def _name_of(alert: Mapping[str, Any]) -> str:
    webhook = alert["webhook"]
    name = _one_line(webhook["name"]) or _one_line(webhook.get("url") or "")
    return truncate(name, MAX_NAME) or str(webhook["id"])


def _since(alert: Mapping[str, Any]) -> str:
    """` since 14:02 UTC`, with the day if that is not today."""
    since = alert.get("failing_since")
    if not since:
        return ""
    time, now = datetime.fromisoformat(since), alert.get("at")
    is_today = now is not None and datetime.fromisoformat(now).date() == time.date()
    return f" since {time:%H:%M} UTC" if is_today else f" since {_day_and_time(since)}"


def _day_and_time(time: str) -> str:
    when = datetime.fromisoformat(time)
    return f"{when.day} {when:%B %Y, %H:%M} UTC"


def _disabled_when(alert: Mapping[str, Any]) -> str:
    """`within an hour` or `within a day`."""
    left = (datetime.fromisoformat(alert["disable_at"]) - datetime.fromisoformat(alert["at"])).total_seconds()
    return "within an hour" if left <= 5400 else "within a day"


def _after(alert: Mapping[str, Any]) -> str:
    since = alert.get("failing_since")
    if not since:
        return ""
    return f" after {duration((datetime.fromisoformat(alert['at']) - datetime.fromisoformat(since)).total_seconds())}"


def _one_line(text: str) -> str:
    return " ".join("".join(character if is_line(character) else " " for character in text).split())
