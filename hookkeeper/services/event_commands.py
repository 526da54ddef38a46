"""Command an event, and erase it: from the index, then from Temporal."""

from hookkeeper.command_rules import Command
from hookkeeper.registry.audit import AuditLog
from hookkeeper.registry.index.index import EventIndex
from hookkeeper.registry.index.merge import EventKey
from hookkeeper.services.caller import Caller
from hookkeeper.temporal.error_translation import UnknownEvent
from hookkeeper.temporal.gateway import Gateway


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


async def erase(gateway: Gateway, index: EventIndex, tenant: str, event_id: str) -> int:
    """Erase an event, and return the number of its runs: 0 if only the index has it, as after the restore of a backup.

    Raises `Refused` if one is open, or was started meanwhile, UnknownEvent, Unavailable and RegistryUnavailable.
    Temporal comes last: while it has the event, the request can be repeated.
    """
    try:
        event = await gateway.closed_event(tenant, event_id)
    except UnknownEvent:
        if (key := await index.key(tenant, event_id)) is None:
            raise
        await index.erase(key)
        return 0
    key = EventKey(event.accepted_at, tenant, event_id)
    await index.erase(key)
    return await gateway.erase(event)
