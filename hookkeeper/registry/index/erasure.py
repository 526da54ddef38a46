"""Erase an event from the index.

Reports of the event can still arrive: from the buffer of a worker, or from the sweep, as Temporal lists a run for some
time after it is deleted. So the keys of erased events are kept for a day, and reports with such a key are dropped. The
counters stay: they do not identify an event.
"""

import asyncio
from collections.abc import Sequence

from sqlalchemy import delete, exists, select
from sqlalchemy.ext.asyncio import AsyncSession

from hookkeeper.registry.database import Database, lock
from hookkeeper.registry.index.deletion import delete_events, with_keys
from hookkeeper.registry.index.merge import EventKey
from hookkeeper.registry.index.tables import erased_events, events
from hookkeeper.registry.row_deletion import PAUSE
from hookkeeper.times import utc_now

ANY_ERASED = select(exists().select_from(erased_events))


async def erase(database: Database, key: EventKey) -> None:
    """Remove the event's rows, and drop all reports of it from now on."""
    async with database.write() as session:
        await lock(session, "index")
        await session.execute(delete(erased_events).where(with_keys(erased_events, "event_id", [key])))
        await session.execute(erased_events.insert().values(**_row(key)))
    while True:
        async with database.write() as session:
            await lock(session, "index")
            if await delete_events(session, [key]):
                return
        await asyncio.sleep(PAUSE)


async def keys_of(session: AsyncSession, tenant: str, event_id: str) -> list[EventKey]:
    """Return the keys of the events with this id."""
    query = select(events.c.accepted_at).where(events.c.id == event_id, events.c.tenant == tenant)
    return [EventKey(accepted_at, tenant, event_id) for accepted_at in await session.scalars(query)]


async def restore(database: Database, key: EventKey) -> None:
    """Accept reports of the event again: it could not be erased."""
    async with database.write() as session:
        await session.execute(delete(erased_events).where(with_keys(erased_events, "event_id", [key])))


async def erased_among(session: AsyncSession, keys: Sequence[EventKey]) -> set[EventKey]:
    """Return those of the events that are erased: mostly none, of all events."""
    if not await session.scalar(ANY_ERASED):
        return set()
    columns = (erased_events.c.accepted_at, erased_events.c.tenant, erased_events.c.event_id)
    query = select(*columns).where(with_keys(erased_events, "event_id", keys))
    return {EventKey(*row) for row in await session.execute(query)}


def _row(key: EventKey) -> dict[str, object]:
    return {"accepted_at": key.accepted_at, "tenant": key.tenant, "event_id": key.event_id, "erased_at": utc_now()}
