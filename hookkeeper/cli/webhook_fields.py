"""The options of `webhooks create` and `update`, and the fields of the API that they and files set."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal

import typer

from hookkeeper.cli.console import Failed, Json
from hookkeeper.cli.options import read_json_file

File = Annotated[
    str | None,
    typer.Option(help="Webhook as JSON, in the format of the API; - for standard input. Options override its fields."),
]
Events = Annotated[list[str] | None, typer.Option("--event", help="An event type or pattern; can be repeated.")]
Filter = Annotated[
    str | None, typer.Option("--filter", help="CEL expression: event.data.amount >= 100. Empty removes it.")
]
Emails = Annotated[
    list[str] | None,
    typer.Option("--email", help="An email to one or more addresses, separated by commas; can be repeated."),
]
Notify = Annotated[
    list[str] | None,
    typer.Option(
        help="The address of a service, such as https://hooks.slack.com/services/… or pagerduty://ROUTING_KEY, or "
        "another URL, to which the event is posted; can be repeated."
    ),
]
Header = Annotated[list[str] | None, typer.Option(help="name: value; can be repeated.")]
Retry = Annotated[str | None, typer.Option(help="Seconds before each retry, such as 5,300; `none` means one attempt.")]
Timeout = Annotated[float | None, typer.Option(help="Seconds for one attempt, 1 to 30.")]
RateLimit = Annotated[float | None, typer.Option(help="Requests a second to the URL; 0 means no limit.")]
Ordered = Annotated[
    bool | None, typer.Option(help="Deliver one event at a time to the URL, in the order of acceptance.")
]
OrderKey = Annotated[
    str | None,
    typer.Option(
        help="CEL expression, such as event.data.customer_id: only events of one key are in order. Empty: all are."
    ),
]
Policy = Annotated[
    Literal["block", "skip"] | None,  # `OrderPolicy`, without loading pydantic
    typer.Option(
        help="Of an ordered webhook: a failing event blocks the following ones, or is skipped after its first attempt."
    ),
]
Name = Annotated[str | None, typer.Option(help="A display name.")]

READ_ONLY = frozenset(
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
"""Fields of responses that cannot be set; a file that `webhooks show --json` wrote has them."""
FIXED = frozenset({"signature_scheme", "tenant"})
"""Fields that are set once."""

_ENTRY = re.compile(r'(?:"[^"]*"|\{\{.*?\}\}|\{%.*?%\}|[^,])+')
"""Text between two commas; commas in quotes and in templates do not count."""


def _or_null(text: str) -> str | None:
    return text or None


def _emails(options: Iterable[str]) -> list[Json]:
    """Make an email of each option; empty ones are left out, so that they can remove all emails."""
    return [{"to": [entry.strip() for entry in _ENTRY.findall(option)]} for option in options if option]


def _notifications(options: Iterable[str]) -> list[Json]:
    return [_notification(option) for option in options if option]


def _notification(url: str) -> Json:
    from hookkeeper.content.services import is_address

    if url.startswith(("http://", "https://")) and not is_address(url):
        return {"http": {"url": url}}
    return {"service": url}


def _headers(options: Iterable[str]) -> dict[str, str]:
    return dict(map(_header, options))


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


FIELDS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "url": ("url", _or_null),
    "event": ("events", list),
    "filter_": ("filter", _or_null),
    "email": ("emails", _emails),
    "notify": ("notifications", _notifications),
    "name": ("name", str),
    "header": ("headers", _headers),
    "retry": ("retry", _retry),
    "timeout": ("timeout", float),
    "rate_limit": ("rate_limit", lambda rate: rate or None),
    "ordered": ("ordered", bool),
    "order_key": ("ordered", lambda key: {"key": key} if key else True),
    "order_policy": ("order_policy", str),
}
"""The field that each option of `webhooks create` and `update` sets, and the conversion of its value."""


def fields_of(options: Mapping[str, Any]) -> Json:
    """Return the fields of the file, overridden by those of the other options."""
    file = options.get("file")
    fields = read_webhook(file) if file else {}
    for option, (field, convert) in FIELDS.items():
        if options.get(option) not in (None, ()):  # an option that can be repeated is () if it is absent
            fields[field] = convert(options[option])
    return fields


def read_webhook(file: str) -> Json:
    """Read a webhook from a file or standard input, in the format of the API's requests or responses."""
    webhook = read_json_file(file, "--file")
    if not isinstance(webhook, dict):
        raise Failed("--file is not a JSON object")
    return {field: value for field, value in webhook.items() if field not in READ_ONLY}
