"""Command an event, and record it in the audit log."""

from hookkeeper.command_rules import Command
from hookkeeper.registry.audit import AuditLog
from hookkeeper.services.caller import Caller
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
