"""`hookkeeper webhooks …`."""

import json
from typing import Annotated, Any

import typer
from rich.markup import escape

from cli.client import Api
from cli.console import out, print_table

app = typer.Typer(no_args_is_help=True, help="Register, change and test webhooks.")
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
WebhookId = Annotated[str, typer.Argument(help="The webhook's id.")]
Events = Annotated[list[str] | None, typer.Option("--event", help="A type or pattern; can be given again.")]
Header = Annotated[list[str] | None, typer.Option(help="name: value; can be given again.")]
Retry = Annotated[str | None, typer.Option(help="Seconds before each retry, as 5,300; none for one attempt.")]
Timeout = Annotated[float | None, typer.Option(help="Seconds for one attempt, 1 to 30.")]
Name = Annotated[str | None, typer.Option(help="A name for people.")]


@app.command("list")
def list_webhooks(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None,
    event: Annotated[str | None, typer.Option(help="Only those that an event of this type goes to.")] = None,
    enabled: Annotated[bool | None, typer.Option(help="Only enabled, or disabled, ones.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100)] = 50,
    cursor: Annotated[str | None, typer.Option(help="next_cursor of the page before.")] = None,
    as_json: AsJson = False,
) -> None:
    """List webhooks, newest first."""
    page = Api.of_environment().call(
        "GET", "webhooks", tenant=tenant, event=event, enabled=enabled, limit=limit, cursor=cursor
    )
    if as_json:
        typer.echo(json.dumps(page))
        return
    print_table(
        ("Webhook", "Tenant", "URL", "Events", ""),
        [
            (row["id"], row["tenant"], escape(row["url"]), escape(" ".join(row["events"])), _state(row))
            for row in page["items"]
        ],
    )
    if page["next_cursor"]:
        out.print(f"[dim]More: --cursor {page['next_cursor']}[/dim]")


@app.command()
def create(
    url: Annotated[str, typer.Argument(help="Where the signed POST goes.")],
    event: Events = None,
    tenant: Annotated[str, typer.Option(help="The customer whose webhook this is.")] = "default",
    name: Name = None,
    header: Header = None,
    retry: Retry = None,
    timeout: Timeout = None,
    secret: Annotated[str | None, typer.Option(help="Signing key; made where none is given.")] = None,
    as_json: AsJson = False,
) -> None:
    """Register a webhook and print its signing key."""
    body = _fields(url, event, name, header, retry, timeout) | {"tenant": tenant}
    if secret:
        body["secret"] = secret
    _print(Api.of_environment().call("POST", "webhooks", body=body), as_json)


@app.command()
def show(webhook_id: WebhookId, as_json: AsJson = False) -> None:
    """Show a webhook."""
    _print(Api.of_environment().call("GET", "webhooks", webhook_id), as_json)


@app.command()
def update(
    webhook_id: WebhookId,
    url: Annotated[str | None, typer.Option(help="Where the signed POST goes.")] = None,
    event: Events = None,
    name: Name = None,
    header: Header = None,
    retry: Retry = None,
    timeout: Timeout = None,
    enabled: Annotated[bool | None, typer.Option(help="Deliveries of a disabled webhook are held.")] = None,
    as_json: AsJson = False,
) -> None:
    """Change what is given."""
    body = _fields(url, event, name, header, retry, timeout)
    if enabled is not None:
        body["enabled"] = enabled
    _print(Api.of_environment().call("PATCH", "webhooks", webhook_id, body=body), as_json)


@app.command()
def delete(webhook_id: WebhookId, as_json: AsJson = False) -> None:
    """Remove a webhook; its open deliveries are cancelled."""
    Api.of_environment().call("DELETE", "webhooks", webhook_id)
    typer.echo(json.dumps({"id": webhook_id, "deleted": True}) if as_json else f"{webhook_id} is deleted")


@app.command()
def secret(webhook_id: WebhookId, as_json: AsJson = False) -> None:
    """Show the signing key."""
    _print(Api.of_environment().call("GET", "webhooks", webhook_id, "secret"), as_json)


@app.command()
def rotate_secret(
    webhook_id: WebhookId,
    grace: Annotated[int, typer.Option(help="Seconds during which the old key signs as well.")] = 86400,
    as_json: AsJson = False,
) -> None:
    """Give a webhook a new signing key."""
    api = Api.of_environment()
    _print(api.call("POST", "webhooks", webhook_id, "rotate-secret", body={"grace": grace}), as_json)


@app.command("test")
def send_test(
    webhook_id: WebhookId,
    type_: Annotated[str, typer.Option("--type", help="The event type to send.")] = "hookkeeper.test",
    as_json: AsJson = False,
) -> None:
    """Send a real signed event to this webhook only."""
    api = Api.of_environment()
    _print(api.call("POST", "webhooks", webhook_id, "test", body={"type": type_}), as_json)


def _state(webhook: dict[str, Any]) -> str:
    return "" if webhook["enabled"] else f"[yellow]disabled ({webhook['disabled_reason']})[/yellow]"


def _fields(
    url: str | None,
    events: list[str] | None,
    name: str | None,
    headers: list[str] | None,
    retry: str | None,
    timeout: float | None,
) -> dict[str, Any]:
    """Give the request fields of the options that were given."""
    fields = {
        "url": url,
        "events": events or None,
        "name": name,
        "headers": dict(map(_header, headers)) if headers else None,
        "retry": _retry(retry) if retry is not None else None,
        "timeout": timeout,
    }
    return {field: value for field, value in fields.items() if value is not None}


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise typer.BadParameter("a header is written as name: value", param_hint="--header")
    return name.strip(), value.strip()


def _retry(text: str) -> dict[str, list[float]]:
    if text == "none":
        return {"schedule": []}
    try:
        return {"schedule": [float(part) for part in text.split(",")]}
    except ValueError:
        raise typer.BadParameter(f"seconds separated by commas, or none, not {text!r}", param_hint="--retry") from None


def _print(value: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(value))
        return
    width = max(len(name) for name in value)
    for name, each in value.items():
        text = each if isinstance(each, str) else json.dumps(each, ensure_ascii=False)
        out.print(f"{name:<{width}}  {text}", markup=False)
