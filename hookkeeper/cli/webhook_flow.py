"""`hookkeeper webhooks pause`, `resume` and `deliveries`."""

import json
from typing import Annotated

import typer

from hookkeeper.cli import wording
from hookkeeper.cli.client import Api
from hookkeeper.cli.console import out, print_result, print_table

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
WebhookId = Annotated[str, typer.Argument(help="The webhook's id.")]


def pause(webhook_id: WebhookId, as_json: AsJson = False) -> None:
    """Hold all deliveries of a webhook until it is resumed."""
    webhook = Api.of_environment().call("POST", "webhooks", webhook_id, "pause")
    print_result(webhook, as_json, f"{webhook_id} is paused since {webhook['paused_at']}")


def resume(webhook_id: WebhookId, as_json: AsJson = False) -> None:
    """Resume a webhook. Held deliveries are released in the background, oldest first."""
    webhook = Api.of_environment().call("POST", "webhooks", webhook_id, "resume")
    state = "is resumed" if webhook["enabled"] else "is not paused, but disabled"
    print_result(webhook, as_json, f"{webhook_id} {state}")


def deliveries(
    webhook_id: WebhookId,
    status: Annotated[
        str | None, typer.Option(help="pending, retrying, held, sent, succeeded, failed or cancelled.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100)] = 50,
    cursor: Annotated[str | None, typer.Option(help="next_cursor of the previous page.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the deliveries of a webhook: open ones first, then finished ones, newest first."""
    api = Api.of_environment()
    page = api.call("GET", "webhooks", webhook_id, "deliveries", status=status, limit=limit, cursor=cursor)
    if as_json:
        typer.echo(json.dumps(page))
        return
    print_table(
        ("Event", "Type", "Status", "Accepted"),
        [(row["event_id"], row["type"], wording.colored(row["status"]), row["accepted_at"]) for row in page["items"]],
    )
    if page["next_cursor"]:
        out.print(f"[dim]More: --cursor {page['next_cursor']}[/dim]")
