"""`hookkeeper webhooks …`: its commands, and how webhooks and previews are printed."""

from collections.abc import Iterator, Sequence
from importlib import import_module
from textwrap import indent
from typing import Annotated

import typer
from rich.markup import escape

from cli.client import options, recoveries, sending
from cli.client.api import Api, ApiUnavailable, present
from cli.client.event_views import colored
from cli.client.options import STDIN, AsJson, Follow, OwnEventId, WebhookId, only, read_json
from cli.client.resources import Resource, fields_of_file
from cli.client.stats import percent
from cli.console import Failed, Json, out, print_columns, print_fields, print_json_or, text_of
from hookkeeper.causes import remedy_of, sentence_of
from hookkeeper.filters import OF_DELIVERIES
from hookkeeper.kinds import LISTS
from hookkeeper.wording import duration

SampleType = Annotated[
    str | None,
    typer.Option(
        "--type",
        help="The type of the event; default: one of the catalogue that the webhook gets and that has an example.",
    ),
]
SampleData = Annotated[
    str | None, typer.Option("--data", help="JSON, @file, or - for standard input; default: the example of the type.")
]
STATUS_COLORS = {
    "new": "dim",
    "healthy": "green",
    "slow": "yellow",
    "degraded": "yellow",
    "failing": "red",
    "paused": "yellow",
    "disabled": "red",
}
OTHERS = "(other)"
"""The group of the webhooks that statistics do not name."""
WORDS = {kind.field: (kind, import_module(items.words)) for kind, items in LISTS}
"""Kinds of targets and their words, by the fields of webhooks and of alerts that have lists of them."""
SHORT = {field: words.read for field, (_, words) in WORDS.items()}
"""How an item of a list is written. Help shows the docstrings."""


def _print_webhook(webhook: Json) -> None:
    print_columns(webhook_fields(webhook))


def webhook_fields(webhook: Json) -> list[tuple[str, str]]:
    """Return the fields to print: empty ones are omitted, targets are shown in a few words."""
    return list(_fields(webhook))


def _targets(webhook: Json) -> list[str]:
    """Return the targets: `https://acme.example/hook`, `email to ann@acme.example`, `notify slack`."""
    return [webhook["url"]] * bool(webhook["url"]) + list(_listed(webhook))


def _listed(lists: Json) -> Iterator[str]:
    for field, (kind, words) in WORDS.items():
        yield from (f"{kind.verb} {words.write(item)}" for item in lists.get(field, ()))


def _fields(webhook: Json) -> Iterator[tuple[str, str]]:
    for name, value in webhook.items():
        if name in WORDS:
            kind, words = WORDS[name]
            yield from ((kind.name, words.write(item)) for item in value)
        elif name == "on_failure" and value:
            yield from ((name, recipient) for recipient in _listed(value))
        elif name == "health":
            yield from _health(value)
        elif name == "disable_after" and value == 0:
            yield name, "never"
        elif name == "tls" and value:
            yield name, ", ".join(part for part, pem in value.items() if pem and part != "key")
        elif value or name == "enabled":
            yield name, text_of(value)


def _health(health: Json) -> Iterator[tuple[str, str]]:
    """Describe the health: `failing`, and what each target that fails has answered."""
    until = health["throttled_until"]
    yield "health", f"{health['status']}, no requests until {until}" if until else health["status"]
    if health["status"] == "slow":
        yield "slow", f"requests take up to {duration(health['slow_ms'] / 1000)}"
    for failed in health["failing"]:
        yield "failing", f"{failed['target']}, {failed['failures']} in a row since {failed['since']}: {_said(failed)}"
        yield "remedy", remedy_of(failed["error"], failed["text"]) or ""
    if health["last_success_at"]:
        yield "last_success_at", health["last_success_at"]


def _first_target(webhook: Json) -> str:
    first, *others = _targets(webhook)
    return escape(first) + (f" [dim]+{len(others)}[/dim]" if others else "")


def _state(webhook: Json) -> str:
    status = webhook["health"]["status"]
    reason = f" ({webhook['disabled_reason']})" if status == "disabled" else ""
    return f"[{STATUS_COLORS[status]}]{status}{reason}[/]"


def cause(webhook: Json) -> str:
    """Say why the first of the targets that fail does: `There is no such host: acme.example`, `email.1: …`."""
    if not (failing := webhook["health"]["failing"]):
        return ""
    first = failing[0]
    target = "" if first["target"] == "webhook" else f"{first['target']}: "
    more = f" [dim]+{len(failing) - 1}[/dim]" if len(failing) > 1 else ""
    return f"{target}{escape(_said(first))}{more}"


def _said(failed: Json) -> str:
    """Return the cause of a target that fails, and what it was answered, unless the cause has it."""
    cause = sentence_of(failed["error"], failed["status_code"], failed["text"]) or ""
    text = " ".join(failed["text"].split())
    return cause if not text or text[:50] in cause else f"{cause} “{text}”"


