"""`hookkeeper suppressions …`."""

from typing import Annotated

import typer

from cli.client.api import Api, present
from cli.client.options import AsJson, Tenant, only
from cli.client.resources import Resource
from cli.console import print_result

Address = Annotated[str, typer.Argument(help="The email address.")]
resource = Resource("suppressions", "Addresses that get no more emails.")
app = resource.app


resource.list(
    "List suppressed addresses with their reasons, newest first.",
    {"Address": "address", "Tenant": "tenant", "Reason": "reason", "Since": "created_at", "": "detail"},
    "No suppressed addresses.",
    tenant=only("Only addresses of this tenant."),
    address=only("Only this address."),
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
