"""`hookkeeper send` and `hookkeeper events …`."""

import json
from typing import Annotated, Any

import typer

from hookkeeper.cli import timeline, wording
from hookkeeper.cli.client import Api
from hookkeeper.cli.console import err, out, print_result, print_table
from hookkeeper.cli.given import read_json
from hookkeeper.commands import COMMANDS

app = typer.Typer(no_args_is_help=True, help="List, show and control events.")
Tenant = Annotated[str | None, typer.Option(help="The event's tenant. Default: the key's tenant, or `default`.")]
Delivery = Annotated[str | None, typer.Option(help="The id of one delivery. Default: all deliveries.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
EventId = Annotated[str, typer.Argument(help="The event's id.")]


def send(
    type_: Annotated[str, typer.Argument(metavar="TYPE", help="The event's type, such as order.paid.")],
    data: Annotated[str, typer.Option(help="JSON, @file, or - for standard input.")] = "{}",
    id_: Annotated[
        str | None, typer.Option("--id", help="Your own id, so that the command can be repeated safely.")
    ] = None,
    tenant: Tenant = None,
    deliver_at: Annotated[str | None, typer.Option(help="Time of the delivery (RFC 3339).")] = None,
    follow: Annotated[bool, typer.Option(help="Show the attempts live; exit 1 unless all succeed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Send an event."""
    api = Api.of_environment()
    options = {"tenant": tenant, "id": id_, "deliver_at": deliver_at}
    body = {"type": type_, "data": read_json(data, "--data")}
    body |= {name: value for name, value in options.items() if value is not None}
    accepted = api.send_event(body)
    if as_json and not follow:
        typer.echo(json.dumps(accepted))
    elif not as_json:
        _print_event(accepted)
    if follow:
        _follow(api, accepted, as_json)


def _print_event(accepted: dict[str, Any]) -> None:
    count = len(accepted["deliveries"])
    to = "no matching webhook" if not count else f"{count} {'delivery' if count == 1 else 'deliveries'}"
    known = "  [yellow]duplicate[/yellow]" if accepted["duplicate"] else ""
    out.print(f"[bold]{accepted['id']}[/bold]  {to}{known}")


def _follow(api: Api, accepted: dict[str, Any], as_json: bool) -> None:
    event = timeline.follow(api, err if as_json else out, accepted["id"], accepted["tenant"])
    if as_json:
        typer.echo(json.dumps(event))
    else:
        out.print(f"  {wording.colored(event['status'])}")
    if event["status"] != "succeeded":
        raise typer.Exit(1)


@app.command("list")
def list_events(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None,
    type_: Annotated[str | None, typer.Option("--type", help="Only this type.")] = None,
    webhook: Annotated[str | None, typer.Option(help="Only events for this webhook.")] = None,
    status: Annotated[str | None, typer.Option(help="scheduled, delivering, succeeded, failed or cancelled.")] = None,
    needs_attention: Annotated[
        bool | None, typer.Option(help="Only events with a delivery that is retrying, held or failed.")
    ] = None,
    since: Annotated[str | None, typer.Option(help="Accepted at or after this time (RFC 3339).")] = None,
    until: Annotated[str | None, typer.Option(help="Accepted before this time (RFC 3339).")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100)] = 50,
    cursor: Annotated[str | None, typer.Option(help="next_cursor of the page before.")] = None,
    as_json: AsJson = False,
) -> None:
    """List events: open ones first, then finished ones, newest first."""
    page = Api.of_environment().call(
        "GET",
        "events",
        tenant=tenant,
        type=type_,
        webhook=webhook,
        status=status,
        needs_attention=needs_attention,
        since=since,
        until=until,
        limit=limit,
        cursor=cursor,
    )
    if as_json:
        typer.echo(json.dumps(page))
        return
    print_table(
        ("Event", "Type", "Tenant", "Status", "Accepted"),
        [
            (row["id"], row["type"], row["tenant"], wording.colored(row["status"]), row["accepted_at"])
            for row in page["items"]
        ],
    )
    if page["next_cursor"]:
        out.print(f"[dim]More: --cursor {page['next_cursor']}[/dim]")


@app.command()
def show(event_id: EventId, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """Show an event with all its attempts."""
    event = Api.of_environment().call("GET", "events", event_id, tenant=tenant)
    if as_json:
        typer.echo(json.dumps(event))
    else:
        timeline.show(out, event)


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


def _print_accepted(accepted: dict[str, Any], as_json: bool) -> None:
    print_result(accepted, as_json, f"{accepted['command']}: accepted")
