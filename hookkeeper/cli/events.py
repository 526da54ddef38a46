"""`hookkeeper send` and `hookkeeper events …`."""

import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated, Any

import typer
from rich.markup import escape

from hookkeeper.cli import bulk, event_views, options
from hookkeeper.cli.client import Api, ApiUnavailable, present
from hookkeeper.cli.console import Json, err, out, print_json_or
from hookkeeper.cli.options import AsJson, EventData, Follow, OwnEventId, Tenant, read_json
from hookkeeper.cli.resources import Resource
from hookkeeper.command_rules import COMMANDS
from hookkeeper.times import rfc3339, utc_now

Delivery = Annotated[str | None, typer.Option(help="The id of one delivery. Default: all deliveries.")]
EventId = Annotated[str, typer.Argument(help="The event's id.")]
resource = Resource("events", "List, show and control events.", partial(event_views.show, out), of_tenant=True)
app = resource.app
RECONNECT_AFTER = 1.0
"""Seconds until an ended stream of events is resumed."""
LEFT_OUT = "Some events are left out: more come than can be shown."


def send(
    type_: Annotated[str, typer.Argument(metavar="TYPE", help="The event's type, such as order.paid.")],
    data: EventData = "{}",
    id_: OwnEventId = None,
    tenant: Tenant = None,
    deliver_at: Annotated[str | None, typer.Option(help="Time of the delivery (RFC 3339).")] = None,
    follow: Follow = False,
    as_json: AsJson = False,
) -> None:
    """Send an event."""
    api = Api.of_environment()
    body = {"type": type_, "data": read_json(data, "--data")} | present(tenant=tenant, id=id_, deliver_at=deliver_at)
    print_accepted_event(api, api.send_event(body), follow=follow, as_json=as_json)


def print_accepted_event(api: Api, accepted: Json, *, follow: bool, as_json: bool) -> None:
    """Print the answer to an event that was sent; with `follow`, its attempts until it is final."""
    if not (as_json and follow):
        print_json_or(as_json, accepted, _print_deliveries)
    if follow:
        _follow(api, accepted, as_json)


def _print_deliveries(accepted: Json) -> None:
    count = len(accepted["deliveries"])
    deliveries = "no matching webhook" if not count else f"{count} {'delivery' if count == 1 else 'deliveries'}"
    duplicate = "  [yellow]duplicate[/yellow]" if accepted["duplicate"] else ""
    out.print(f"[bold]{accepted['id']}[/bold]  {accepted['type']}  {deliveries}{duplicate}")


def _follow(api: Api, accepted: Json, as_json: bool) -> None:
    event = event_views.follow(api, err if as_json else out, accepted["id"], accepted["tenant"])
    if as_json:
        typer.echo(json.dumps(event))
    else:
        hint = "" if event["deliveries"] else "  nothing was sent: `hookkeeper webhooks create` registers a webhook"
        out.print(f"  {event_views.colored(event['status'])}{hint}")
    if event["status"] != "succeeded":
        raise typer.Exit(1)


FILTERS: dict[str, Any] = {
    "tenant": options.only("Only this tenant's."),
    "webhook": options.only("Only events for this webhook."),
    "status": Annotated[
        list[str] | None, typer.Option(help="scheduled, delivering, succeeded, failed or cancelled; can be repeated.")
    ],
    "needs_attention": Annotated[
        bool | None, typer.Option(help="Only events with a delivery that has failed, or has long been retrying.")
    ],
    "acknowledged": Annotated[bool | None, typer.Option(help="Only events that are acknowledged, or are not.")],
    "delivery_status": Annotated[
        list[str] | None, typer.Option(help="Only events with a delivery of this status; can be repeated.")
    ],
    **options.SEARCH,
}
resource.list(
    "List events, newest first.",
    {
        "Event": "id",
        "Type": "type",
        "Tenant": "tenant",
        "Status": lambda row: event_views.colored(row["status"]),
        "Accepted": "accepted_at",
    },
    "No events. `hookkeeper send` sends one.",
    **FILTERS,
)


