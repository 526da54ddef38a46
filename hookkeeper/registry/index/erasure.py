"""Erase an event from the index. The counters stay: they do not identify an event."""

import asyncio

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from hookkeeper.registry.database import Database, lock
from hookkeeper.registry.index.deletion import delete_events
from hookkeeper.registry.index.merge import EventKey
from hookkeeper.registry.index.tables import events
from hookkeeper.registry.row_deletion import PAUSE


async def erase(database: Database, key: EventKey) -> None:
    """Remove the event's rows."""
    while True:
        async with database.write() as session:
            await lock(session, "index")
            if await delete_events(session, [key]):
                return
        await asyncio.sleep(PAUSE)


async def key_of(session: AsyncSession, tenant: str, event_id: str) -> EventKey | None:
    """Return the key of the event with this id."""
    query = select(events.c.accepted_at).where(events.c.id == event_id, events.c.tenant == tenant)
    accepted_at = await session.scalar(query)
    return None if accepted_at is None else EventKey(accepted_at, tenant, event_id)
