"""Find the tenant of an event, command or acknowledge the event, and record that in the audit log."""

from contextlib import suppress
from datetime import datetime

from hookkeeper.command_rules import Command
from hookkeeper.commands import Refused
from hookkeeper.links import DEFAULT_TENANT
from hookkeeper.messages.event import Acknowledgement
from hookkeeper.registry.events.rows import EventRows
from hookkeeper.registry.models import Tenant
from hookkeeper.registry.storage.database import RegistryUnavailable
from hookkeeper.registry.store import Store
from hookkeeper.services.caller import Caller
from hookkeeper.services.errors import Invalid, NotFound, TenantSuspended
from hookkeeper.services.events.ingest import check_deliver_at
from hookkeeper.temporal.gateway import Gateway
from hookkeeper.times import utc_now

SENDS_NOTHING = frozenset({"cancel", "hold", "acknowledge", "erase"})
"""Commands to events, and what recoveries do, that a suspended tenant can ask for."""


async def send(
    command: Command,
    event_id: str,
    tenant: str,
    delivery: str | None,
    gateway: Gateway,
    store: Store,
    caller: Caller,
) -> None:
    """Send a command to one delivery of an event, or to all, and record it. Raises TenantSuspended."""
    await check_tenant(command, tenant, store)
    await gateway.commands.send(tenant, event_id, command, delivery)
    meant = {"delivery": delivery} if delivery else {}
    await store.audit.keep(caller.did(f"event.{command}", event_id, tenant, **meant))


async def reschedule(
    event_id: str, tenant: str, deliver_at: datetime, gateway: Gateway, store: Store, caller: Caller
) -> None:
    """Change the time of an event that is scheduled for later. Raises Invalid and TenantSuspended."""
    check_deliver_at(deliver_at, utc_now())
    await check_tenant("reschedule", tenant, store)
    await gateway.commands.reschedule(tenant, event_id, deliver_at)
    await store.audit.keep(caller.did("event.reschedule", event_id, tenant, ["deliver_at"]))


async def check_tenant(action: str, tenant: str, store: Store) -> None:
    """Raise TenantSuspended for what makes deliveries, if the tenant is suspended: attempts by command ignore a pause.

    Without the registry, commands are accepted: no attempt is made until a worker can read the webhook.
    """
    if action not in SENDS_NOTHING and (suspended := await suspended_tenant(tenant, store)):
        raise TenantSuspended(tenant, "sends no event again", suspended.reason)


async def suspended_tenant(tenant: str, store: Store) -> Tenant | None:
    """Return the tenant if it is suspended, as far as the registry answers."""
    with suppress(RegistryUnavailable):
        known = await store.tenants.get(tenant)
        if known and known.suspended_at:
            return known
    return None


async def tenant_of_event(event_id: str, rows: EventRows) -> str:
    """Return the tenant of an event that a key of all tenants names by its id alone.

    It is `default` if that has the event, if no tenant has it, and while the registry is away; else the only one that
    has it. Raises Invalid if several do.
    """
    with suppress(RegistryUnavailable):
        found = await rows.tenants(event_id)  # a few of them
        if len(found) == 1:
            return found[0]
        if found and DEFAULT_TENANT not in found and await rows.find(DEFAULT_TENANT, event_id) is None:
            raise Invalid.field("tenant", f"Several tenants have this event: name one, such as {', '.join(found)}")
    return DEFAULT_TENANT


async def acknowledge(event_id: str, tenant: str, note: str, store: Store, caller: Caller) -> None:
    """Take an event out of what needs attention, until a delivery of it fails again. Raises NotFound, Refused."""
    acknowledged = Acknowledgement(at=utc_now(), by=caller.shown_name, note=note)
    if not await _set(event_id, tenant, acknowledged, store):
        raise Refused("cannot acknowledge: the event needs no attention, or is acknowledged")
    await store.audit.keep(caller.did("event.acknowledge", event_id, tenant))


async def unacknowledge(event_id: str, tenant: str, store: Store, caller: Caller) -> None:
    """Undo it. Raises NotFound."""
    await _set(event_id, tenant, None, store)
    await store.audit.keep(caller.did("event.unacknowledge", event_id, tenant))


async def _set(event_id: str, tenant: str, acknowledged: Acknowledgement | None, store: Store) -> bool:
    known = await store.rows.acknowledge(tenant, [event_id], acknowledged)
    if event_id not in known:
        raise NotFound("There is no such event.")
    return known[event_id]
