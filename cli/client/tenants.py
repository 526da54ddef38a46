"""`hookkeeper tenants …`."""

from cli.client.options import only
from cli.client.resources import Resource
from cli.client.webhooks import SHORT
from cli.console import Json

resource = Resource("tenants", "Describe, limit and suspend tenants.")
app = resource.app


def _state(tenant: Json) -> str:
    return "[red]suspended[/red]" if tenant["suspended"] else ""


resource.list(
    "List tenants, newest first.",
    {
        "Tenant": "id",
        "Name": "name",
        "State": _state,
        "Webhooks": lambda row: "" if row["webhooks"] is None else str(row["webhooks"]),
        "Events in 24 h": lambda row: "" if row["events"] is None else str(row["events"]),
        "Rate limit": "rate_limit",
        "Created": "created_at",
    },
    "No tenants. An event, a webhook or a key adds the one that it names.",
    q=only("Words of the id or name, or metadata.plan:pro."),
)
resource.create(
    "tenants.tenants:NewTenant",
    "Describe a tenant. One that an event, a webhook or a key has named is there already: update it.",
    argument="id",
    short=SHORT,
)
resource.show("Show a tenant.")
resource.delete(
    "Delete a tenant in the background; `hookkeeper recoveries list` shows the progress.",
    "Its events, webhooks, schedules and keys are erased.",
)
resource.update(
    "tenants.tenants:TenantChanges", "Change the given fields; an empty text sets the default.", short=SHORT
)