def _add_success(api: Api, webhooks: Sequence[Json]) -> None:
    """Add the success rates of the last 24 hours, if the key may read statistics."""
    if not webhooks:
        return
    tenants = {webhook["tenant"] for webhook in webhooks}
    try:
        groups = api.call("GET", "stats", by="webhook", tenant=tenants.pop() if len(tenants) == 1 else None)["items"]
        found = {group["webhook_id"]: group for group in groups}
        for webhook in webhooks:
            group = found.get(webhook["id"])
            if group is None and OTHERS in found:
                (group,) = api.call("GET", "stats", webhook=webhook["id"], tenant=webhook["tenant"])["items"]
            webhook["success_rate"] = group and group["success_rate"]
    except ApiUnavailable:
        raise
    except Failed:
        return


def _print_preview(preview: Json) -> None:
    """Print what each target would get in full, or the reason why there is none."""
    out.print(f"[dim]An event of the type {preview['type']}[/dim]")
    if preview["matches"]:
        out.print("[green]✓[/green] The webhook matches this event. It would send:")
    else:
        reason = escape(preview["filter_error"] or "its event types or its filter exclude it")
        out.print(f"[yellow]✗[/yellow] The webhook does not match this event: {reason}. If it did, it would send:")
    if request := preview["request"]:
        _print_part(f"POST {request['url']}", request["headers"], request["body"], request["problem"])
    for field, (kind, _) in WORDS.items():
        for number, part in enumerate(preview.get(field, ()), start=1):
            title = f"{kind.verb} {part['target']}" if part["target"] else f"{kind.name} {number}"
            lines = {"title": part["title"]} if part["title"] else {}
            lines |= {name.lower(): value for name, value in part["headers"].items()}
            _print_part(title, lines, part["body"], part["problem"])


def _print_part(title: str, headers: dict[str, str], body: str | None, problem: str | None) -> None:
    out.print(f"\n[bold]{escape(title)}[/bold]")
    if problem:
        out.print(f"  [red]✗[/red] {escape(problem)}")
    for name, value in headers.items():
        out.print(f"  [dim]{escape(name)}:[/dim] {escape(value)}")
    if body:
        out.print(f"\n{indent(body.rstrip(), '  ')}", markup=False)


resource = Resource("webhooks", "Register, change and test webhooks.", _print_webhook)
app = resource.app
resource.list(
    "List webhooks, newest first, with their state, and the share of their deliveries of 24 hours that succeeded.",
    {
        "Webhook": "id",
        "Uid": "uid",
        "Name": "name",
        "Tenant": "tenant",
        "State": _state,
        "24 h": lambda row: percent(row.get("success_rate")),
        "Cause": cause,
        "Target": _first_target,
        "Events": lambda row: escape(" ".join(row["events"])),
    },
    "No webhooks. `hookkeeper webhooks create` registers one.",
    complete=_add_success,
    tenant=only("Only webhooks of this tenant."),
    q=only("Words of the id, uid, name or URL, or metadata.team:shop."),
    status=only("Only webhooks in this state: new, healthy, slow, degraded, failing, paused or disabled."),
    event=only("Only webhooks for this event type."),
    enabled=Annotated[bool | None, typer.Option(help="Only enabled or disabled webhooks.")],
)
resource.create(
    "webhooks.fields:NewWebhook",
    "Register a webhook and print its signing key. It needs a URL, an email or a notification.",
    argument="url",
    short=SHORT,
)
resource.show("Show a webhook.")
resource.update(
    "webhooks.fields:WebhookChanges",
    "Change the given fields; an empty text sets the default. Options of one part, such as --retry-…, replace it all.",
    short=SHORT,
)
resource.delete("Delete a webhook.", "Its open deliveries are cancelled.")
resource.show("Show the signing key.", of="secret")


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
    type_: SampleType = None,
    data: SampleData = None,
    id_: OwnEventId = None,
    follow: Follow = False,
    as_json: AsJson = False,
) -> None:
    """Send a real signed event to this webhook only."""
    api = Api.of_environment()
    event = present(type=type_) | _given(data) | present(id=id_)
    accepted = api.send_event(event, ("webhooks", webhook_id, "test"))
    sending.print_accepted_event(api, accepted, follow=follow, as_json=as_json)


@app.command()
def preview(
    webhook_id: Annotated[str | None, typer.Argument(help="The webhook's id or name, unless --file is given.")] = None,
    file: Annotated[
        str | None, typer.Option(help="A webhook as JSON, registered or not; - for standard input.")
    ] = None,
    type_: SampleType = None,
    data: SampleData = None,
    as_json: AsJson = False,
) -> None:
    """Show what an event would send, without sending it."""
    if (webhook_id is None) == (file is None):
        raise typer.BadParameter("give either a webhook's id or --file")
    if file == data == STDIN:
        raise typer.BadParameter("--file and --data cannot both be standard input")
    api, body = Api.of_environment(), {"event": present(type=type_) | _given(data)}
    if webhook_id is not None:
        body["webhook_id"] = api.call("GET", "webhooks", webhook_id)["id"]
    else:
        body["webhook"] = fields_of_file(file, "webhooks.fields:NewWebhook")
    print_json_or(as_json, api.call("POST", "webhooks", "preview", body=body), _print_preview)


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
    **options.filters_of(OF_DELIVERIES),
)
app.command()(recoveries.retry)
app.command()(recoveries.recover)
