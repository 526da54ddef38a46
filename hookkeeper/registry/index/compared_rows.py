"""The rows of events that are compared with their runs."""

from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import select, tuple_

from hookkeeper.registry.database import Database, rows_with
from hookkeeper.registry.index.merge import EventKey
from hookkeeper.registry.index.tables import NOT_SUCCEEDED, deliveries, events

KEYS_PER_QUERY = 500
KEY = (events.c.accepted_at, events.c.tenant, events.c.id)
INDEXED = (events.c.run_id, events.c.finished_at, events.c.size, events.c.as_of, events.c.shared_run, events.c.parts)
OPEN_STATUSES = ("scheduled", "delivering")
EVENT_OF_DELIVERY = (deliveries.c.accepted_at, deliveries.c.tenant, deliveries.c.event_id)


class IndexedEvent(NamedTuple):
    """What is compared with a run."""

    run_id: str
    finished_at: datetime | None
    size: int | None
    as_of: datetime
    shared_run: str | None = None
    parts: int = 1


class OpenEvent(NamedTuple):
    """An event that is open, as far as the index knows."""

    key: EventKey
    run_id: str
    as_of: datetime
    shared_run: str | None
    parts: int = 1


class ComparedRows:
    """Methods raise RegistryUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def events(self, keys: Collection[EventKey]) -> dict[EventKey, IndexedEvent]:
        """Return those of the events that the index has."""
        listed = sorted(keys)
        found: dict[EventKey, IndexedEvent] = {}
        for n in range(0, len(listed), KEYS_PER_QUERY):
            query = select(*KEY, *INDEXED).where(rows_with(KEY, listed[n : n + KEYS_PER_QUERY]))
            async with self._database.read() as session:
                for row in await session.execute(query):
                    found[EventKey(*row[:3])] = IndexedEvent(*row[3:])
        return found

    async def in_shared_runs(
        self, event_ids: Collection[str], begin: datetime, end: datetime
    ) -> dict[str, list[IndexedEvent]]:
        """Return the events of shared runs with these ids that were accepted from `begin` until `end`, by run."""
        found: dict[str, list[IndexedEvent]] = {}
        listed = sorted(event_ids)
        is_shared = events.c.shared_run.is_not(None), events.c.accepted_at.between(begin, end)
        for n in range(0, len(listed), KEYS_PER_QUERY):
            query = select(*INDEXED).where(events.c.id.in_(listed[n : n + KEYS_PER_QUERY]), *is_shared)
            async with self._database.read() as session:
                for row in await session.execute(query):
                    found.setdefault(row.shared_run, []).append(IndexedEvent(*row))
        return found

    async def attempts(self, key: EventKey) -> dict[str, int]:
        """Return the numbers of attempts that are counted, by delivery of an event."""
        query = select(deliveries.c.id, deliveries.c.attempts).where(tuple_(*EVENT_OF_DELIVERY) == key)
        async with self._database.read() as session:
            return {row.id: row.attempts for row in await session.execute(query)}

    async def open_events(self, before: datetime, after: EventKey | None, limit: int) -> list[OpenEvent]:
        """Return the oldest open events after this one of which nothing was written since a time."""
        columns = (events.c.run_id, events.c.as_of, events.c.shared_run, events.c.parts)
        is_open = events.c.status.in_(OPEN_STATUSES), events.c.finished_at.is_(None), NOT_SUCCEEDED
        query = select(*KEY, *columns).where(*is_open, events.c.accepted_at < before, events.c.as_of < before)
        if after is not None:
            query = query.where(tuple_(*KEY) > after)
        async with self._database.read() as session:
            rows = await session.execute(query.order_by(*KEY).limit(limit))
            return [OpenEvent(EventKey(*row[:3]), *row[3:]) for row in rows]
