"""The command `hookkeeper forward`. `extensions.forwarding.screen` runs it."""

from typing import Annotated

import typer

from cli.client.api import present
from cli.client.options import Tenant


def add_to(main: typer.Typer) -> None:
    """Add the command `forward`."""
    main.command(rich_help_panel="Send and receive")(forward)


def forward(
    url: Annotated[str, typer.Argument(metavar="URL", help="The program, such as http://localhost:3000/hook.")],
    events: Annotated[
        list[str] | None, typer.Option(help="Forward only these types, such as 'order.*'; can be repeated.")
    ] = None,
    secret: Annotated[
        str | None, typer.Option(help="Signing key of the webhook (whsec_…, whsk_… or whpk_…). Default: a new one.")
    ] = None,
    tenant: Tenant = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per request.")] = False,
) -> None:
    """Hand deliveries to a program on this machine, through a webhook that exists until Ctrl-C. No port is opened."""
    from extensions.forwarding.screen import run_forward

    run_forward(url, present(events=events or None, secret=secret, tenant=tenant), as_json=as_json)
