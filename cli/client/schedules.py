"""`hookkeeper schedules …`."""

from typing import Annotated

import typer
from rich.markup import escape

from cli.client.api import Api, present
from cli.client.options import AsJson, Tenant, only
from cli.client.resources import Resource
from cli.console import Json, out, print_result
from hookkeeper.wording import duration

SHOWN_TIMES = 5
COLORS = {"done": "green", "refused": "red", "cancelled": "yellow", "running": "cyan"}
NOTE = only("A note, such as the reason.")
Overlap = Annotated[
    str | None,
    typer.Option(
        help="If the previous event is still being delivered: skip, buffer_one, buffer_all, cancel_other or allow_all."
    ),
]
ScheduleId = Annotated[str, typer.Argument(metavar="ID", help="The id.")]


def _print(schedule: Json) -> None:
    state = _state(schedule)
    out.print(f"[bold]{schedule['id']}[/bold]  {schedule['type']}, {_when(schedule)}{state and f'  {state}'}")
    for time in (schedule["next"] or ())[:SHOWN_TIMES]:
        out.print(f"  next  {time}")
    for firing in schedule["recent"] or ():
        color = COLORS[firing["status"]]
        result = firing["event_id"] or escape(firing["reason"] or "")
        out.print(f"  [dim]{firing['time']}[/dim]  [{color}]{firing['status']}[/{color}]  {result}")
    for counter in ("skipped", "missed"):
        if schedule[counter]:
            out.print(f"  {schedule[counter]} {counter}")


def _when(schedule: Json) -> str:
    """`0 9 * * 1-5 Europe/Berlin`, `every 1 h, 5 min after`."""
    if schedule["cron"]:
        return f"{' or '.join(schedule['cron'])} {schedule['timezone']}"
    after = f", {duration(schedule['offset'])} after" if schedule["offset"] else ""
    return f"every {duration(schedule['every'])}{after}"


def _state(schedule: Json) -> str:
    note = escape(schedule["note"])
    if not schedule["paused"]:
        return note
    return f"[yellow]paused[/yellow] {note}".strip()


resource = Resource("schedules", "Schedules: events by cron or at an interval.", _print, tenant=Tenant)
app = resource.app
resource.list(
    "List schedules, newest first.",
    {
        "Schedule": "id",
        "Tenant": "tenant",
        "Type": "type",
        "When": _when,
        "Next": lambda row: "unknown" if row["next"] is None else next(iter(row["next"]), "never"),
        "": _state,
    },
    "No schedules. `hookkeeper schedules create` creates one.",
    tenant=only("Only schedules of this tenant."),
)
resource.create("schedules.fields:NewSchedule", "Create a schedule.", argument="event.type")
resource.show("Show a schedule with its next times and latest results.")
resource.update(
    "schedules.fields:ScheduleChanges",
    "Change the given fields, from the next time on; an empty text sets the default.",
)
resource.post("pause", "Pause a schedule.", note=NOTE)
resource.post("resume", "Resume a schedule, from the next time on.", note=NOTE)


@app.command()
def trigger(
    schedule: ScheduleId,
    overlap: Overlap = None,
    id_: Annotated[
        str | None, typer.Option("--id", help="The event's id, to repeat a command that may have created it.")
    ] = None,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Create an event now, even if the schedule is paused."""
    body = present(overlap=overlap, id=id_)
    accepted = Api.of_environment().make_event(body, "schedules", schedule, "trigger", tenant=tenant)
    print_result(as_json, accepted, "\n".join(accepted["events"]))


resource.post(
    "backfill",
    "Create the events of a past period, none of them twice.",
    lambda accepted: "\n".join(accepted["events"]) or "no times in this period",
    since=Annotated[str, typer.Argument(metavar="SINCE", help="Start of the period (RFC 3339).")],
    until=Annotated[str, typer.Argument(metavar="UNTIL", help="End of the period, not included (RFC 3339).")],
    overlap=Overlap,
)
resource.delete("Delete a schedule.", "Events that it created remain.")
