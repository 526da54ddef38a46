"""What the sweep compares with Temporal: rows of the index, and the open events with the times of their checks."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import and_, bindparam, func, select, tuple_, update

from hookkeeper.registry.database import Database, lock, rows_with
from hookkeeper.registry.index.deletion import delete_events
from hookkeeper.registry.index.merge import EventKey
from hookkeeper.registry.index.tables import deliveries, events

KEYS_PER_QUERY = 500
KEY = (events.c.accepted_at, events.c.tenant, events.c.id)
INDEXED = (events.c.run_id, events.c.finished_at, events.c.size, events.c.as_of, events.c.shared_run)
CHECKED = (events.c.run_id, events.c.size, events.c.as_of, events.c.shared_run)
EVENT_OF_DELIVERY = (deliveries.c.accepted_at, deliveries.c.tenant, deliveries.c.event_id)


class IndexedEvent(NamedTuple):
    """What the sweep compares with a run."""

    run_id: str
    finished_at: datetime | None
    size: int | None
    as_of: datetime
    shared_run: str | None = None


class CheckedEvent(NamedTuple):
    """An event that is compared with its run: an open one, as far as the index knows, or one that may be deleted."""

    key: EventKey
    run_id: str
    size: int | None
    as_of: datetime
    shared_run: str | None = None


class SweptRows:
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

    async def open_events(
        self, limit: int, tenant: str | None = None, until: datetime | None = None
    ) -> list[CheckedEvent]:
        """Return the open events whose check is due first: all, or those of a tenant that are due until some time."""
        query = select(*KEY, *CHECKED).where(events.c.check_at.is_not(None))
        if tenant is not None:
            query = query.where(events.c.tenant == tenant)
        if until is not None:
            query = query.where(events.c.check_at <= until)
        async with self._database.read() as session:
            rows = await session.execute(query.order_by(events.c.check_at).limit(limit))
            return [CheckedEvent(EventKey(*row[:3]), *row[3:]) for row in rows]

    async def finished_events(self, limit: int, after: datetime, before: datetime) -> list[CheckedEvent]:
        """Return the oldest events that were accepted after a time, and were finished before another."""
        query = select(*KEY, *CHECKED).where(events.c.accepted_at > after, events.c.finished_at < before)
        async with self._database.read() as session:
            rows = await session.execute(query.order_by(*KEY).limit(limit))
            return [CheckedEvent(EventKey(*row[:3]), *row[3:]) for row in rows]

    async def next_times(self, keys: Sequence[EventKey]) -> dict[EventKey, datetime]:
        """Return when these open events are to continue, if a time is set for that."""
        next_attempt = func.min(deliveries.c.next_attempt_at)
        attempts = (
            select(*EVENT_OF_DELIVERY, next_attempt)
            .where(rows_with(EVENT_OF_DELIVERY, keys), deliveries.c.next_attempt_at.is_not(None))
            .group_by(*EVENT_OF_DELIVERY)
        )
        scheduled = select(*KEY, events.c.deliver_at).where(rows_with(KEY, keys), events.c.status == "scheduled")
        async with self._database.read() as session:
            found = {EventKey(*row[:3]): row[3] for row in await session.execute(attempts)}
        async with self._database.read() as session:
            return found | {EventKey(*row[:3]): row[3] for row in await session.execute(scheduled) if row[3]}

    async def check_at(self, times: Mapping[EventKey, datetime]) -> None:
        """Set when these events are checked. One that has closed meanwhile is checked once more."""
        if not times:
            return
        is_event = and_(*(column == bindparam(f"key_{column.name}", type_=column.type) for column in KEY))
        query = update(events).where(is_event).values(check_at=bindparam("time", type_=events.c.check_at.type))
        rows = [
            {"key_accepted_at": key.accepted_at, "key_tenant": key.tenant, "key_id": key.event_id, "time": time}
            for key, time in sorted(times.items())
        ]
        async with self._database.write() as session:
            await lock(session, "index")
            connection = await session.connection()
            await connection.execute(query, rows)

    async def remove(self, key: EventKey) -> None:
        """Remove an event that Temporal does not have any more."""
        is_removed = False
        while not is_removed:
            async with self._database.write() as session:
                await lock(session, "index")
                is_removed = await delete_events(session, [key])
