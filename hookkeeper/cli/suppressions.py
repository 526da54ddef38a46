"""`hookkeeper suppressions …`."""

from typing import Annotated

import typer
from rich.markup import escape

from hookkeeper.cli.client import Api, present
from hookkeeper.cli.console import print_page, print_result
from hookkeeper.cli.options import AsJson, Cursor, Limit, Tenant

app = typer.Typer(no_args_is_help=True, help="Addresses that get no more emails.")
Address = Annotated[str, typer.Argument(help="The email address.")]


@app.command("list")
def list_suppressions(
    tenant: Annotated[str | None, typer.Option(help="Only addresses of this tenant.")] = None,
    address: Annotated[str | None, typer.Option(help="Only this address.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List suppressed addresses with their reasons, newest first."""
    page = Api.of_environment().call("GET", "suppressions", tenant=tenant, address=address, limit=limit, cursor=cursor)
    print_page(
        as_json,
        page,
        ("Address", "Tenant", "Reason", "Since", ""),
        lambda row: (escape(row["address"]), row["tenant"], row["reason"], row["created_at"], escape(row["detail"])),
        empty="No suppressed addresses.",
    )


@app.command()
def add(
    address: Address,
    tenant: Tenant = None,
    detail: Annotated[str | None, typer.Option(help="A note, such as the reason.")] = None,
    as_json: AsJson = False,
) -> None:
    """Send no more emails to an address. An existing entry is not changed."""
    body = {"address": address} | present(tenant=tenant, detail=detail)
    entry = Api.of_environment().call("POST", "suppressions", body=body)
    sentence = f"{entry['address']} gets no more emails of tenant {entry['tenant']} ({entry['reason']})"
    print_result(as_json, entry, sentence)


@app.command()
def remove(address: Address, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """Send emails to an address again."""
    Api.of_environment().call("DELETE", "suppressions", address, tenant=tenant)
    whose = f" of tenant {tenant}" if tenant else ""
    removed = {"tenant": tenant, "address": address, "removed": True}
    print_result(as_json, removed, f"{address} gets emails{whose} again")
