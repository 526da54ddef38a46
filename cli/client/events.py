"""`hookkeeper events …`."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from inspect import Parameter
from typing import Annotated, Any, Literal

import typer
from rich.markup import escape

from cli.client import event_views, options, sending
from cli.client.api import Api, ApiUnavailable, present
from cli.client.options import AsJson, EventTenant, Yes, confirm, later
from cli.client.recoveries import print_started
from cli.client.resources import AS_JSON, YES, Resource, parameter, query_of, with_parameters
from cli.console import Failed, Json, err, out, print_json_or, print_result
from hookkeeper.command_rules import COMMANDS
from hookkeeper.filters import OF_EVENTS, OF_STREAMS
from hookkeeper.times import rfc3339, utc_now

EventId = Annotated[str, typer.Argument(help="The event's id.")]
resource = Resource("events", "List, show and control events.", partial(event_views.show, out), tenant=EventTenant)
app = resource.app
RECONNECT_AFTER = 1.0
"""Seconds until an ended stream of events is resumed."""
LEFT_OUT = "Some events are left out: more come than can be shown."
MAX_COUNTED = 10_000
"""Events that the API counts for a bulk action."""


app.command()(sending.send)


FILTERS: dict[str, Any] = {
    "q": options.only('Search in the data of one tenant\'s events: data.order_id:4711, words, or "a text".'),
    "tenant": options.only("Only this tenant's."),
    "webhook": options.only("Only events for this webhook."),
    **options.filters_of(OF_EVENTS),
}
resource.list(
    "List events, newest first.",
    {
        "Event": "id",
        "Type": "type",
        "Tenant": "tenant",
        "Status": lambda row: event_views.colored(row["status"]),
        "Accepted": "accepted_at",
        "Webhook": lambda row: escape((row["latest"] or {}).get("webhook_name") or ""),
        "Outcome": lambda row: (row["latest"] and event_views.outcome(row, row["latest"])) or "",
    },
    "No events. `hookkeeper send` sends one.",
    **FILTERS,
)


TAIL = (
    parameter("tenant", FILTERS["tenant"]),
    parameter("webhook", FILTERS["webhook"]),
    *(parameter(each.name, FILTERS[each.name]) for each in OF_STREAMS),
    parameter(
        "number",
        Annotated[int, typer.Option("--number", "-n", min=0, max=100, help="Number of earlier events to show.")],
        10,
    ),
    parameter(
        "as_json",
        Annotated[bool, typer.Option("--json", help="Print one JSON object per event or change.")],
        False,
    ),
)


def _tail(number: int, as_json: bool, **filters: Any) -> None:
    run_tail(Api.of_environment(), number, as_json=as_json, **query_of(filters))


app.command("tail", help="Print events as they are accepted, and what becomes of their deliveries, until Ctrl-C.")(
    with_parameters(TAIL, _tail)
)


resource.show("Show an event with all its attempts.")


def _accepted(accepted: Json) -> str:
    return f"{accepted['command']}: accepted"


def _add_command(name: str, help_: str) -> None:
    @app.command(name, help=help_)
    def act(
        event_id: EventId,
        delivery: Annotated[
            str | None,
            typer.Argument(help="One delivery: its id, or the id or the name of its webhook. Default: all."),
        ] = None,
        named: Annotated[str | None, typer.Option("--delivery", help="The same as an option.")] = None,
        tenant: EventTenant = None,
        as_json: AsJson = False,
    ) -> None:
        api, meant = Api.of_environment(), delivery if delivery is not None else named
        for one in [None] if meant is None else _deliveries(api, event_id, tenant, meant):
            accepted = api.call("POST", "events", event_id, name, body=present(delivery=one), tenant=tenant)
            print_result(as_json, accepted, _accepted(accepted))


def _deliveries(api: Api, event_id: str, tenant: str | None, meant: str) -> list[str]:
    """Return the ids of the deliveries that a user means. Raises `Failed` if the event has none of them."""
    try:
        deliveries = api.call("GET", "events", event_id, tenant=tenant)["deliveries"]
    except ApiUnavailable:
        raise
    except Failed:  # the key may not read events
        return [meant]
    if meant in [delivery["id"] for delivery in deliveries]:
        return [meant]
    names = {delivery["id"]: api.webhook_name(delivery["webhook_id"]) for delivery in deliveries}
    found = [delivery["id"] for delivery in deliveries if meant in (delivery["webhook_id"], names[delivery["id"]])]
    if not found:
        known = "".join(f"\n  {id_}  {name}" for id_, name in names.items()) or " none"
        raise Failed(f"the event has no delivery {meant!r}. It has:{known}")
    return found


for _name, _rule in COMMANDS.items():
    _add_command(_name, _rule.summary)


@app.command()
def erase(event_id: EventId, tenant: EventTenant = None, yes: Yes = False, as_json: AsJson = False) -> None:
    """Erase a finished event: its data, its deliveries and its log."""
    api, about = Api.of_environment(), ""
    with suppress(Failed):  # it may be half erased, or the key may not read events
        event = api.call("GET", "events", event_id, tenant=tenant)
        tenant, about = event["tenant"], f", {event['type']} of tenant {event['tenant']}, {event['status']}"
    confirm(f"Erase {event_id}{about}? Its data, its deliveries and its log cannot be restored.", yes)
    erased = api.call("DELETE", "events", event_id, "data", tenant=tenant)
    print_result(as_json, erased, f"{event_id} is being erased")


resource.post(
    "reschedule",
    "Change the time of a scheduled event.",
    _accepted,
    deliver_at=Annotated[
        str, typer.Argument(metavar="TIME", help="The new time: RFC 3339, or a delay: 'in 10m'.", callback=later)
    ],
)


resource.post(
    "acknowledge",
    "Take an event out of what needs attention, until a delivery of it fails again.",
    _accepted,
    note=Annotated[str | None, typer.Option(help="Why.")],
)
resource.post("unacknowledge", "Undo the acknowledgement of an event.", _accepted)


# All events of a search

Action = Literal["retry", "cancel", "redeliver", "acknowledge"]
BULK = (
    parameter("action", Annotated[Action, typer.Argument(help="What to do.")], Parameter.empty),
    *(parameter(name, about) for name, about in FILTERS.items() if name != "total"),
    parameter("note", Annotated[str | None, typer.Option(help="Why, to acknowledge.")]),
    parameter("rate", Annotated[float | None, typer.Option(help="Events a second, at most.")]),
    parameter("dry_run", Annotated[bool, typer.Option("--dry-run", help="Only count the events.")], False),
    YES,
    AS_JSON,
)


def _bulk(
    action: Action, note: str | None, rate: float | None, dry_run: bool, yes: bool, as_json: bool, **filters: Any
) -> None:
    """Count the events, ask, and start."""
    api, query = Api.of_environment(), query_of(filters)
    body = {"action": action} | present(note=note, rate=rate)
    if dry_run or not yes:
        counted = api.call("POST", "bulk", body=body | {"dry_run": True}, **query)
        found = counted["found"]
        count = f"{found:,}{' or more' if found == MAX_COUNTED else ''} event{'' if found == 1 else 's'}"
        if dry_run:
            print_json_or(as_json, counted, lambda _: out.print(f"{count} would be changed"))
            return
        if not found:
            print_json_or(as_json, counted, lambda _: out.print("No event matches."))
            return
        changes = f" It changes deliveries that are {', '.join(counted['changes'])}." if counted["changes"] else ""
        confirm(f"{action} {count} of tenant {counted['tenant']}?{changes}", yes)
        query |= {"until": counted["until"], "tenant": counted["tenant"]}
    print_json_or(as_json, api.call("POST", "bulk", body=body, **query), print_started)


app.command("bulk", help="Retry, cancel, redeliver or acknowledge all events that the options match.")(
    with_parameters(BULK, _bulk)
)


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
    latest = event.get("latest")
    for delivery in event.get("deliveries", [latest | {"id": latest["delivery"]}] if latest else []):
        if found := event_views.outcome(event, delivery):
            target = delivery["id"].removeprefix(delivery["webhook_id"]).replace(".", " ")
            at = delivery.get("finished_at") or event["finished_at"] or rfc3339(utc_now())
            name = escape((name_of(delivery["webhook_id"]) or delivery["webhook_id"]) + target)
            yield f"[dim]{at}[/dim]  {escape(event['id'])}  {name}  {found}"


def tail(api: Api, number: int, **filters: Any) -> Iterator[Json]:
    """Yield the `number` latest events, oldest first, and then each new one, once, and each that has changed.

    In the latter, `is_new` is false, and `deliveries` are those that have changed. Print a warning if events are left
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
