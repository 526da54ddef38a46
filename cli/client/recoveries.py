"""`hookkeeper recoveries …`, and `hookkeeper webhooks recover`, which starts one."""

from typing import Annotated

import typer

from cli.client.api import Api, present
from cli.client.options import AsJson, only, time_of
from cli.client.resources import Resource
from cli.console import Json, out, print_fields, print_json_or

COLORS = {"finished": "green", "cancelled": "yellow", "paused": "yellow", "unknown": "red"}


AnyWebhook = Annotated[str | None, typer.Argument(help="The webhook's id or name, unless --all-of is given.")]
AllOf = Annotated[str | None, typer.Option(help="All webhooks of this tenant.")]
Rate = Annotated[float, typer.Option(help="Events a second.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only count the events.")]


def retry(
    webhook_id: AnyWebhook = None,
    all_of: AllOf = None,
    rate: Rate = 20.0,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Attempt now what waits for its next attempt, oldest first, in the background."""
    _start(webhook_id, all_of, {"status": "retrying", "rate": rate, "dry_run": dry_run}, as_json=as_json)


def recover(
    webhook_id: AnyWebhook = None,
    all_of: AllOf = None,
    since: Annotated[
        str | None,
        typer.Option(
            help="Events accepted since: RFC 3339, or an age such as 30m, 2h, 7d. Default: since shortly before the"
            " latest incident of the webhook."
        ),
    ] = None,
    until: Annotated[str | None, typer.Option(help="Events accepted before, in the same format. Default: now.")] = None,
    status: Annotated[str, typer.Option(help="Deliveries with this status: failed or cancelled.")] = "failed",
    type_: Annotated[
        list[str] | None, typer.Option("--type", help="Only events of this type; can be repeated.")
    ] = None,
    rate: Rate = 20.0,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Deliver failed events again, oldest first, in the background."""
    if all_of is not None and since is None:
        raise typer.BadParameter("--since is required with --all-of, such as 2h or 2026-01-02T03:04:05Z")
    body = {"status": status, "rate": rate, "dry_run": dry_run}
    body |= present(types=type_ or None, since=time_of(since), until=time_of(until))
    _start(webhook_id, all_of, body, as_json=as_json)


def _start(webhook_id: str | None, all_of: str | None, body: Json, *, as_json: bool) -> None:
    if (webhook_id is None) == (all_of is None):
        raise typer.BadParameter("give either a webhook's id or --all-of")
    body |= present(tenant=all_of)
    path = ("webhooks", webhook_id, "recover") if webhook_id is not None else ("recoveries",)
    recovery = Api.of_environment().call("POST", *path, body=body)
    print_json_or(as_json, recovery, _print_count if body["dry_run"] else print_started)


def _print_count(recovery: Json) -> None:
    count, is_waiting = recovery["found"], recovery["requested_status"] == "retrying"
    done = "attempted now" if is_waiting else f"delivered again, counted from {recovery['since']}"
    out.print(f"{count} {'event' if count == 1 else 'events'} would be {done}")


def print_started(recovery: Json) -> None:
    out.print(f"[bold]{recovery['id']}[/bold]  `hookkeeper recoveries show {recovery['id']}` shows its progress")


def _print_recovery(recovery: Json) -> None:
    print_fields({name: value for name, value in recovery.items() if value not in (None, [])})


def _status(row: Json) -> str:
    color = COLORS.get(row["status"], "cyan")
    return f"[{color}]{row['status']}[/{color}]"


def _progress(row: Json) -> str:
    return f"{row['done']} of {'?' if row['found'] is None else row['found']}"


resource = Resource("recoveries", "Recoveries: bulk redelivery of failed events.", _print_recovery)
app = resource.app
resource.list(
    "List recoveries: open ones first, then finished ones, newest first.",
    {"Recovery": "id", "Tenant": "tenant", "Status": _status, "Done": _progress, "Started": "started_at"},
    "No recoveries. `hookkeeper webhooks recover` starts one.",
    tenant=only("Only recoveries of this tenant."),
    webhook=only("Only recoveries of this webhook."),
)
resource.show("Show the progress of a recovery.")
for _name, _help in {
    "pause": "Pause a recovery.",
    "resume": "Resume a recovery.",
    "cancel": "Cancel a recovery; events that it has redelivered continue.",
}.items():
    resource.post(_name, _help, lambda accepted: f"{accepted['command']}: accepted")
