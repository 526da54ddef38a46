"""`hookkeeper recoveries …`, and `hookkeeper webhooks recover`, which starts one."""

from typing import Annotated

import typer

from hookkeeper.cli.client import Api, present
from hookkeeper.cli.console import Json, out, print_fields, print_json_or, print_page, print_result
from hookkeeper.cli.options import AsJson, Cursor, Limit, time_of

app = typer.Typer(no_args_is_help=True, help="Recoveries: bulk redelivery of failed events.")
RecoveryId = Annotated[str, typer.Argument(metavar="RECOVERY", help="The recovery's id, rec_…")]
COLORS = {"finished": "green", "cancelled": "yellow", "paused": "yellow", "unknown": "red"}


def recover(
    webhook_id: Annotated[str | None, typer.Argument(help="The webhook's id, unless --all-of is given.")] = None,
    all_of: Annotated[str | None, typer.Option(help="Recover all webhooks of this tenant.")] = None,
    since: Annotated[str, typer.Option(help="Events accepted since: RFC 3339, or an age such as 30m, 2h, 7d.")] = "",
    until: Annotated[str | None, typer.Option(help="Events accepted before, in the same format. Default: now.")] = None,
    status: Annotated[str, typer.Option(help="Deliveries with this status: failed or cancelled.")] = "failed",
    type_: Annotated[
        list[str] | None, typer.Option("--type", help="Only events of this type; can be repeated.")
    ] = None,
    rate: Annotated[float, typer.Option(help="Events a second.")] = 20.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count the events.")] = False,
    as_json: AsJson = False,
) -> None:
    """Deliver failed events again, oldest first, in the background."""
    if (webhook_id is None) == (all_of is None):
        raise typer.BadParameter("give either a webhook's id or --all-of")
    if not since:
        raise typer.BadParameter("--since is required, such as 2h or 2026-01-02T03:04:05Z")
    body = {"since": time_of(since), "status": status, "rate": rate, "dry_run": dry_run}
    body |= present(types=type_ or None, until=time_of(until), tenant=all_of)
    path = ("webhooks", webhook_id, "recover") if webhook_id is not None else ("recoveries",)
    recovery = Api.of_environment().call("POST", *path, body=body)
    print_json_or(as_json, recovery, _print_count if dry_run else _print_started)


def _print_count(recovery: Json) -> None:
    count = recovery["found"]
    out.print(f"{count} {'event' if count == 1 else 'events'} would be delivered again")


def _print_started(recovery: Json) -> None:
    out.print(f"[bold]{recovery['id']}[/bold]  `hookkeeper recoveries show {recovery['id']}` shows its progress")


@app.command("list")
def list_recoveries(
    tenant: Annotated[str | None, typer.Option(help="Only recoveries of this tenant.")] = None,
    webhook: Annotated[str | None, typer.Option(help="Only recoveries of this webhook.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List recoveries: open ones first, then finished ones, newest first."""
    api = Api.of_environment()
    page = api.call("GET", "recoveries", tenant=tenant, webhook=webhook, limit=limit, cursor=cursor)
    print_page(
        as_json,
        page,
        ("Recovery", "Tenant", "Status", "Redelivered", "Started"),
        lambda row: (row["id"], row["tenant"], _status(row), _progress(row), row["started_at"]),
        empty="No recoveries. `hookkeeper webhooks recover` starts one.",
    )


@app.command()
def show(recovery_id: RecoveryId, as_json: AsJson = False) -> None:
    """Show the progress of a recovery."""
    recovery = Api.of_environment().call("GET", "recoveries", recovery_id)
    print_json_or(as_json, recovery, _print_recovery)


def _print_recovery(recovery: Json) -> None:
    print_fields({name: value for name, value in recovery.items() if value not in (None, [])})


def _add_command(name: str, help_: str) -> None:
    def act(recovery_id: RecoveryId, as_json: AsJson = False) -> None:
        accepted = Api.of_environment().call("POST", "recoveries", recovery_id, name)
        print_result(as_json, accepted, f"{name}: accepted")

    app.command(name, help=help_)(act)


for _name, _help in {
    "pause": "Pause a recovery.",
    "resume": "Resume a recovery.",
    "cancel": "Cancel a recovery; events that it has redelivered continue.",
}.items():
    _add_command(_name, _help)


def _status(row: Json) -> str:
    color = COLORS.get(row["status"], "cyan")
    return f"[{color}]{row['status']}[/{color}]"


def _progress(row: Json) -> str:
    return f"{row['redelivered']} of {'?' if row['found'] is None else row['found']}"
