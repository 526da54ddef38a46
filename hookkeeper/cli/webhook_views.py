"""Print webhooks, their deliveries and previews."""

import json
from collections.abc import Iterator
from textwrap import indent

from rich.markup import escape

from hookkeeper.cli.console import Json, out, print_columns, text_of
from hookkeeper.content.headers import MASK


def print_webhook(webhook: Json) -> None:
    print_columns(webhook_fields(webhook))


def webhook_fields(webhook: Json) -> list[tuple[str, str]]:
    """Return the fields to print: empty ones are omitted, emails and notifications are shown by their target."""
    return list(_fields(webhook))


def targets(webhook: Json) -> list[str]:
    """Return the targets: `https://acme.example/hook`, `email to ann@acme.example`, `notify slack`."""
    url = [webhook["url"]] if webhook["url"] else []
    emails = [f"email to {', '.join(email['to'])}" for email in webhook["emails"]]
    return url + emails + [f"notify {_service(notification)}" for notification in webhook["notifications"]]


def _fields(webhook: Json) -> Iterator[tuple[str, str]]:
    for name, value in webhook.items():
        if name == "emails":
            yield from (("email", _email(email)) for email in value)
        elif name == "notifications":
            yield from (("notification", _service(notification)) for notification in value)
        elif name == "on_failure" and value:
            yield from ((name, f"email to {_email(email)}") for email in value["emails"])
            yield from ((name, f"notify {_service(notification)}") for notification in value["notifications"])
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
    status = health["status"]
    if health["failures"]:
        status += f", {health['failures']} in a row since {health['failing_since']}"
    if health["throttled_until"]:
        status += f", no requests until {health['throttled_until']}"
    yield "health", status
    if health["last_success_at"]:
        yield "last_success_at", health["last_success_at"]


def _email(email: Json) -> str:
    to = ", ".join(email["to"])
    return f"{to}  “{email['subject']}”" if email.get("subject") else to


def _service(notification: Json) -> str:
    """Describe a notification; the rest of the URL is masked."""
    if call := notification.get("http"):
        return f"{call['method']} {call['url'].removesuffix(f'/{MASK}')}"
    return str(notification["service"]).partition("://")[0]


# Lists


def first_target(webhook: Json) -> str:
    first, *others = targets(webhook)
    return escape(first) + (f" [dim]+{len(others)}[/dim]" if others else "")


def state_of(webhook: Json) -> str:
    if not webhook["enabled"]:
        return f"[yellow]disabled ({webhook['disabled_reason']})[/yellow]"
    return "[yellow]paused[/yellow]" if webhook["paused_at"] else ""


# Previews


def print_preview(preview: Json) -> None:
    """Print every request, email and notification in full, or the reason why there is none."""
    if preview["matches"]:
        out.print("[green]✓[/green] The webhook matches this event. It would send:")
    else:
        reason = escape(preview["filter_error"] or "its event types or its filter exclude it")
        out.print(f"[yellow]✗[/yellow] The webhook does not match this event: {reason}. If it did, it would send:")
    if request := preview["request"]:
        _print_part(f"POST {request['url']}", request["headers"], [request["body"]], request["problem"])
    for number, email_preview in enumerate(preview["emails"], start=1):
        email = email_preview["rendered"] or {}
        title = f"email to {_mailboxes(email['to'])}" if email else f"email {number}"
        _print_part(title, _email_headers(email), _email_bodies(email), email_preview["problem"])
    for notification in preview["notifications"]:
        headers = ({"title": notification["title"]} if notification["title"] else {}) | notification["headers"]
        title = f"notify {notification['target']}"
        _print_part(title, headers, [notification["body"]], notification["problem"])


def _print_part(title: str, headers: dict[str, str], bodies: list[str | None], problem: str | None) -> None:
    out.print(f"\n[bold]{escape(title)}[/bold]")
    if problem:
        out.print(f"  [red]✗[/red] {escape(problem)}")
    for name, value in headers.items():
        out.print(f"  [dim]{escape(name)}:[/dim] {escape(value)}")
    for body in filter(None, bodies):
        out.print(f"\n{indent(body.rstrip(), '  ')}", markup=False)


def _email_headers(email: Json) -> dict[str, str]:
    if not email:
        return {}
    copies = {name: _mailboxes(email[name]) for name in ("cc", "bcc") if email[name]}
    reply_to = {"reply-to": _mailboxes([email["reply_to"]])} if email["reply_to"] else {}
    template = {"template": email["template_id"]} if email["template_id"] else {}
    return copies | reply_to | {"subject": email["subject"]} | template


def _email_bodies(email: Json) -> list[str | None]:
    data = json.dumps(email["template_data"], ensure_ascii=False, indent=2) if email.get("template_data") else None
    return [email.get("text"), email.get("html"), data]


def _mailboxes(mailboxes: list[Json]) -> str:
    return ", ".join(
        f"{mailbox['name']} <{mailbox['address']}>" if mailbox["name"] else mailbox["address"] for mailbox in mailboxes
    )
