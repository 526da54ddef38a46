"""`hookkeeper keys …`: API keys, not signing keys."""

from typing import Annotated

import typer

from cli.client.api import Api, present
from cli.client.options import AsJson, only
from cli.client.resources import Resource
from cli.console import Json, out, print_json_or, print_result

SCOPES = "events:write, events:read, webhooks:write, webhooks:read, webhooks:secrets, admin"
PRINTED = ("id", "key", "tenant", "scopes")


def _print_key(key: Json) -> None:
    tenant = f"tenant {key['tenant']}" if key["tenant"] else "all tenants"
    out.print(f"[bold]{key['key']}[/bold]\n{key['id']} for {tenant}: {', '.join(key['scopes'])}")
    out.print("[dim]The key is shown only once.[/dim]")


def _state(key: Json) -> str:
    if key["revoked_at"]:
        return f"[red]revoked {key['revoked_at']}[/red]"
    return f"expires {key['expires_at']}" if key["expires_at"] else ""


resource = Resource("keys", "API keys.", _print_key)
app = resource.app


@app.command()
def create(
    name: Annotated[str, typer.Option(help="A display name.")],
    tenant: Annotated[str | None, typer.Option(help="The tenant of the key.")] = None,
    all_tenants: Annotated[bool, typer.Option("--all-tenants", help="A key for all tenants.")] = False,
    scope: Annotated[
        list[str] | None, typer.Option(help=f"{SCOPES}; can be repeated. Default: the first four.")
    ] = None,
    rate_limit: Annotated[str | None, typer.Option(help="Rate limit, such as 100/second.")] = None,
    expires_at: Annotated[str | None, typer.Option(help="The key expires at this time (RFC 3339).")] = None,
    as_json: AsJson = False,
) -> None:
    """Create a key and print it. It cannot be shown again."""
    if (tenant is None) != all_tenants:
        raise typer.BadParameter("give either --tenant or --all-tenants")
    body = {"name": name, "tenant": tenant} | present(
        scopes=scope or None, rate_limit=rate_limit, expires_at=expires_at
    )
    key = Api.of_environment().call("POST", "keys", body=body)
    print_json_or(as_json, {field: key[field] for field in PRINTED}, _print_key)


resource.list(
    "List keys, including revoked ones, newest first.",
    {
        "Key": "id",
        "Name": "name",
        "Tenant": lambda row: row["tenant"] or "all",
        "Scopes": lambda row: " ".join(row["scopes"]),
        "Last used": lambda row: row["last_used_at"] or "never",
        "": _state,
    },
    "No keys. The admin key is not listed.",
    tenant=only("Only keys of this tenant."),
)


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(help="The key's id, key_…")],
    pause_schedules: Annotated[
        bool, typer.Option("--pause-schedules", help="Pause the schedules that it created.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Revoke a key, and list the schedules that it created."""
    revoked = Api.of_environment().call("DELETE", "keys", key_id, pause_schedules=pause_schedules or None)
    lines = [f"{key_id} is revoked"]
    for schedule in revoked["schedules"]:
        state = "paused" if schedule["paused"] else "continues"
        lines.append(f"schedule {schedule['id']} of tenant {schedule['tenant']} {state}")
    print_result(as_json, revoked | {"revoked": True}, "\n".join(lines))
