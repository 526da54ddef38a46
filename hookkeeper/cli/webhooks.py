"""`hookkeeper webhooks …`."""

import json
from typing import Annotated, Any

import typer
from rich.markup import escape

from hookkeeper.cli import recoveries, webhook_fields, webhook_flow, webhook_views
from hookkeeper.cli.client import Api
from hookkeeper.cli.console import out, print_result, print_table
from hookkeeper.cli.given import STDIN, read_json
from hookkeeper.policy import OrderPolicy

app = typer.Typer(no_args_is_help=True, help="Register, change and test webhooks.")
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
WebhookId = Annotated[str, typer.Argument(help="The webhook's id.")]
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
    typer.Option(help="A service, such as slack://…, or a URL to which the event is posted; can be repeated."),
]
Header = Annotated[list[str] | None, typer.Option(help="name: value; can be repeated.")]
Retry = Annotated[str | None, typer.Option(help="Seconds before each retry, such as 5,300; `none` means one attempt.")]
Timeout = Annotated[float | None, typer.Option(help="Seconds for one attempt, 1 to 30.")]
RateLimit = Annotated[float | None, typer.Option(help="Requests a second to the URL; 0 means no limit.")]
Ordered = Annotated[
    bool | None, typer.Option(help="Deliver one event at a time to the URL, in the order of acceptance.")
]
Policy = Annotated[
    OrderPolicy | None,
    typer.Option(
        help="Of an ordered webhook: a failing event blocks the following ones, or is skipped after its first attempt."
    ),
]
Name = Annotated[str | None, typer.Option(help="A display name.")]


@app.command("list")
def list_webhooks(
    tenant: Annotated[str | None, typer.Option(help="Only webhooks of this tenant.")] = None,
    event: Annotated[str | None, typer.Option(help="Only webhooks for this event type.")] = None,
    enabled: Annotated[bool | None, typer.Option(help="Only enabled or disabled webhooks.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100)] = 50,
    cursor: Annotated[str | None, typer.Option(help="next_cursor of the previous page.")] = None,
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
        ("Webhook", "Tenant", "Target", "Events", ""),
        [
            (row["id"], row["tenant"], _target(row), escape(" ".join(row["events"])), _state(row))
            for row in page["items"]
        ],
    )
    if page["next_cursor"]:
        out.print(f"[dim]More: --cursor {page['next_cursor']}[/dim]")


@app.command()
def create(
    url: Annotated[str | None, typer.Argument(help="URL for the signed POST.")] = None,
    event: Events = None,
    filter_: Filter = None,
    email: Emails = None,
    notify: Notify = None,
    file: File = None,
    tenant: Annotated[str | None, typer.Option(help="The tenant. Default: the key's tenant, or `default`.")] = None,
    name: Name = None,
    header: Header = None,
    retry: Retry = None,
    timeout: Timeout = None,
    rate_limit: RateLimit = None,
    ordered: Ordered = None,
    order_policy: Policy = None,
    secret: Annotated[str | None, typer.Option(help="Signing key. Default: generated.")] = None,
    as_json: AsJson = False,
) -> None:
    """Register a webhook and print its signing key. It needs a URL, an email or a notification."""
    body = webhook_fields.fields_of(
        file,
        url=url,
        events=event,
        filter_=filter_,
        emails=email,
        notify=notify,
        name=name,
        headers=header,
        retry=retry,
        timeout=timeout,
        rate_limit=rate_limit,
        ordered=ordered,
        order_policy=order_policy,
    )
    body |= {field: value for field, value in {"tenant": tenant, "secret": secret}.items() if value}
    _print_webhook(Api.of_environment().call("POST", "webhooks", body=body), as_json)


@app.command()
def show(webhook_id: WebhookId, as_json: AsJson = False) -> None:
    """Show a webhook."""
    _print_webhook(Api.of_environment().call("GET", "webhooks", webhook_id), as_json)


@app.command()
def update(
    webhook_id: WebhookId,
    url: Annotated[str | None, typer.Option(help="URL for the signed POST. Empty removes it.")] = None,
    event: Events = None,
    filter_: Filter = None,
    email: Emails = None,
    notify: Notify = None,
    file: File = None,
    name: Name = None,
    header: Header = None,
    retry: Retry = None,
    timeout: Timeout = None,
    rate_limit: RateLimit = None,
    ordered: Ordered = None,
    order_policy: Policy = None,
    enabled: Annotated[bool | None, typer.Option(help="Deliveries of a disabled webhook are held.")] = None,
    as_json: AsJson = False,
) -> None:
    """Change the given fields. An empty --email or --notify removes all of them."""
    given = webhook_fields.fields_of(
        file,
        url=url,
        events=event,
        filter_=filter_,
        emails=email,
        notify=notify,
        name=name,
        headers=header,
        retry=retry,
        timeout=timeout,
        rate_limit=rate_limit,
        ordered=ordered,
        order_policy=order_policy,
    )
    body = {field: value for field, value in given.items() if field not in webhook_fields.FIXED}
    if enabled is not None:
        body["enabled"] = enabled
    _print_webhook(Api.of_environment().call("PATCH", "webhooks", webhook_id, body=body), as_json)


@app.command()
def delete(webhook_id: WebhookId, as_json: AsJson = False) -> None:
    """Delete a webhook. Its open deliveries are cancelled."""
    Api.of_environment().call("DELETE", "webhooks", webhook_id)
    print_result({"id": webhook_id, "deleted": True}, as_json, f"{webhook_id} is deleted")


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
    """Create a new signing key."""
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


@app.command()
def preview(
    webhook_id: Annotated[str | None, typer.Argument(help="The webhook's id, unless --file is given.")] = None,
    file: Annotated[
        str | None, typer.Option(help="A webhook as JSON, registered or not; - for standard input.")
    ] = None,
    type_: Annotated[str | None, typer.Option("--type", help="The type of the event. Default: a test event.")] = None,
    data: Annotated[
        str | None, typer.Option(help="JSON, @file, or - for standard input; default: the example of the type.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what an event would send, without sending it."""
    if (webhook_id is None) == (file is None):
        raise typer.BadParameter("give either a webhook's id or --file")
    if file == data == STDIN:
        raise typer.BadParameter("--file and --data cannot both be standard input")
    body: dict[str, Any] = {"webhook": webhook_fields.read_webhook(file)} if file else {"webhook_id": webhook_id}
    type_given = {"type": type_} if type_ else {}
    body["event"] = type_given | ({"data": read_json(data, "--data")} if data is not None else {})
    answer = Api.of_environment().call("POST", "webhooks", "preview", body=body)
    if as_json:
        typer.echo(json.dumps(answer))
    else:
        webhook_views.print_preview(answer)


for _command in (webhook_flow.pause, webhook_flow.resume, webhook_flow.deliveries, recoveries.recover):
    app.command()(_command)


def _target(webhook: dict[str, Any]) -> str:
    first, *others = webhook_views.targets(webhook)
    return escape(first) + (f" [dim]+{len(others)}[/dim]" if others else "")


def _state(webhook: dict[str, Any]) -> str:
    if not webhook["enabled"]:
        return f"[yellow]disabled ({webhook['disabled_reason']})[/yellow]"
    return "[yellow]paused[/yellow]" if webhook["paused_at"] else ""


def _print_webhook(webhook: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(webhook))
    else:
        webhook_views.print_fields(webhook_views.webhook_fields(webhook))


def _print(value: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(value))
    else:
        webhook_views.print_fields([(name, webhook_views.text_of(each)) for name, each in value.items()])
