"""Print webhooks and previews."""

import json
from collections.abc import Iterator
from textwrap import indent
from typing import Any

from rich.markup import escape

from hookkeeper.cli.console import out
from hookkeeper.content.headers import MASK

Json = dict[str, Any]


def print_fields(fields: list[tuple[str, str]]) -> None:
    """Print names and values in two columns."""
    width = max(len(name) for name, _ in fields)
    for name, value in fields:
        out.print(f"{name:<{width}}  {value}", markup=False)


def text_of(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def webhook_fields(webhook: Json) -> list[tuple[str, str]]:
    """Return the fields to print: empty ones are omitted, emails and notifications are shown by their target."""
    return list(_fields(webhook))


def targets(webhook: Json) -> list[str]:
    """Return the targets: `https://acme.example/hook`, `email to ann@acme.example`, `notify slack`."""
    url = [webhook["url"]] if webhook["url"] else []
    emails = [f"email to {', '.join(email['to'])}" for email in webhook["emails"]]
    return url + emails + [f"notify {_notified(each)}" for each in webhook["notifications"]]


def _fields(webhook: Json) -> Iterator[tuple[str, str]]:
    for name, value in webhook.items():
        if name == "emails":
            yield from (("email", _email(email)) for email in value)
        elif name == "notifications":
            yield from (("notification", _notified(each)) for each in value)
        elif name == "on_failure" and value:
            yield from ((name, f"email to {_email(email)}") for email in value["emails"])
            yield from ((name, f"notify {_notified(each)}") for each in value["notifications"])
        elif name == "health":
            yield from _health(value)
        elif name == "disable_after" and value == 0:
            yield name, "never"
        elif name == "tls" and value:
            yield name, ", ".join(part for part, pem in value.items() if pem and part != "key")
        elif value or name == "enabled":
            yield name, text_of(value)


def _health(health: Json) -> Iterator[tuple[str, str]]:
    """Describe the health: `failing, 3 in a row since 2026-01-02T03:04:05.678Z`."""
    words = health["status"]
    if health["failures"]:
        words += f", {health['failures']} in a row since {health['failing_since']}"
    if health["throttled_until"]:
        words += f", no requests until {health['throttled_until']}"
    yield "health", words
    if health["last_success_at"]:
        yield "last_success_at", health["last_success_at"]


def _email(email: Json) -> str:
    to = ", ".join(email["to"])
    return f"{to}  “{email['subject']}”" if email.get("subject") else to


def _notified(notification: Json) -> str:
    """Describe a notification; the rest of the URL is masked."""
    if call := notification.get("http"):
        return f"{call['method']} {call['url'].removesuffix(f'/{MASK}')}"
    return str(notification["service"]).partition("://")[0]


# What would be sent


def print_preview(preview: Json) -> None:
    """Print every request, email and notification in full, or the reason why there is none."""
    if preview["matches"]:
        out.print("[green]✓[/green] The webhook matches this event. It would send:")
    else:
        why = escape(preview["filter_error"] or "its event types or its filter exclude it")
        out.print(f"[yellow]✗[/yellow] The webhook does not match this event: {why}. If it did, it would send:")
    if request := preview["request"]:
        _print_part(f"POST {request['url']}", request["headers"], [request["body"]], request["problem"])
    for number, each in enumerate(preview["emails"], start=1):
        letter = each["letter"] or {}
        title = f"email to {_mailboxes(letter['to'])}" if letter else f"email {number}"
        _print_part(title, _letter_head(letter), _letter_bodies(letter), each["problem"])
    for each in preview["notifications"]:
        head = ({"title": each["title"]} if each["title"] else {}) | each["headers"]
        _print_part(f"notify {each['target']}", head, [each["body"]], each["problem"])


def _print_part(title: str, head: dict[str, str], bodies: list[str | None], problem: str | None) -> None:
    out.print(f"\n[bold]{escape(title)}[/bold]")
    if problem:
        out.print(f"  [red]✗[/red] {escape(problem)}")
    for name, value in head.items():
        out.print(f"  [dim]{escape(name)}:[/dim] {escape(value)}")
    for body in filter(None, bodies):
        out.print(f"\n{indent(body.rstrip(), '  ')}", markup=False)


def _letter_head(letter: Json) -> dict[str, str]:
    if not letter:
        return {}
    copies = {name: _mailboxes(letter[name]) for name in ("cc", "bcc") if letter[name]}
    reply_to = {"reply-to": _mailboxes([letter["reply_to"]])} if letter["reply_to"] else {}
    template = {"template": letter["template_id"]} if letter["template_id"] else {}
    return copies | reply_to | {"subject": letter["subject"]} | template


def _letter_bodies(letter: Json) -> list[str | None]:
    data = json.dumps(letter["template_data"], ensure_ascii=False, indent=2) if letter.get("template_data") else None
    return [letter.get("text"), letter.get("html"), data]


def _mailboxes(mailboxes: list[Json]) -> str:
    return ", ".join(f"{each['name']} <{each['address']}>" if each["name"] else each["address"] for each in mailboxes)
