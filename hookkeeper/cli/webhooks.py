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
    typer.Option(help="JSON as the API takes it or shows it, - for standard input. Options override its fields."),
]
Events = Annotated[list[str] | None, typer.Option("--event", help="A type or pattern; can be given again.")]
Filter = Annotated[str | None, typer.Option("--filter", help="CEL: event.data.amount >= 100. Empty for none.")]
Emails = Annotated[
    list[str] | None,
    typer.Option("--email", help="One message, to one address or several with commas; can be given again."),
]
Notify = Annotated[
    list[str] | None,
    typer.Option(help="A service, as slack://…, or a URL to POST the event to; can be given again."),
]
Header = Annotated[list[str] | None, typer.Option(help="name: value; can be given again.")]
Retry = Annotated[str | None, typer.Option(help="Seconds before each retry, as 5,300; none for one attempt.")]
Timeout = Annotated[float | None, typer.Option(help="Seconds for one attempt, 1 to 30.")]
RateLimit = Annotated[float | None, typer.Option(help="Requests a second to the URL; 0 for any number.")]
Ordered = Annotated[
    bool | None, typer.Option(help="One event at a time to the URL, in the order in which they were accepted.")
]
Policy = Annotated[
    OrderPolicy | None,
    typer.Option(
        help="Where ordered: a failing event blocks those behind it, or they skip it after its first attempt."
    ),
]
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
    url: Annotated[str | None, typer.Argument(help="Where the signed POST goes, if anywhere.")] = None,
    event: Events = None,
    filter_: Filter = None,
    email: Emails = None,
    notify: Notify = None,
    file: File = None,
    tenant: Annotated[str | None, typer.Option(help="The customer whose webhook this is; else `default`.")] = None,
    name: Name = None,
    header: Header = None,
    retry: Retry = None,
    timeout: Timeout = None,
    rate_limit: RateLimit = None,
    ordered: Ordered = None,
    order_policy: Policy = None,
    secret: Annotated[str | None, typer.Option(help="Signing key; made where none is given.")] = None,
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
    url: Annotated[str | None, typer.Option(help="Where the signed POST goes. Empty for nowhere.")] = None,
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
    """Change what is given. An empty --email or --notify takes them all away."""
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
    """Remove a webhook; its open deliveries are cancelled."""
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


@app.command()
def preview(
    webhook_id: Annotated[str | None, typer.Argument(help="The webhook's id; or give --file.")] = None,
    file: Annotated[
        str | None, typer.Option(help="A webhook as JSON, registered or not; - for standard input.")
    ] = None,
    type_: Annotated[str | None, typer.Option("--type", help="The type of the event; else a test's.")] = None,
    data: Annotated[
        str | None, typer.Option(help="JSON, @file, or - for standard input; else the type's example.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what an event would send. Nothing is sent."""
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
