"""`hookkeeper schedules …`."""

from typing import Annotated, Any

import typer
from rich.markup import escape

from hookkeeper.cli.client import Api, present
from hookkeeper.cli.console import Json, out, print_json_or, print_page, print_result
from hookkeeper.cli.options import AsJson, Cursor, EventData, Limit, Tenant, read_json
from hookkeeper.wording import duration

app = typer.Typer(no_args_is_help=True, help="Schedules: events by cron or at an interval.")
ScheduleId = Annotated[str, typer.Argument(metavar="SCHEDULE", help="The schedule's id.")]
Note = Annotated[str | None, typer.Option(help="A note, such as the reason.")]
Overlap = Annotated[
    str | None,
    typer.Option(
        help="If the previous event is still being delivered: skip, buffer_one, buffer_all, cancel_other or allow_all."
    ),
]
SHOWN_TIMES = 5
COLORS = {"done": "green", "refused": "red", "cancelled": "yellow", "running": "cyan"}


@app.command("list")
def list_schedules(
    tenant: Annotated[str | None, typer.Option(help="Only schedules of this tenant.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List schedules, newest first."""
    page = Api.of_environment().call("GET", "schedules", tenant=tenant, limit=limit, cursor=cursor)
    print_page(
        as_json,
        page,
        ("Schedule", "Tenant", "Type", "When", "Next", ""),
        lambda row: (
            row["id"],
            row["tenant"],
            row["type"],
            _when(row),
            next(iter(row["next"]), "never"),
            _state(row),
        ),
        empty="No schedules. `hookkeeper schedules create` creates one.",
    )


@app.command()
def create(
    type_: Annotated[str, typer.Argument(metavar="TYPE", help="The type of its events, such as report.due.")],
    cron: Annotated[
        list[str] | None,
        typer.Option(help="Minute, hour, day, month, weekday, such as '0 9 * * 1-5'; can be repeated."),
    ] = None,
    every: Annotated[int | None, typer.Option(help="Interval in seconds, instead of --cron.")] = None,
    offset: Annotated[int | None, typer.Option(help="Offset of the interval, in seconds.")] = None,
    timezone: Annotated[
        str | None, typer.Option(help="Time zone of --cron, such as Europe/Berlin. Default: UTC.")
    ] = None,
    data: EventData = "{}",
    id_: Annotated[str | None, typer.Option("--id", help="Your own id. Default: generated.")] = None,
    tenant: Tenant = None,
    name: Annotated[str | None, typer.Option(help="A display name.")] = None,
    overlap: Overlap = None,
    catchup_window: Annotated[
        int | None, typer.Option(help="Maximum age in seconds of times that are caught up after an outage.")
    ] = None,
    jitter: Annotated[int | None, typer.Option(help="Maximum random delay of an event, in seconds.")] = None,
    start_at: Annotated[str | None, typer.Option(help="No events before this (RFC 3339).")] = None,
    end_at: Annotated[str | None, typer.Option(help="No events after this (RFC 3339).")] = None,
    paused: Annotated[bool, typer.Option("--paused", help="Create the schedule paused.")] = False,
    note: Note = None,
    as_json: AsJson = False,
) -> None:
    """Create a schedule."""
    body = {"event": {"type": type_, "data": read_json(data, "--data")}} | present(
        id=id_,
        tenant=tenant,
        name=name,
        cron=cron,
        every=every,
        offset=offset,
        timezone=timezone,
        overlap=overlap,
        catchup_window=catchup_window,
        jitter=jitter,
        start_at=start_at,
        end_at=end_at,
        paused=paused or None,
        note=note,
    )
    print_json_or(as_json, Api.of_environment().call("POST", "schedules", body=body), _print)


@app.command()
def show(schedule: ScheduleId, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """Show a schedule with its next times and latest results."""
    print_json_or(as_json, Api.of_environment().call("GET", "schedules", schedule, tenant=tenant), _print)


@app.command()
def pause(schedule: ScheduleId, note: Note = None, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """Pause a schedule."""
    print_json_or(as_json, _command(schedule, "pause", tenant, note=note), _print)


@app.command()
def resume(schedule: ScheduleId, note: Note = None, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """Resume a schedule, from the next time on."""
    print_json_or(as_json, _command(schedule, "resume", tenant, note=note), _print)


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


@app.command()
def backfill(
    schedule: ScheduleId,
    since: Annotated[str, typer.Argument(help="Start of the period (RFC 3339).")],
    until: Annotated[str, typer.Argument(help="End of the period, not included (RFC 3339).")],
    overlap: Overlap = None,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Create the events of a past period, none of them twice."""
    accepted = _command(schedule, "backfill", tenant, since=since, until=until, overlap=overlap)
    print_result(as_json, accepted, "\n".join(accepted["events"]) or "no times in this period")


@app.command()
def delete(schedule: ScheduleId, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """Delete a schedule. Events that it created remain."""
    Api.of_environment().call("DELETE", "schedules", schedule, tenant=tenant)
    print_result(as_json, {"id": schedule, "deleted": True}, f"{schedule} is deleted")


def _command(schedule: str, command: str, tenant: str | None, **options: str | None) -> Any:
    api = Api.of_environment()
    return api.call("POST", "schedules", schedule, command, body=present(**options), tenant=tenant)


def _print(schedule: Json) -> None:
    state = _state(schedule)
    out.print(f"[bold]{schedule['id']}[/bold]  {schedule['type']}, {_when(schedule)}{state and f'  {state}'}")
    for time in schedule["next"][:SHOWN_TIMES]:
        out.print(f"  next  {time}")
    for firing in schedule["recent"]:
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
