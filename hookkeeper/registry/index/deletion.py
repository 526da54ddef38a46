"""Delete rows of the index in small transactions, so that reports are written in between."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Table, delete, literal_column, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from hookkeeper.registry.database import rows_with
from hookkeeper.registry.index.merge import EventKey
from hookkeeper.registry.index.tables import deliveries, events

ROWS_PER_TRANSACTION = 500
ROW_ID: ColumnElement[int] = literal_column("rowid")
"""SQLite's own id of a row."""
PAUSE = 0.05
"""Seconds between two transactions."""


async def delete_events(session: AsyncSession, keys: Sequence[EventKey]) -> bool:
    """Delete at most 500 deliveries of these events, and the events once they have none; return whether they are gone.

    An event can have thousands of deliveries. At most 500 events.
    """
    of_events = with_keys(deliveries, "event_id", keys)
    if await delete_rows(session, deliveries, of_events) == ROWS_PER_TRANSACTION:
        return False
    await session.execute(delete(events).where(with_keys(events, "id", keys)))
    return True


async def delete_rows(session: AsyncSession, table: Table, where: ColumnElement[bool]) -> int:
    """Delete at most 500 of these rows, and return their number."""
    if session.get_bind().dialect.name == "sqlite":
        some = select(ROW_ID).select_from(table).where(where).limit(ROWS_PER_TRANSACTION)
        deleted = await session.execute(delete(table).where(ROW_ID.in_(some)))
        return deleted.rowcount  # type: ignore[attr-defined,no-any-return]
    columns = list(table.primary_key.columns)
    rows = (await session.execute(select(*columns).where(where).limit(ROWS_PER_TRANSACTION))).all()
    if rows:
        await session.execute(delete(table).where(tuple_(*columns).in_([tuple(row) for row in rows])))
    return len(rows)


def with_keys(table: Table, id_: str, keys: Sequence[EventKey]) -> ColumnElement[bool]:
    """Select the rows of these events; `id_` is the column with the event's id."""
    return rows_with((table.c.accepted_at, table.c.tenant, table.c[id_]), keys)
