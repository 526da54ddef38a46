"""Pages of lists that are ordered by time, newest first."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Select, tuple_
from sqlalchemy.orm import InstrumentedAttribute

from hookkeeper.registry.database import Database

Item = TypeVar("Item")
Order = Sequence[InstrumentedAttribute[Any]]
"""A time and the columns of a key, which are texts. Only the last of them may contain spaces."""


class BadRegistryCursor(ValueError):
    """The cursor is not one of a registry list."""


async def read_page(
    database: Database, query: Select[Item], order: Order, limit: int, cursor: str | None
) -> tuple[list[Item], str | None]:
    """Return up to `limit` rows, newest first, and the next cursor. Raises BadRegistryCursor."""
    query = query.order_by(*(column.desc() for column in order)).limit(limit + 1)
    if cursor is not None:
        query = query.where(tuple_(*order) < tuple_(*_read_cursor(cursor, order)))
    async with database.read() as session:
        found = list(await session.scalars(query))
    return found[:limit], _write_cursor(found[limit - 1], order) if len(found) > limit else None


def _write_cursor(item: object, order: Order) -> str:
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
