"""`hookkeeper recoveries …`, and `hookkeeper webhooks recover`, which starts one."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from hookkeeper.cli import webhook_views
from hookkeeper.cli.client import Api
from hookkeeper.cli.console import out, print_result, print_table

app = typer.Typer(no_args_is_help=True, help="Recoveries: bulk redelivery of failed events.")
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
RecoveryId = Annotated[str, typer.Argument(metavar="RECOVERY", help="The recovery's id, rec_…")]
COLORS = {"finished": "green", "cancelled": "yellow", "paused": "yellow"}
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


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
    body: dict[str, Any] = {"since": _time(since), "status": status, "rate": rate, "dry_run": dry_run}
    body |= {"types": type_} if type_ else {}
    body |= {"until": _time(until)} if until else {}
    api = Api.of_environment()
    if webhook_id:
        answer = api.call("POST", "webhooks", webhook_id, "recover", body=body)
    else:
        answer = api.call("POST", "recoveries", body=body | {"tenant": all_of})
    if as_json:
        typer.echo(json.dumps(answer))
    elif dry_run:
        count = answer["found"]
        out.print(f"{count} {'event' if count == 1 else 'events'} would be delivered again")
    else:
        out.print(f"[bold]{answer['id']}[/bold]  `hookkeeper recoveries show {answer['id']}` shows its progress")


@app.command("list")
def list_recoveries(
    tenant: Annotated[str | None, typer.Option(help="Only recoveries of this tenant.")] = None,
    webhook: Annotated[str | None, typer.Option(help="Only recoveries of this webhook.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100)] = 50,
    cursor: Annotated[str | None, typer.Option(help="next_cursor of the previous page.")] = None,
    as_json: AsJson = False,
) -> None:
    """List recoveries: open ones first, then finished ones, newest first."""
    api = Api.of_environment()
    page = api.call("GET", "recoveries", tenant=tenant, webhook=webhook, limit=limit, cursor=cursor)
    if as_json:
        typer.echo(json.dumps(page))
        return
    print_table(
        ("Recovery", "Tenant", "Status", "Redelivered", "Started"),
        [(row["id"], row["tenant"], _status(row), _done(row), row["started_at"]) for row in page["items"]],
    )
    if page["next_cursor"]:
        out.print(f"[dim]More: --cursor {page['next_cursor']}[/dim]")


@app.command()
def show(recovery_id: RecoveryId, as_json: AsJson = False) -> None:
    """Show the progress of a recovery."""
    answer = Api.of_environment().call("GET", "recoveries", recovery_id)
    if as_json:
        typer.echo(json.dumps(answer))
        return
    known = [(name, value) for name, value in answer.items() if value not in (None, [])]
    webhook_views.print_fields([(name, webhook_views.text_of(value)) for name, value in known])


def _add_command(name: str, help_: str) -> None:
    def act(recovery_id: RecoveryId, as_json: AsJson = False) -> None:
        answer = Api.of_environment().call("POST", "recoveries", recovery_id, name)
        print_result(answer, as_json, f"{name}: accepted")

    app.command(name, help=help_)(act)


for _name, _help in {
    "pause": "Pause a recovery.",
    "resume": "Resume a recovery.",
    "cancel": "Cancel a recovery; events that it has redelivered continue.",
}.items():
    _add_command(_name, _help)


def _time(given: str) -> str:
    """Convert an age such as `2h` to a time; leave other values to the API."""
    ago = re.fullmatch(r"(\d{1,6})([smhd])", given)
    if not ago:
        return given
    return (datetime.now(UTC) - timedelta(**{UNITS[ago[2]]: int(ago[1])})).isoformat()


def _status(row: dict[str, Any]) -> str:
    color = COLORS.get(row["status"], "cyan")
    return f"[{color}]{row['status']}[/{color}]"


def _done(row: dict[str, Any]) -> str:
    return f"{row['redelivered']} of {'?' if row['found'] is None else row['found']}"
