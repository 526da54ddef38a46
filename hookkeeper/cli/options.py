"""Options and arguments that several commands have."""

from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Tenant = Annotated[str | None, typer.Option(help="The tenant. Default: the key's tenant, or `default`.")]
Limit = Annotated[int, typer.Option(min=1, max=100, help="Maximum number of rows.")]
Cursor = Annotated[str | None, typer.Option(help="next_cursor of the previous page.")]
EventData = Annotated[str, typer.Option(help="JSON, @file, or - for standard input.")]
OwnEventId = Annotated[
    str | None, typer.Option("--id", help="Your own id, so that the command can be repeated safely.")
]
WebhookId = Annotated[str, typer.Argument(help="The webhook's id.")]
