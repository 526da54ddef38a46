"""Find the keys of events or deliveries that meet a search, newest first, at a bounded cost.

A query reads at most `MAX_SCANNED` entries of one index. If few of them meet the search, a page has fewer items than
its limit, and the next page begins where the scan has ended.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    Table,
    column,
    literal,
    select,
    tuple_,
)
from sqlalchemy.ext.asyncio import AsyncSession

from hookkeeper.registry.index.access_paths import DELIVERY_KEY, EVENT_KEY, AccessPath, accepted_at, choose_path
from hookkeeper.registry.index.search import (
    Condition,
    Search,
    common_conditions,
    delivery_conditions,
    event_conditions,
)
from hookkeeper.registry.index.tables import deliveries, events

MAX_SCANNED = 10_000
BEFORE_ALL_IDS = " "
"""Sorts before every character of an event id."""
Key = tuple[Any, ...]
"""The time of acceptance, the tenant, the event's id, and perhaps a delivery's."""


class Found(NamedTuple):
    keys: list[Key]
    end: Key | None
    """Later pages have keys that are less than this one; None on the last page."""


async def find_events(session: AsyncSession, search: Search, limit: int, before: Key | None) -> Found:
    """Return the keys of up to `limit` events."""
    path = await choose_path(session, search, _time(before), of_events=True)
    return await _find(session, path, path.event_key, search, limit, before)


async def find_deliveries(session: AsyncSession, search: Search, limit: int, before: Key | None) -> Found:
    """Return the keys of up to `limit` deliveries to the webhook of the search."""
    path = await choose_path(session, search, _time(before), of_events=False)
    return await _find(session, path, (*DELIVERY_KEY, "id"), search, limit, before)


async def _find(
    session: AsyncSession, path: AccessPath, key: Sequence[str], search: Search, limit: int, before: Key | None
) -> Found:
    """Merge what the scans of the path's alternatives find."""
    paths = path.split()
    max_scanned = MAX_SCANNED // len(paths)
    scans = [_Scan(session, path, key, search, before, max_scanned) for path in paths]
    found = [await scan.find(limit) for scan in scans]
    # Below the first end, a scan has not come as far as others.
    end = max((part.end for part in found if part.end is not None), default=None)
    keys = sorted({key for part in found for key in part.keys if end is None or key >= end}, reverse=True)
    return Found(keys[:limit], keys[limit - 1]) if len(keys) > limit else Found(keys, end)


def _time(before: Key | None) -> datetime | None:
    return None if before is None else before[0]


class _Scan:
    """The next entries of an index."""

    def __init__(
        self,
        session: AsyncSession,
        path: AccessPath,
        key: Sequence[str],
        search: Search,
        before: Key | None,
        max_scanned: int,
    ) -> None:
        self._session = session
        self._dialect = session.get_bind().dialect.name
        self._path = path
        self._key = key
        self._search = search
        self._before = before
        self._max_scanned = max_scanned

    async def find(self, limit: int) -> Found:
        """Return the keys of up to `limit` entries that meet the search."""
        keys = [tuple(row) for row in await self._session.execute(self._matches().limit(limit + 1))]
        if len(keys) > limit:
            return Found(keys[:limit], keys[limit - 1])
        end = await self._end()
        if end is not None and self._has_several_entries_of_an_event and end not in keys[-1:]:
            end = (*end[:-1], end[-1] + BEFORE_ALL_IDS)  # further entries of this event may meet the search
        return Found(keys, end)

    @property
    def _has_several_entries_of_an_event(self) -> bool:
        return tuple(self._key) == DELIVERY_KEY

    def _matches(self) -> Select[Any]:
        search, event_id = self._search, self._path.event_key[-1]
        of_event, of_delivery = [*event_conditions(search)], [*delivery_conditions(search)]
        own, others = (of_event, of_delivery) if self._path.table is events else (of_delivery, of_event)
        own = [*common_conditions(search, event_id), *own]
        names = dict.fromkeys([*self._key, *(condition.column for condition in own)])
        scanned = self._entries(list(names)).subquery("scanned")
        query = select(*(scanned.c[name] for name in self._key)).where(*_on(own, scanned))
        if others:
            query = query.where(self._has_other(scanned, others))
        if self._has_several_entries_of_an_event:
            query = query.distinct()
        if self._dialect == "postgresql":
            # SQLite would sort what is in order already, and to do so read all entries.
            query = query.order_by(*(scanned.c[name].desc() for name in self._key))
        return query

    async def _end(self) -> Key | None:
        """Return the key of the last entry that may be read; None if there are fewer."""
        query = self._entries(self._key).limit(1).offset(self._max_scanned - 1)
        row = (await self._session.execute(query)).one_or_none()
        return None if row is None else tuple(row)

    def _entries(self, names: Sequence[str]) -> Select[Any]:
        query = self._path.query(names, self._dialect).where(*self._bounds())
        return query.order_by(*(column(name).desc() for name in self._key)).limit(self._max_scanned)

    def _bounds(self) -> list[ColumnElement[bool]]:
        bounds: list[ColumnElement[bool]] = []
        if self._search.since is not None:
            bounds.append(accepted_at >= self._search.since)
        if self._search.until is not None:
            bounds.append(accepted_at < self._search.until)
        if self._before is not None:
            bounds.append(accepted_at <= self._before[0])
            columns = [column(name, self._path.table.c[name].type) for name in self._key]
            bounds.append(tuple_(*columns) < tuple_(*map(_literal, columns, self._before)))
        return bounds

    def _has_other(self, scanned: FromClause, conditions: Sequence[Condition]) -> ColumnElement[bool]:
        """Return whether the event of an entry meets these conditions, or has a delivery that does."""
        table, key = (deliveries, DELIVERY_KEY) if self._path.table is events else (events, EVENT_KEY)
        same_event = (table.c[name] == scanned.c[other] for name, other in zip(key, self._path.event_key, strict=True))
        # Without the offset, PostgreSQL may join the whole table.
        return select(literal(1)).where(*same_event, *_on(conditions, table)).offset(0).exists()


def _literal(like: ColumnElement[Any], value: object) -> ColumnElement[Any]:
    return literal(value, like.type)


def _on(conditions: Sequence[Condition], table: FromClause | Table) -> list[ColumnElement[bool]]:
    return [condition.on(table.c[condition.column]) for condition in conditions]
