"""Delete many rows in small transactions, so that others write in between."""

from sqlalchemy import ColumnElement, Table, delete, literal_column, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

ROWS_PER_TRANSACTION = 500
ROW_ID: ColumnElement[int] = literal_column("rowid")
"""SQLite's own id of a row."""
PAUSE = 0.05
"""Seconds between two transactions."""


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