@app.command("tail")
def tail_events(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None,
    type_: Annotated[list[str] | None, typer.Option("--type", help="Only this type; can be repeated.")] = None,
    webhook: Annotated[str | None, typer.Option(help="Only events for this webhook.")] = None,
    number: Annotated[
        int, typer.Option("--number", "-n", min=0, max=100, help="Number of earlier events to show.")
    ] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per event or change.")] = False,
) -> None:
    """Print events as they are accepted, and what becomes of their deliveries, until Ctrl-C."""
    run_tail(Api.of_environment(), number, as_json=as_json, tenant=tenant, type=type_, webhook=webhook)


resource.show("Show an event with all its attempts.")


def _accepted(accepted: Json) -> str:
    return f"{accepted['command']}: accepted"


for _name, _rule in COMMANDS.items():
    resource.post(_name, _rule.summary, _accepted, delivery=Delivery)


resource.post(
    "reschedule",
    "Change the time of a scheduled event.",
    _accepted,
    deliver_at=Annotated[str, typer.Argument(metavar="TIME", help="The new time (RFC 3339).")],
)


resource.post(
    "acknowledge",
    "Take an event out of what needs attention, until a delivery of it fails again.",
    _accepted,
    note=Annotated[str | None, typer.Option(help="Why.")],
)
resource.post("unacknowledge", "Undo the acknowledgement of an event.", _accepted)
bulk.add(app, FILTERS)


# New events


def run_tail(api: Api, number: int, *, as_json: bool, **filters: Any) -> None:
    """Print the `number` latest events, and then each new one and each outcome, until Ctrl-C."""
    try:
        for event in tail(api, number, **filters):
            if as_json:
                typer.echo(json.dumps(event))
            else:
                for line in lines_of(event, api.webhook_name):
                    out.print(line)
    except KeyboardInterrupt:
        return


def lines_of(event: Json, name_of: Callable[[str], str]) -> Iterator[str]:
    """Yield the line of an event, unless it was accepted before, and those of its deliveries that have an outcome."""
    if event.get("is_new", True):
        yield (
            f"[dim]{event['accepted_at']}[/dim]  {escape(event['id'])}  {escape(event['type'])}"
            f"  [dim]{escape(event['tenant'])}[/dim]"
        )
    for delivery in event.get("deliveries", ()):
        if found := event_views.outcome(event, delivery):
            target = delivery["id"].removeprefix(delivery["webhook_id"]).replace(".", " ")
            at = delivery["finished_at"] or rfc3339(utc_now())
            name = escape((name_of(delivery["webhook_id"]) or delivery["webhook_id"]) + target)
            yield f"[dim]{at}[/dim]  {escape(event['id'])}  {name}  {found}"


def tail(api: Api, number: int, **filters: Any) -> Iterator[Json]:
    """Yield the `number` latest events, oldest first, and then each new one, once, and each that has changed.

    Of an event that is not new, `is_new` is false, and `deliveries` are those that have changed. Say if some are left
    out.
    """
    listed: set[tuple[str, str]] | None = None
    last_id, is_away = "", False
    while True:
        try:
            for kind, data, id_ in api.stream("events", "stream", last_id=last_id, **filters):
                last_id, is_away = id_, False
                if kind == "ready" and listed is None:
                    page = api.call("GET", "events", limit=100, **filters)["items"]
                    listed = {(event["tenant"], event["id"]) for event in page}
                    yield from reversed(page[:number])
                elif kind == "event":
                    is_new = data["is_new"] and (data["tenant"], data["id"]) not in (listed or ())
                    if is_new or data["deliveries"]:
                        yield data | {"is_new": is_new}
                elif kind == "reset":
                    err.print(f"[yellow]{LEFT_OUT}[/yellow]")
        except ApiUnavailable as error:
            if not is_away:
                err.print(f"[yellow]{escape(str(error))} Trying again.[/yellow]")
            is_away = True
        time.sleep(RECONNECT_AFTER)
