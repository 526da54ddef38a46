"""`hookkeeper webhooks …`."""

from typing import Annotated

import typer

from hookkeeper.cli import events, options, recoveries, webhook_fields, webhook_views
from hookkeeper.cli.client import Api, present
from hookkeeper.cli.console import Failed, Json, print_fields, print_json_or, print_result
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
)
from hookkeeper.cli.webhook_fields import (
    Emails,
    Events,
    File,
    Filter,
    Header,
    Name,
    Notify,
    Ordered,
    OrderKey,
    Policy,
    RateLimit,
    Retry,
    Timeout,
)

app = typer.Typer(no_args_is_help=True, help="Register, change and test webhooks.")
SampleData = Annotated[
    str | None, typer.Option("--data", help="JSON, @file, or - for standard input; default: the example of the type.")
]


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
    query = {"tenant": tenant, "event": event, "enabled": enabled, "limit": limit, "cursor": cursor}
    page = Api.of_environment().call("GET", "webhooks", **query)
    webhook_views.print_page_of_webhooks(as_json, page, query)


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
    order_key: OrderKey = None,
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
    order_key: OrderKey = None,
    order_policy: Policy = None,
    enabled: Annotated[bool | None, typer.Option(help="Deliveries of a disabled webhook are held.")] = None,
    as_json: AsJson = False,
) -> None:
    """Change the given fields. An empty --email or --notify removes all of them."""
    fields = webhook_fields.fields_of(context.params) | present(enabled=enabled)
    body = {field: value for field, value in fields.items() if field not in webhook_fields.FIXED}
    if not body:
        raise typer.BadParameter(f"nothing to change: give {_options_of(context)}")
    changed = Api.of_environment().call("PATCH", "webhooks", webhook_id, body=body)
    print_json_or(as_json, changed, webhook_views.print_webhook)


def _options_of(context: typer.Context) -> str:
    """`--url, --event or --enabled`: the options of an update that change something."""
    options = [parameter.opts[0] for parameter in context.command.params if parameter.opts[0].startswith("--")]
    *others, last = [option for option in options if option not in ("--json", "--help")]
    return f"{', '.join(others)} or {last}"


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
    end_previous: Annotated[
        bool,
        typer.Option("--end-previous", help="Rotate even if the key before the old one still signs, and end it now."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Create a new signing key."""
    body = {"grace": grace, "end_previous": end_previous}
    try:
        rotated = Api.of_environment().call("POST", "webhooks", webhook_id, "rotate-secret", body=body)
    except Failed as error:
        error.args = (str(error).replace("`end_previous`", "`--end-previous`"),)
        raise
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
    context: typer.Context,
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
    query = options.search_of(context)
    page = Api.of_environment().call("GET", "webhooks", webhook_id, "deliveries", **query)
    webhook_views.print_page_of_deliveries(as_json, page, query)


app.command()(recoveries.recover)
