"""Pages of lists that are ordered by time, newest first, and pages of large rows."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache, reduce
from operator import add
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, FromClause, Row, Select, String, cast, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from hookkeeper.registry.storage.database import Database

Item = TypeVar("Item")
Order = Sequence[InstrumentedAttribute[Any]]
"""A time and the columns of a key, which are texts. Only the last of them may contain spaces."""
PAGE_BYTES = 1024 * 1024
"""What the rows of a page of large rows take in the database, unless the first one alone takes more."""
MAX_COMPARED = 500
"""Rows of which one page is chosen."""
SIZES_AT_ONCE = 20
"""Rows of which the size is read with one statement: the database reads the whole row for it."""


class BadRegistryCursor(ValueError):
    """The cursor is not one of a registry list."""


async def read_page(
    database: Database, query: Select[Item], order: Order, limit: int, cursor: str | None
) -> tuple[list[Item], str | None]:
    """Return up to `limit` rows, newest first, and the next cursor. Raises BadRegistryCursor."""
    async with database.read() as session:
        found = list(await session.scalars(_from_cursor(query, order, cursor).limit(limit + 1)))
    return found[:limit], write_cursor(found[limit - 1], order) if len(found) > limit else None


async def read_page_of_large(
    database: Database,
    query: Select[Item],
    order: Order,
    limit: int,
    cursor: str | None,
    *,
    oldest_first: bool = False,
) -> tuple[list[Item], str | None]:
    """Return what `read_page` does, and less if the rows are large; perhaps the oldest first."""
    async with database.read() as session:
        found, last = await read_large(session, _from_cursor(query, order, cursor, oldest_first), order, limit)
    return found, write_cursor(last, order) if last else None


async def read_page_of_matching(
    database: Database,
    query: Select[Item],
    order: Order,
    limit: int,
    cursor: str | None,
    columns: Sequence[InstrumentedAttribute[Any]],
    matches: Callable[[Row[*tuple[Any, ...]]], bool],
) -> tuple[list[Item], str | None]:
    """Return what `read_page_of_large` does, of rows that match by these columns, which may be encrypted.

    At most `MAX_COMPARED` rows are compared, so a page can be short.
    """
    key, end = order[-1], None
    chosen: list[str] = []
    async with database.read() as session:
        compared: Select[Any] = _from_cursor(query.with_only_columns(*order, *columns), order, cursor)
        rows = (await session.execute(compared.limit(MAX_COMPARED + 1))).all()
        for number, row in enumerate(rows):
            if number == MAX_COMPARED or len(chosen) == limit:
                end = rows[number - 1]
                break
            if matches(row):
                chosen.append(getattr(row, key.key))
        found, last = await read_large(session, _from_cursor(query.where(key.in_(chosen)), order, None), order, limit)
    end = last or end
    return found, write_cursor(end, order) if end is not None else None


async def read_large(
    session: AsyncSession, query: Select[Item], order: Order, limit: int
) -> tuple[list[Item], Row[*tuple[Any, ...]] | None]:
    """Return the first rows, up to `limit` and about `PAGE_BYTES`, and the order of the last one if more follow.

    The last column of the order is the key of the rows.
    """
    key = order[-1]
    listed = (await session.execute(query.with_only_columns(*order).limit(limit + 1))).all()
    chosen = listed[: await _count_fitting(session, key, [row[-1] for row in listed[:limit]])]
    found = await session.scalars(query.where(key.in_([row[-1] for row in chosen])))
    return list(found), chosen[-1] if len(chosen) < len(listed) else None


async def _count_fitting(session: AsyncSession, key: InstrumentedAttribute[Any], keys: Sequence[str]) -> int:
    """Return how many of the rows with these keys fit on a page, at least one."""
    size = _stored_size(key.property.columns[0].table)
    total = 0
    for begin in range(0, len(keys), SIZES_AT_ONCE):
        step = keys[begin : begin + SIZES_AT_ONCE]
        sizes = {row[0]: row[1] for row in await session.execute(select(key, size).where(key.in_(step)))}
        for count, name in enumerate(step, begin):
            total += sizes.get(name, 0)  # it may be deleted meanwhile
            if total > PAGE_BYTES:
                return max(1, count)
    return len(keys)


@cache  # it takes 2 ms to write
def _stored_size(table: FromClause) -> ColumnElement[int]:
    """Return the number of characters of a row, as it is stored."""
    return reduce(add, (func.coalesce(func.length(cast(column, String)), 0) for column in table.columns))


def _from_cursor(query: Select[Item], order: Order, cursor: str | None, oldest_first: bool = False) -> Select[Item]:
    """Order a query, and let it begin after the previous page."""
    query = query.order_by(*(order if oldest_first else (column.desc() for column in order)))
    if cursor is None:
        return query
    row, last = tuple_(*order), tuple_(*_read_cursor(cursor, order))
    return query.where(row > last if oldest_first else row < last)


def write_cursor(item: object, order: Order) -> str:
    """Return a cursor for the last row of a page."""
    time, *key = (getattr(item, column.key) for column in order)
    return " ".join((time.isoformat(), *key))


def _read_cursor(cursor: str, order: Order) -> tuple[datetime, *tuple[str, ...]]:
    """Return the columns of the last row of the previous page."""
    text, *key = cursor.split(" ", len(order) - 1)
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise BadRegistryCursor("invalid cursor") from None
    if time.tzinfo is None or len(key) != len(order) - 1:
        raise BadRegistryCursor("invalid cursor")
    return time, *key
