"""`hookkeeper webhooks …`."""

import re
from typing import Annotated

import typer
from rich.markup import escape

from hookkeeper.cli import events, options, recoveries
from hookkeeper.cli.client import Api, present
from hookkeeper.cli.console import Failed, Json, print_fields, print_json_or
from hookkeeper.cli.event_views import colored
from hookkeeper.cli.options import STDIN, AsJson, Follow, OwnEventId, WebhookId, only, read_json
from hookkeeper.cli.resources import Resource, fields_of_file
from hookkeeper.cli.webhook_views import first_target, print_preview, print_webhook, state_of

SampleData = Annotated[
    str | None, typer.Option("--data", help="JSON, @file, or - for standard input; default: the example of the type.")
]
_ENTRY = re.compile(r'(?:"[^"]*"|\{\{.*?\}\}|\{%.*?%\}|[^,])+')
"""Text between two commas; commas in quotes and in templates do not count."""
_SERVICES = (
    (re.compile(r"https://hooks\.slack\.com/services/([^/?#]+/[^/?#]+/[^/?#]+)/?"), "slack"),
    (re.compile(r"https://discord(?:app)?\.com/api/webhooks/([^/?#]+/[^/?#]+)/?"), "discord"),
)
"""Addresses that refuse an event, but are those of services."""


def _email(text: str) -> Json:
    """One or more addresses, separated by commas, or an email as JSON."""
    return {"to": [entry.strip() for entry in _ENTRY.findall(text)]}


def _notification(url: str) -> Json:
    """The URL of a service, another URL to which the event is posted, or a notification as JSON."""
    for address, service in _SERVICES:
        if known := address.fullmatch(url):
            return {"service": f"{service}://{known[1]}"}
    return {"http": {"url": url}} if url.startswith(("http://", "https://")) else {"service": url}


SHORT = {"emails": _email, "notifications": _notification}
"""How an item of a list is written. Help shows the docstrings."""
resource = Resource("webhooks", "Register, change and test webhooks.", print_webhook)
app = resource.app
resource.list(
    "List webhooks, newest first.",
    {
        "Webhook": "id",
        "Tenant": "tenant",
        "Target": first_target,
        "Events": lambda row: escape(" ".join(row["events"])),
        "": state_of,
    },
    "No webhooks. `hookkeeper webhooks create` registers one.",
    tenant=only("Only webhooks of this tenant."),
    event=only("Only webhooks for this event type."),
    enabled=Annotated[bool | None, typer.Option(help="Only enabled or disabled webhooks.")],
)
resource.create(
    "webhook_fields:NewWebhook",
    "Register a webhook and print its signing key. It needs a URL, an email or a notification.",
    argument="url",
    short=SHORT,
)
resource.show("Show a webhook.")
resource.update(
    "webhook_fields:WebhookChanges",
    "Change the given fields; an empty text sets the default. Options of one part, such as --retry-…, replace it all.",
    short=SHORT,
)
resource.delete("Delete a webhook. Its open deliveries are cancelled.")


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
    body: Json = {"webhook": fields_of_file(file, "webhook_fields:NewWebhook")} if file else {"webhook_id": webhook_id}
    body["event"] = present(type=type_) | _given(data)
    print_json_or(as_json, Api.of_environment().call("POST", "webhooks", "preview", body=body), print_preview)


resource.post(
    "pause",
    "Hold all deliveries of a webhook until it is resumed.",
    lambda webhook: f"{webhook['id']} is paused since {webhook['paused_at']}",
)
resource.post(
    "resume",
    "Resume a webhook. Held deliveries are released in the background, oldest first.",
    lambda webhook: f"{webhook['id']} is {'resumed' if webhook['enabled'] else 'not paused, but disabled'}",
)


resource.list(
    "List the deliveries of a webhook, newest first.",
    {
        "Event": "event_id",
        "Type": "type",
        "Channel": "channel",
        "Status": lambda row: colored(row["status"]),
        "Attempts": lambda row: str(row["attempts"]),
        "Result": lambda row: escape(str(row["error"] or row["status_code"] or "")),
        "Accepted": "accepted_at",
    },
    "No deliveries.",
    of="deliveries",
    status=Annotated[
        list[str] | None,
        typer.Option(help="pending, retrying, held, sent, succeeded, failed or cancelled; can be repeated."),
    ],
    **options.SEARCH,
)
app.command()(recoveries.recover)
