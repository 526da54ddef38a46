"""Read an event: from its rows, which have what the latest step of its run has recorded."""

from hookkeeper.registry.events.rows import EventRows, EventSnapshot
from hookkeeper.temporal.server.error_translation import NOT_FOUND_MESSAGES, UnknownEvent


async def read_event(rows: EventRows, tenant: str, event_id: str) -> EventSnapshot:
    """Return an event with its data, its deliveries and their attempts. Raises UnknownEvent, RegistryUnavailable."""
    if snapshot := await rows.read(tenant, event_id):
        return snapshot
    raise UnknownEvent(NOT_FOUND_MESSAGES[UnknownEvent])
