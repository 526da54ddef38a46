"""Erase an event: from the index, then from Temporal."""

from hookkeeper.commands import Refused
from hookkeeper.registry.index.index import EventIndex
from hookkeeper.registry.index.merge import EventKey
from hookkeeper.temporal.gateway import Gateway


async def erase(gateway: Gateway, index: EventIndex, tenant: str, event_id: str) -> int:
    """Erase an event, and return the number of its runs.

    Raises `Refused` if one is open, or was started meanwhile, UnknownEvent, Unavailable and RegistryUnavailable.
    Temporal comes last: while it has the event, the request can be repeated.
    """
    event = await gateway.closed_event(tenant, event_id)
    key = EventKey(event.accepted_at, tenant, event_id)
    await index.erase(key)
    try:
        return await gateway.erase(event)
    except Refused:  # it has a run again, which reports to the index
        await index.restore(key)
        raise
