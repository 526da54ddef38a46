"""`hookkeeper webhooks …`."""

from typing import Annotated, Literal

import typer
from rich.markup import escape

from hookkeeper.cli import event_views, events, options, recoveries, webhook_fields, webhook_views
from hookkeeper.cli.client import Api, present
from hookkeeper.cli.console import Json, print_fields, print_json_or, print_page, print_result
from hookkeeper.cli.options import (
    STDIN,
    AsJson,
    Cursor,
    Follow,
    Limit,
    OwnEventId,
    Tenant,
    WebhookId,
    read_json,
    time_of,
)

app = typer.Typer(no_args_is_help=True, help="Register, change and test webhooks.")
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
    Literal["block", "skip"] | None,  # `OrderPolicy`, without loading pydantic
    typer.Option(
        help="Of an ordered webhook: a failing event blocks the following ones, or is skipped after its first attempt."
    ),
]
SampleData = Annotated[
    str | None, typer.Option("--data", help="JSON, @file, or - for standard input; default: the example of the type.")
]
Name = Annotated[str | None, typer.Option(help="A display name.")]


@app.command("list")
def list_webhooks(
    tenant: Annotated[str | None, typer.Option(help="Only webhooks of this tenant.")] = None,
    event: Annotated[str | None, typer.Option(help="Only webhooks for this event type.")] = None,
    enabled: Annotated[bool | None, typer.Option(help="Only enabled or disabled webhooks.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List webhooks, newest first."""
    page = Api.of_environment().call(
        "GET", "webhooks", tenant=tenant, event=event, enabled=enabled, limit=limit, cursor=cursor
    )
    print_page(
        as_json,
        page,
        ("Webhook", "Tenant", "Target", "Events", ""),
        lambda row: (row["id"], row["tenant"], _target(row), escape(" ".join(row["events"])), _state(row)),
        empty="No webhooks. `hookkeeper webhooks create` registers one.",
    )


# `create` and `update` read most of their options from the context: `webhook_fields.FIELDS` lists them.


@app.command()
def create(
    context: typer.Context,
    url: Annotated[str | None, typer.Argument(help="URL for the signed POST.")] = None,
    event: Events = None,
    filter_: Filter = None,
    email: Emails = None,
    notify: Notify = None,
    file: File = None,
    tenant: Tenant = None,
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
    body = webhook_fields.fields_of(context.params) | present(tenant=tenant, secret=secret)
    print_json_or(as_json, Api.of_environment().call("POST", "webhooks", body=body), webhook_views.print_webhook)


@app.command()
def show(webhook_id: WebhookId, as_json: AsJson = False) -> None:
    """Show a webhook."""
    print_json_or(as_json, Api.of_environment().call("GET", "webhooks", webhook_id), webhook_views.print_webhook)


@app.command()
def update(
    context: typer.Context,
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
    fields = webhook_fields.fields_of(context.params) | present(enabled=enabled)
    body = {field: value for field, value in fields.items() if field not in webhook_fields.FIXED}
    changed = Api.of_environment().call("PATCH", "webhooks", webhook_id, body=body)
    print_json_or(as_json, changed, webhook_views.print_webhook)


@app.command()
def delete(webhook_id: WebhookId, as_json: AsJson = False) -> None:
    """Delete a webhook. Its open deliveries are cancelled."""
    Api.of_environment().call("DELETE", "webhooks", webhook_id)
    print_result(as_json, {"id": webhook_id, "deleted": True}, f"{webhook_id} is deleted")


@app.command()
def secret(webhook_id: WebhookId, as_json: AsJson = False) -> None:
    """Show the signing key."""
    print_json_or(as_json, Api.of_environment().call("GET", "webhooks", webhook_id, "secret"), print_fields)


@app.command()
def rotate_secret(
    webhook_id: WebhookId,
    grace: Annotated[int, typer.Option(help="Seconds during which the old key signs as well.")] = 86400,
    as_json: AsJson = False,
) -> None:
    """Create a new signing key."""
    api = Api.of_environment()
    rotated = api.call("POST", "webhooks", webhook_id, "rotate-secret", body={"grace": grace})
    print_json_or(as_json, rotated, print_fields)


def _given(data: str | None) -> Json:
    return {"data": read_json(data, "--data")} if data is not None else {}


@app.command("test")
def send_test(
    webhook_id: WebhookId,
    type_: Annotated[str, typer.Option("--type", help="The event type to send.")] = "hookkeeper.test",
    data: SampleData = None,
    id_: OwnEventId = None,
    follow: Follow = False,
    as_json: AsJson = False,
) -> None:
    """Send a real signed event to this webhook only."""
    api = Api.of_environment()
    event = {"type": type_} | _given(data) | present(id=id_)
    accepted = api.send_event(event, ("webhooks", webhook_id, "test"))
    events.print_accepted_event(api, accepted, follow=follow, as_json=as_json)


@app.command()
def preview(
    webhook_id: Annotated[str | None, typer.Argument(help="The webhook's id, unless --file is given.")] = None,
    file: Annotated[
        str | None, typer.Option(help="A webhook as JSON, registered or not; - for standard input.")
    ] = None,
    type_: Annotated[str | None, typer.Option("--type", help="The type of the event. Default: a test event.")] = None,
    data: SampleData = None,
    as_json: AsJson = False,
) -> None:
    """Show what an event would send, without sending it."""
    if (webhook_id is None) == (file is None):
        raise typer.BadParameter("give either a webhook's id or --file")
    if file == data == STDIN:
        raise typer.BadParameter("--file and --data cannot both be standard input")
    body: Json = {"webhook": webhook_fields.read_webhook(file)} if file else {"webhook_id": webhook_id}
    body["event"] = present(type=type_) | _given(data)
    print_json_or(
        as_json, Api.of_environment().call("POST", "webhooks", "preview", body=body), webhook_views.print_preview
    )


@app.command()
def pause(webhook_id: WebhookId, as_json: AsJson = False) -> None:
    """Hold all deliveries of a webhook until it is resumed."""
    webhook = Api.of_environment().call("POST", "webhooks", webhook_id, "pause")
    print_result(as_json, webhook, f"{webhook_id} is paused since {webhook['paused_at']}")


@app.command()
def resume(webhook_id: WebhookId, as_json: AsJson = False) -> None:
    """Resume a webhook. Held deliveries are released in the background, oldest first."""
    webhook = Api.of_environment().call("POST", "webhooks", webhook_id, "resume")
    state = "is resumed" if webhook["enabled"] else "is not paused, but disabled"
    print_result(as_json, webhook, f"{webhook_id} {state}")


@app.command()
def deliveries(
    webhook_id: WebhookId,
    status: Annotated[
        list[str] | None,
        typer.Option(help="pending, retrying, held, sent, succeeded, failed or cancelled; can be repeated."),
    ] = None,
    type_: options.Types = None,
    status_code: options.StatusCode = None,
    error: options.Error = None,
    min_attempts: options.MinAttempts = None,
    channel: options.OfChannel = None,
    id_prefix: options.IdPrefix = None,
    since: options.Since = None,
    until: options.Until = None,
    last: options.Last = None,
    total: options.Total = False,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List the deliveries of a webhook, newest first."""
    page = Api.of_environment().call(
        "GET",
        "webhooks",
        webhook_id,
        "deliveries",
        status=status,
        type=type_,
        status_code=status_code,
        error=error,
        min_attempts=min_attempts,
        channel=channel,
        id_prefix=id_prefix,
        since=time_of(since),
        until=time_of(until),
        last=last,
        total=total,
        limit=limit,
        cursor=cursor,
    )
    print_page(
        as_json,
        page,
        ("Event", "Type", "Channel", "Status", "Attempts", "Result", "Accepted"),
        lambda row: (
            row["event_id"],
            row["type"],
            row["channel"],
            event_views.colored(row["status"]),
            str(row["attempts"]),
            escape(str(row["error"] or row["status_code"] or "")),
            row["accepted_at"],
        ),
        empty="No deliveries.",
    )


app.command()(recoveries.recover)


def _target(webhook: Json) -> str:
    first, *others = webhook_views.targets(webhook)
    return escape(first) + (f" [dim]+{len(others)}[/dim]" if others else "")


def _state(webhook: Json) -> str:
    if not webhook["enabled"]:
        return f"[yellow]disabled ({webhook['disabled_reason']})[/yellow]"
    return "[yellow]paused[/yellow]" if webhook["paused_at"] else ""
