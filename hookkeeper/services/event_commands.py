"""Find the tenant of an event, command the event, and record that in the audit log."""

from contextlib import suppress

from hookkeeper.command_rules import Command
from hookkeeper.links import DEFAULT_TENANT
from hookkeeper.registry.audit import AuditLog
from hookkeeper.registry.database import RegistryUnavailable
from hookkeeper.registry.event_rows import EventRows
from hookkeeper.services.caller import Caller
from hookkeeper.services.errors import Invalid
from hookkeeper.temporal.events.gateway import Gateway


async def send(
    command: Command,
    event_id: str,
    tenant: str,
    delivery: str | None,
    gateway: Gateway,
    audit: AuditLog,
    caller: Caller,
) -> None:
    """Send a command to one delivery of an event, or to all, and record it."""
    await gateway.commands.send(tenant, event_id, command, delivery)
    meant = {"delivery": delivery} if delivery else {}
    await audit.keep(caller.did(f"event.{command}", event_id, tenant, **meant))


async def tenant_of_event(event_id: str, rows: EventRows) -> str:
    """Return the tenant of an event that a key of all tenants names by its id alone.

    It is `default` if that has the event, if no tenant has it, and while the registry is away; else the only one that
    has it. Raises Invalid if several do.
    """
    with suppress(RegistryUnavailable):
        found = await rows.tenants(event_id)
        if len(found) == 1:
            return found[0]
        if found and DEFAULT_TENANT not in found and await rows.find(DEFAULT_TENANT, event_id) is None:
            raise Invalid.field("tenant", f"Several tenants have this event: name one, such as {', '.join(found)}")
    return DEFAULT_TENANT
