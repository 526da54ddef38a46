"""Convert options and files to the fields of the API."""

import re
from collections.abc import Callable
from typing import Any

import typer

from hookkeeper.cli.console import Failed
from hookkeeper.cli.given import read_json_file

Json = dict[str, Any]

SHOWN_ONLY = frozenset(
    {
        "created_at",
        "disabled_at",
        "disabled_reason",
        "filter_error",
        "filter_errors",
        "health",
        "id",
        "paused_at",
        "public_key",
        "updated_at",
    }
)
"""Fields that the API shows and nobody can set: a file that `webhooks show --json` wrote may have them."""
FIXED = frozenset({"signature_scheme", "tenant"})
"""Fields that are set once."""

_ENTRY = re.compile(r'(?:"[^"]*"|\{\{.*?\}\}|\{%.*?%\}|[^,])+')
"""What stands between two commas, but for those in quotes and in templates."""


def fields_of(
    file: str | None,
    *,
    url: str | None,
    events: list[str] | None,
    filter_: str | None,
    emails: list[str] | None,
    notify: list[str] | None,
    name: str | None,
    headers: list[str] | None,
    retry: str | None,
    timeout: float | None,
    rate_limit: float | None,
    ordered: bool | None,
    order_policy: str | None,
) -> Json:
    """Give the fields of the file, and over them those of the options that were given."""
    options: dict[str, tuple[Any, Callable[[Any], Any]]] = {
        "url": (url, _or_null),
        "events": (events or None, list),
        "filter": (filter_, _or_null),
        "emails": (emails or None, _emails),
        "notifications": (notify or None, _notifications),
        "name": (name, str),
        "headers": (headers or None, _headers),
        "retry": (retry, _retry),
        "timeout": (timeout, float),
        "rate_limit": (rate_limit, lambda rate: rate or None),
        "ordered": (ordered, bool),
        "order_policy": (order_policy, str),
    }
    given = {field: convert(value) for field, (value, convert) in options.items() if value is not None}
    return (read_webhook(file) if file else {}) | given


def read_webhook(file: str) -> Json:
    """Read a webhook from a file or standard input, as it is given to the API or as the API shows it."""
    webhook = read_json_file(file, "--file")
    if not isinstance(webhook, dict):
        raise Failed("--file is not a JSON object")
    return {field: value for field, value in webhook.items() if field not in SHOWN_ONLY}


def _or_null(text: str) -> str | None:
    return text or None


def _emails(given: list[str]) -> list[Json]:
    """Make a message of each; an empty one is none, so that they can be taken away."""
    return [{"to": [entry.strip() for entry in _ENTRY.findall(each)]} for each in given if each]


def _notifications(given: list[str]) -> list[Json]:
    return [_notification(each) for each in given if each]


def _notification(url: str) -> Json:
    return {"http": {"url": url}} if url.startswith(("http://", "https://")) else {"service": url}


def _headers(given: list[str]) -> dict[str, str]:
    return dict(map(_header, given))


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise typer.BadParameter("write a header as name: value", param_hint="--header")
    return name.strip(), value.strip()


def _retry(text: str) -> dict[str, list[float]]:
    if text == "none":
        return {"schedule": []}
    try:
        return {"schedule": [float(part) for part in text.split(",")]}
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is neither a list of seconds, separated by commas, nor none", param_hint="--retry"
        ) from None
