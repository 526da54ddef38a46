"""`hookkeeper send` and `hookkeeper events …`."""

import json
import time
from collections.abc import Iterator
from functools import partial
from typing import Annotated, Any

import typer
from rich.markup import escape

from hookkeeper.cli import event_views, options
from hookkeeper.cli.client import Api, ApiUnavailable, present
from hookkeeper.cli.console import Json, err, out, print_json_or, print_page, print_result
from hookkeeper.cli.options import AsJson, Cursor, EventData, Follow, Limit, OwnEventId, Tenant, read_json
from hookkeeper.command_rules import COMMANDS

app = typer.Typer(no_args_is_help=True, help="List, show and control events.")
Delivery = Annotated[str | None, typer.Option(help="The id of one delivery. Default: all deliveries.")]
EventId = Annotated[str, typer.Argument(help="The event's id.")]
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
    out.print(f"[bold]{accepted['id']}[/bold]  {deliveries}{duplicate}")


def _follow(api: Api, accepted: Json, as_json: bool) -> None:
    event = event_views.follow(api, err if as_json else out, accepted["id"], accepted["tenant"])
    if as_json:
        typer.echo(json.dumps(event))
    else:
        hint = "" if event["deliveries"] else "  nothing was sent: `hookkeeper webhooks create` registers a webhook"
        out.print(f"  {event_views.colored(event['status'])}{hint}")
    if event["status"] != "succeeded":
        raise typer.Exit(1)


@app.command("list")
def list_events(
    context: typer.Context,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None,
    type_: options.Types = None,
    webhook: Annotated[str | None, typer.Option(help="Only events for this webhook.")] = None,
    status: Annotated[
        list[str] | None,
        typer.Option(help="scheduled, delivering, succeeded, failed or cancelled; can be repeated."),
    ] = None,
    needs_attention: Annotated[
        bool | None, typer.Option(help="Only events with a delivery that is retrying, held or failed.")
    ] = None,
    delivery_status: Annotated[
        list[str] | None, typer.Option(help="Only events with a delivery of this status; can be repeated.")
    ] = None,
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
    """List events, newest first."""
    query = options.search_of(context)
    page = Api.of_environment().call("GET", "events", **query)
    print_page(
        as_json,
        page,
        ("Event", "Type", "Tenant", "Status", "Accepted"),
        lambda row: (row["id"], row["type"], row["tenant"], event_views.colored(row["status"]), row["accepted_at"]),
        empty="No events. `hookkeeper send` sends one.",
        query=query,
    )


@app.command("tail")
def tail_events(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None,
    type_: options.Types = None,
    webhook: Annotated[str | None, typer.Option(help="Only events for this webhook.")] = None,
    number: Annotated[
        int, typer.Option("--number", "-n", min=0, max=100, help="Number of earlier events to show.")
    ] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per event.")] = False,
) -> None:
    """Print events as they are accepted, until Ctrl-C."""
    run_tail(Api.of_environment(), number, as_json=as_json, tenant=tenant, type=type_, webhook=webhook)


@app.command()
def show(event_id: EventId, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """Show an event with all its attempts."""
    event = Api.of_environment().call("GET", "events", event_id, tenant=tenant)
    print_json_or(as_json, event, partial(event_views.show, out))


def _add_command(name: str, help_: str) -> None:
    def act(event_id: EventId, delivery: Delivery = None, tenant: Tenant = None, as_json: AsJson = False) -> None:
        api = Api.of_environment()
        accepted = api.call("POST", "events", event_id, name, body={"delivery": delivery}, tenant=tenant)
        _print_accepted(accepted, as_json)

    app.command(name, help=help_)(act)


for _name, _rule in COMMANDS.items():
    _add_command(_name, _rule.summary)


@app.command()
def reschedule(
    event_id: EventId,
    deliver_at: Annotated[str, typer.Argument(help="The new time (RFC 3339).")],
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Change the time of a scheduled event."""
    api = Api.of_environment()
    body = {"deliver_at": deliver_at}
    _print_accepted(api.call("POST", "events", event_id, "reschedule", body=body, tenant=tenant), as_json)


def _print_accepted(accepted: Json, as_json: bool) -> None:
    print_result(as_json, accepted, f"{accepted['command']}: accepted")


# New events


def run_tail(api: Api, number: int, *, as_json: bool, **filters: Any) -> None:
    """Print the `number` latest events, and then each new one, until Ctrl-C."""
    try:
        for event in tail(api, number, **filters):
            if as_json:
                typer.echo(json.dumps(event))
            else:
                out.print(
                    f"[dim]{event['accepted_at']}[/dim]  {escape(event['id'])}  {escape(event['type'])}"
                    f"  [dim]{escape(event['tenant'])}[/dim]"
                )
    except KeyboardInterrupt:
        return


def tail(api: Api, number: int, **filters: Any) -> Iterator[Json]:
    """Yield the `number` latest events, oldest first, and then each new one, once. Say if some are left out."""
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
                elif kind == "event" and data["is_new"] and (data["tenant"], data["id"]) not in (listed or ()):
                    yield data
                elif kind == "reset":
                    err.print(f"[yellow]{LEFT_OUT}[/yellow]")
        except ApiUnavailable as error:
            if not is_away:
                err.print(f"[yellow]{escape(str(error))} Trying again.[/yellow]")
            is_away = True
        time.sleep(RECONNECT_AFTER)
