"""`hookkeeper suppressions …`."""

import json
from typing import Annotated

import typer
from rich.markup import escape

from hookkeeper.cli.client import Api
from hookkeeper.cli.console import out, print_result, print_table

app = typer.Typer(no_args_is_help=True, help="Addresses that get no more emails.")
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Address = Annotated[str, typer.Argument(help="The email address.")]
Tenant = Annotated[str | None, typer.Option(help="The tenant. Default: the key's tenant, or `default`.")]


@app.command("list")
def list_suppressions(
    tenant: Annotated[str | None, typer.Option(help="Only addresses of this tenant.")] = None,
    address: Annotated[str | None, typer.Option(help="Only this address.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100)] = 50,
    cursor: Annotated[str | None, typer.Option(help="next_cursor of the previous page.")] = None,
    as_json: AsJson = False,
) -> None:
    """List suppressed addresses with their reasons, newest first."""
    page = Api.of_environment().call("GET", "suppressions", tenant=tenant, address=address, limit=limit, cursor=cursor)
    if as_json:
        typer.echo(json.dumps(page))
        return
    print_table(
        ("Address", "Tenant", "Reason", "Since", ""),
        [
            (escape(row["address"]), row["tenant"], row["reason"], row["created_at"], escape(row["detail"]))
            for row in page["items"]
        ],
    )
    if page["next_cursor"]:
        out.print(f"[dim]More: --cursor {page['next_cursor']}[/dim]")


@app.command()
def add(
    address: Address,
    tenant: Tenant = None,
    detail: Annotated[str | None, typer.Option(help="A note, such as the reason.")] = None,
    as_json: AsJson = False,
) -> None:
    """Send no more emails to an address. An existing entry is not changed."""
    given = {name: value for name, value in {"tenant": tenant, "detail": detail}.items() if value}
    entry = Api.of_environment().call("POST", "suppressions", body={"address": address} | given)
    told = f"{entry['address']} gets no more emails of tenant {entry['tenant']} ({entry['reason']})"
    print_result(entry, as_json, told)


@app.command()
def remove(address: Address, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """Send emails to an address again."""
    Api.of_environment().call("DELETE", "suppressions", address, tenant=tenant)
    removed = {"tenant": tenant, "address": address, "removed": True}
    whose = f" of tenant {tenant}" if tenant else ""
    print_result(removed, as_json, f"{address} gets emails{whose} again")
