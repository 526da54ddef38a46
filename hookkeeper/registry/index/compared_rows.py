"""The rows of events that are compared with their runs: for the repair and `hookkeeper reindex`."""

from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, TextClause, select, tuple_

from hookkeeper.messages.event import EventStatus
from hookkeeper.registry.database import Database
from hookkeeper.registry.index.merge import EventKey
from hookkeeper.registry.index.tables import NOT_SUCCEEDED, events

IDS_PER_QUERY = 500
OPEN_STATUSES = ("scheduled", "delivering")
KEY = (events.c.accepted_at, events.c.tenant, events.c.id)
COMPARED = (
    events.c.status,
    events.c.run_id,
    events.c.shared_run,
    events.c.digest,
    events.c.finished_at,
    events.c.as_of,
    events.c.parts,
)


class ComparedRow(NamedTuple):
    """What the row of an event says about its run."""

    key: EventKey
    status: EventStatus
    run_id: str
    shared_run: str | None
    digest: str
    finished_at: datetime | None
    as_of: datetime
    parts: int
    has_acceptance: bool
    """A row that only a step of the run has written may lack deliveries: the registry was restored."""


class ComparedRows:
    """Methods raise RegistryUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def with_ids(self, event_ids: Collection[str]) -> list[ComparedRow]:
        """Return the rows of events with these ids, of all tenants."""
        listed = sorted(event_ids)
        found: list[ComparedRow] = []
        for n in range(0, len(listed), IDS_PER_QUERY):
            found += await self._rows(events.c.id.in_(listed[n : n + IDS_PER_QUERY]))
        return found

    async def silent(self, before: datetime, after: EventKey | None, limit: int) -> list[ComparedRow]:
        """Return the oldest open events after this one of which nothing was written since a time."""
        return await self._open(events.c.accepted_at < before, events.c.as_of < before, after=after, limit=limit)

    async def _open(self, *where: ColumnElement[bool], after: EventKey | None, limit: int) -> list[ComparedRow]:
        is_open = events.c.status.in_(OPEN_STATUSES), events.c.finished_at.is_(None), NOT_SUCCEEDED
        is_after = [] if after is None else [tuple_(*KEY) > after]
        return await self._rows(*is_open, *where, *is_after, limit=limit)

    async def _rows(self, *where: ColumnElement[bool] | TextClause, limit: int | None = None) -> list[ComparedRow]:
        query = select(*KEY, *COMPARED, events.c.size.is_not(None)).where(*where).order_by(*KEY).limit(limit)
        async with self._database.read() as session:
            return [ComparedRow(EventKey(*row[:3]), *row[3:]) for row in await session.execute(query)]
