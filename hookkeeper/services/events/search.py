"""Search in event data: `data.order_id:4711`, words, and texts in quotes.

Keys that the tenant or event types declare are found by an index. For everything else, the data of the newest events
that meet the other filters are read, one after the other, and for a short time.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from pydantic_core import from_json

from hookkeeper.content.search_terms import BadQuery, Key, Term, matches, parse
from hookkeeper.messages.rows import EventRow
from hookkeeper.messages.run_report import BEGINNING
from hookkeeper.registry.events.conditions import Search
from hookkeeper.registry.events.listing import cursor_after, time_of
from hookkeeper.registry.store import Store
from hookkeeper.services.errors import Invalid
from hookkeeper.tenant_limits import SEARCHES
from hookkeeper.times import utc_now

MAX_READ = 2000
"""Events whose data one search reads."""
MAX_SECONDS = 2.0
"""After which a search reads no more."""
READ_AT_ONCE = 20
MAX_LISTED = 100
DEFAULT_PERIOD = timedelta(hours=24)


class FoundEvents(NamedTuple):
    rows: list[EventRow]
    next_cursor: str | None
    searched_until: datetime | None = None
    """If data were read: how far back the search has come with this page."""

    @property
    def webhooks(self) -> set[str]:
        """The webhooks of the results that the rows show."""
        return {row.latest.webhook_id for row in self.rows if row.latest}


class EventSearches:
    """Searches events. One for the process. Raises Invalid, RegistryUnavailable, BadRegistryCursor."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._limit = SEARCHES.limit()

    def slot(self, tenant: str) -> AbstractAsyncContextManager[None]:
        """Hold a slot for reading the data of several events until the block ends. Others wait."""
        return self._limit.slot(tenant)

    async def page(self, search: Search, terms: Sequence[Term], limit: int, cursor: str | None) -> FoundEvents:
        """Return a page of the events that meet a search, and all terms that are none of its keys, newest first."""
        if not terms:
            return FoundEvents(*await self._store.index.events(search, limit, cursor))
        async with self.slot(search.tenant or ""):
            return await self._read(search, terms, limit, cursor)

    async def with_data(
        self, search: Search, limit: int, cursor: str | None, *, reads: bool = True
    ) -> tuple[list[EventRow], str | None, dict[str, Any]]:
        """Return a page of a tenant's events with their data by id, and the next cursor. If data are read, it is short.

        An event whose data are gone has none.
        """
        if not reads:
            return *await self._store.index.events(search, min(limit, MAX_LISTED), cursor), {}
        data: dict[str, Any] = {}

        def keep(found: Any, event_id: str) -> bool:
            data[event_id] = found
            return True

        async with self.slot(search.tenant or ""):
            rows, end = await self._store.index.events(search, min(limit, READ_AT_ONCE), cursor)
            await self._matching(rows, keep)
        return rows, end, data

    async def resolve(self, search: Search, query: str | None) -> tuple[Search, list[Term]]:
        """Return the search with the keys of a query, and its other terms."""
        if query is None:
            return search, []
        try:
            terms = parse(query)
        except BadQuery as error:
            raise Invalid.field("q", str(error)) from None
        if search.tenant is None:
            raise Invalid.field("q", "searches in the data of one tenant: name a `tenant` too")
        paths = {term.path for term in terms if term.path is not None}
        declared = await self._store.catalogue.declared_keys(search.tenant, paths, search.types) if paths else set()
        keys = tuple(Key(term.path, term.text) for term in terms if term.path is not None and term.path in declared)
        others = [term for term in terms if term.path not in declared]
        since = search.since
        if others and since is None:
            since = max(search.until or utc_now(), BEGINNING) - DEFAULT_PERIOD
        return replace(search, keys=search.keys + keys, since=since), others

    async def by_keys(self, search: Search, query: str | None) -> Search:
        """Return the search with a query that has only declared keys, so that it can be run in the background."""
        found, others = await self.resolve(search, query)
        if others:
            raise Invalid.field("q", "may have values at declared paths only: other data are not searched as a whole")
        return found

    async def _read(self, search: Search, terms: Sequence[Term], limit: int, cursor: str | None) -> FoundEvents:
        """Read the data of the next events, until a page is full, or the search has read enough."""
        found: list[EventRow] = []
        until = time.monotonic() + MAX_SECONDS
        for _ in range(MAX_READ // READ_AT_ONCE):
            rows, cursor = await self._store.index.events(search, READ_AT_ONCE, cursor)
            for row in await self._matching(rows, lambda data, id_: matches(data, id_, terms)):
                found.append(row)
                if len(found) == limit and (row is not rows[-1] or cursor):
                    return FoundEvents(found, cursor_after(row), row.accepted_at)
            if cursor is None:
                return FoundEvents(found, None, search.since)
            if time.monotonic() >= until:
                break
        return FoundEvents(found, cursor, time_of(cursor) if cursor else None)

    async def _matching(self, rows: Sequence[EventRow], matches: Callable[[Any, str], bool]) -> list[EventRow]:
        """Return the events that match by their data and id. One without readable data does not."""
        texts = await self._store.rows.inputs.texts([row.key for row in rows])
        found: list[EventRow] = []
        for row in rows:
            text = texts.get(row.key)
            if text is not None and matches(from_json(text).get("data"), row.id):
                found.append(row)
            await asyncio.sleep(0)  # data can be large: others go on in between
        return found
