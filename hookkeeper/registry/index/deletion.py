"""Delete events from the index, with their deliveries."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Table, delete
from sqlalchemy.ext.asyncio import AsyncSession

from hookkeeper.registry.database import rows_with
from hookkeeper.registry.index.merge import EventKey
from hookkeeper.registry.index.tables import deliveries, events
from hookkeeper.registry.row_deletion import ROWS_PER_TRANSACTION, delete_rows


async def delete_events(session: AsyncSession, keys: Sequence[EventKey]) -> bool:
    """Delete at most 500 deliveries of these events, and the events once they have none; return whether they are gone.

    An event can have thousands of deliveries. At most 500 events.
    """
    of_events = with_keys(deliveries, "event_id", keys)
    if await delete_rows(session, deliveries, of_events) == ROWS_PER_TRANSACTION:
        return False
    await session.execute(delete(events).where(with_keys(events, "id", keys)))
    return True


def with_keys(table: Table, id_: str, keys: Sequence[EventKey]) -> ColumnElement[bool]:
    """Select the rows of these events; `id_` is the column with the event's id."""
    return rows_with((table.c.accepted_at, table.c.tenant, table.c[id_]), keys)
