"""Search the index: find the keys of events or deliveries that meet a search, newest first, at a bounded cost.

A query follows one index from the newest row on, and reads at most `MAX_SCANNED` entries of it. If few of them meet the
search, a page has fewer items than its limit, and the next page begins where the scan has ended.

Databases guess how many rows meet a condition, and SQLite guesses without statistics. So the search looks how far back
in time the same number of entries of each index reaches: the further, the rarer they are.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Label,
    Select,
    Table,
    TextClause,
    column,
    literal,
    select,
    text,
    tuple_,
)
from sqlalchemy.ext.asyncio import AsyncSession

from hookkeeper.kinds import URL
from hookkeeper.registry.events import tables
from hookkeeper.registry.events.conditions import (
    Condition,
    Search,
    begins_with,
    on_delivery,
    on_event,
    on_id,
    on_tenant,
    on_time,
    on_type,
    one_of,
)
from hookkeeper.registry.events.event_keys import tokens_of
from hookkeeper.registry.events.tables import KEY_TEXT, EpochTime, deliveries, event_keys, events
from hookkeeper.registry.storage.encryption import keyring_of

MAX_SCANNED = 10_000
PROBED_ENTRIES = 2000
MAX_RANGE = 10_000
"""Entries of an index that a search reads whole because they are not in the order of time."""
MAX_KEYS = 500
"""Events whose keys are given to a query."""
EVENT_KEY = ("accepted_at", "tenant", "id")
DELIVERY_KEY = ("accepted_at", "tenant", "event_id")
accepted_at = column("accepted_at", EpochTime)
OLDEST = datetime.min.replace(tzinfo=UTC)
BEFORE_ALL_IDS = " "
"""Sorts before every character of an event id."""
Key = tuple[Any, ...]
"""The time of acceptance, the tenant, the event's id, and perhaps a delivery's."""


class _TableConditions(NamedTuple):
    """Conditions that one row of a table has to meet."""

    table: Table
    conditions: Sequence[Condition]


@dataclass(frozen=True, slots=True, eq=False)
class _Path:
    """An index, and the conditions on its first columns. Its next column is `accepted_at`."""

    table: Table
    index: str | None
    """None: the primary key."""
    where: tuple[ColumnElement[bool] | TextClause, ...] = ()
    each: tuple[ColumnElement[bool], ...] = ()
    """Alternatives. The index has the rows of each in the order of time."""

    @property
    def event_key(self) -> tuple[str, ...]:
        """The columns that identify the event."""
        return EVENT_KEY if self.table is events else DELIVERY_KEY

    def split(self) -> list["_Path"]:
        """Return a path for each alternative."""
        return [replace(self, where=(*self.where, condition), each=()) for condition in self.each] or [self]

    def query(self, names: Iterable[str], dialect: str) -> Select[Any]:
        """Return a query of these columns of a path without alternatives."""
        hint = f" INDEXED BY {self.index}" if self.index and dialect == "sqlite" else ""
        columns = [column(name, self.table.c[name].type) for name in names]
        return select(*columns).select_from(text(self.table.name + hint)).where(*self.where)


class Found(NamedTuple):
    keys: list[Key]
    end: Key | None
    """Later pages have keys that are less than this one, or greater if the oldest come first; None on the last page."""


async def find_events(session: AsyncSession, search: Search, limit: int, after: Key | None) -> Found:
    """Return the keys of up to `limit` events."""
    before = after[0] if after and not search.oldest_first else None
    path = await _choose_path(session, search, before, of_events=True)
    return await _find(session, path, path.event_key, search, limit, after)


async def find_deliveries(session: AsyncSession, search: Search, limit: int, after: Key | None) -> Found:
    """Return the keys of up to `limit` deliveries to the webhook of the search."""
    path = await _choose_path(session, search, after[0] if after else None, of_events=False)
    return await _find(session, path, (*DELIVERY_KEY, "id"), search, limit, after)


async def _find(
    session: AsyncSession, path: _Path, key: Sequence[str], search: Search, limit: int, after: Key | None
) -> Found:
    """Merge what the scans of the path's alternatives find."""
    paths = path.split()
    max_scanned = MAX_SCANNED // len(paths)
    scans = [_Scan(session, path, key, search, after, max_scanned) for path in paths]
    found = [await scan.find(limit) for scan in scans]
    # Beyond the first end, a scan has not come as far as others.
    ends = sorted((part.end for part in found if part.end is not None), reverse=not search.oldest_first)
    end = ends[0] if ends else None
    keys = sorted({key for part in found for key in part.keys}, reverse=not search.oldest_first)
    if end is not None:
        keys = [key for key in keys if (key <= end if search.oldest_first else key >= end)]
    return Found(keys[:limit], keys[limit - 1]) if len(keys) > limit else Found(keys, end)


@dataclass(frozen=True, slots=True)
class _Scan:
    """The next entries of an index."""

    session: AsyncSession
    path: _Path
    key: Sequence[str]
    search: Search
    after: Key | None
    max_scanned: int

    async def find(self, limit: int) -> Found:
        """Return the keys of up to `limit` entries that meet the search."""
        keys = [tuple(row) for row in await self.session.execute(self._matches().limit(limit + 1))]
        if len(keys) > limit:
            return Found(keys[:limit], keys[limit - 1])
        end = await self._end()
        if end is not None and self._has_several_entries_of_an_event and end not in keys[-1:]:
            # Further entries of this event may meet the search.
            end = (*end[:-1], end[-1][:-1] if self.search.oldest_first else end[-1] + BEFORE_ALL_IDS)
        return Found(keys, end)

    @property
    def _has_several_entries_of_an_event(self) -> bool:
        return tuple(self.key) == DELIVERY_KEY

    def _matches(self) -> Select[Any]:
        own, *others = self._conditions()
        names = dict.fromkeys([*self.key, *(name for condition in own.conditions for name in condition.columns)])
        scanned = self._entries(list(names)).subquery("scanned")
        query = select(*(scanned.c[name] for name in self.key)).where(*_on(own.conditions, scanned))
        query = query.where(*(self._has_other(scanned, other) for other in others if other.conditions))
        if self._has_several_entries_of_an_event:
            query = query.distinct()
        if self.session.get_bind().dialect.name == "postgresql":
            # SQLite would sort what is in order already, and to do so read all entries.
            query = query.order_by(*self._order([scanned.c[name] for name in self.key]))
        return query

    def _order(self, key: Iterable[ColumnElement[Any]]) -> Iterator[ColumnElement[Any]]:
        return (part if self.search.oldest_first else part.desc() for part in key)

    def _conditions(self) -> list[_TableConditions]:
        """Return the conditions on the table of the path, and then those on rows of other tables."""
        search, own = self.search, self.path.table
        found = dict[Table, list[Condition]]({own: [], events: [], deliveries: []})
        found[own] += on_tenant(search)
        found[own] += on_id(search, self.path.event_key[-1])
        found[events if own is event_keys else own] += on_type(search)
        found[events] += on_event(search)
        found[deliveries] += on_delivery(search)
        keys = (_TableConditions(event_keys, [one_of("token", each)]) for each in _tokens(search, self.session))
        return [*(_TableConditions(*each) for each in found.items()), *keys]

    async def _end(self) -> Key | None:
        """Return the key of the last entry that may be read; None if there are fewer."""
        query = self._entries(self.key).limit(1).offset(self.max_scanned - 1)
        row = (await self.session.execute(query)).one_or_none()
        return None if row is None else tuple(row)

    def _entries(self, names: Sequence[str]) -> Select[Any]:
        query = self.path.query(names, self.session.get_bind().dialect.name).where(*self._bounds())
        return query.order_by(*self._order(map(column, self.key))).limit(self.max_scanned)

    def _bounds(self) -> list[ColumnElement[bool]]:
        bounds = [condition.sql(accepted_at) for condition in on_time(self.search)]
        if self.after is not None:
            columns = [column(name, self.path.table.c[name].type) for name in self.key]
            row = tuple_(*columns)
            last = tuple_(*(literal(value, like.type) for value, like in zip(self.after, columns, strict=True)))
            if self.search.oldest_first:
                bounds += accepted_at >= self.after[0], row > last
            else:
                bounds += accepted_at <= self.after[0], row < last
        return bounds

    def _has_other(self, scanned: FromClause, other: _TableConditions) -> ColumnElement[bool]:
        """Return whether the event of an entry meets these conditions, or has a delivery or a key that does."""
        table, conditions = other
        key = EVENT_KEY if table is events else DELIVERY_KEY
        same_event = (table.c[name] == scanned.c[other] for name, other in zip(key, self.path.event_key, strict=True))
        # Without the offset, PostgreSQL may join the whole table.
        return select(literal(1)).where(*same_event, *_on(conditions, table)).offset(0).exists()


def _on(conditions: Sequence[Condition], table: FromClause | Table) -> list[ColumnElement[bool]]:
    return [condition.sql(*(table.c[name] for name in condition.columns)) for condition in conditions]


# The choice of an index


async def _choose_path(session: AsyncSession, search: Search, before: datetime | None, *, of_events: bool) -> _Path:
    """Return the path with the fewest rows before this time."""
    for in_range in _ranges(search):
        if (keys := await _few_events(session, search, in_range)) is not None:
            return _of_keys(keys, events if of_events else deliveries)
    candidates = [*_of_deliveries(search), *(_of_events(search) if of_events else ())]
    tenant_is = column("tenant") == search.tenant
    candidates += [_Path(event_keys, None, (tenant_is,), _each("token", each)) for each in _tokens(search, session)]
    if len(candidates) > 1:
        return await _rarest(session, candidates, search.since, before)
    return candidates[0] if candidates else _Path(events, None)


def _ranges(search: Search) -> Iterator[_Path]:
    """Yield the indexes with a range of values; their entries are not in the order of time."""
    if search.id_prefix:
        yield _Path(events, "ix_events_id", (begins_with(column("id", KEY_TEXT), search.id_prefix),))
    if search.min_attempts and search.min_attempts > 1:
        where = tables.RETRIED, column("attempts") >= search.min_attempts
        yield _Path(deliveries, "ix_deliveries_attempts", where)


async def _few_events(session: AsyncSession, search: Search, in_range: _Path) -> list[tuple[Any, ...]] | None:
    """Return the keys of the events in a range; None if they are not few."""
    entries = in_range.query(in_range.event_key, session.get_bind().dialect.name)
    if await session.scalar(entries.limit(1).offset(MAX_RANGE)):
        return None
    entries_read = entries.limit(MAX_RANGE).subquery("entries")
    query = select(entries_read).limit(MAX_KEYS + 1)
    if search.tenant is not None:
        query = query.where(entries_read.c.tenant == search.tenant)
    keys = [tuple(row) for row in await session.execute(query)]
    return keys if len(keys) <= MAX_KEYS else None


def _of_keys(keys: Sequence[tuple[Any, ...]], table: Table) -> _Path:
    """Return a path for these events. Few events are accepted in the same microsecond."""
    times, ids = sorted({key[0] for key in keys}), sorted({key[2] for key in keys})
    event_id = column("id" if table is events else "event_id", KEY_TEXT)
    return _Path(table, None, (accepted_at.in_(times), event_id.in_(ids)))


async def _rarest(
    session: AsyncSession, candidates: Sequence[_Path], since: datetime | None, before: datetime | None
) -> _Path:
    probes: list[Label[Any]] = []
    owners: list[_Path] = []
    for path in candidates:
        for part in path.split():
            query = part.query(["accepted_at"], session.get_bind().dialect.name)
            if since is not None:
                query = query.where(accepted_at >= since)
            if before is not None:
                query = query.where(accepted_at <= before)
            entry = query.order_by(accepted_at.desc()).limit(1).offset(PROBED_ENTRIES)
            probes.append(entry.scalar_subquery().label(f"entry_{len(probes)}"))
            owners.append(path)
    times = (await session.execute(select(*probes))).one()
    reach = dict.fromkeys(candidates, OLDEST)
    for path, time in zip(owners, times, strict=True):
        if time is not None:
            reach[path] = max(reach[path], time)
    return min(candidates, key=reach.__getitem__)


def _of_events(search: Search) -> Iterator[_Path]:
    if search.tenant is not None:
        yield _Path(events, "ix_events_tenant_accepted_at", (column("tenant") == search.tenant,))
    if search.types:
        yield _Path(events, "ix_events_type", each=_each("type", search.types))
    if search.statuses and "succeeded" not in search.statuses:
        yield _Path(events, "ix_events_status", (tables.NOT_SUCCEEDED,), _each("status", search.statuses))
    if search.needs_attention:
        yield _Path(events, "ix_events_needs_attention", (tables.NEEDS_ATTENTION,))
    if search.acknowledged:
        yield _Path(events, "ix_events_acknowledged", (tables.ACKNOWLEDGED,))


def _of_deliveries(search: Search) -> Iterator[_Path]:
    statuses = search.delivery_statuses or (("failed", "retrying") if search.needs_attention else ())
    statuses = () if "succeeded" in statuses else statuses
    if search.webhook is not None:
        yield _of_webhook(search.webhook, statuses)
    elif statuses:
        yield _of_statuses(search.tenant, statuses)
    if search.error is not None:
        yield _Path(deliveries, "ix_deliveries_error", (tables.WITH_ERROR, column("error") == search.error))
    if search.status_codes and (status_class := search.status_codes.status_class) > 2:
        has_class = column("status_class") == status_class
        yield _Path(deliveries, "ix_deliveries_class", (tables.FAILURE_CLASS, has_class))
    if search.channel and search.channel != URL.name:
        of_channel = column("channel") == search.channel
        yield _Path(deliveries, "ix_deliveries_channel", (tables.OTHER_CHANNEL, of_channel))


def _of_webhook(webhook: str, statuses: Sequence[str]) -> _Path:
    of_webhook = column("webhook_id") == webhook
    if not statuses:
        return _Path(deliveries, "ix_deliveries_webhook_accepted_at", (of_webhook,))
    where = (tables.NOT_SUCCEEDED, of_webhook)
    return _Path(deliveries, "ix_deliveries_webhook_status", where, _each("status", statuses))


def _of_statuses(tenant: str | None, statuses: Sequence[str]) -> _Path:
    if tenant is None:
        return _Path(deliveries, "ix_deliveries_status", (tables.NOT_SUCCEEDED,), _each("status", statuses))
    where = (tables.NOT_SUCCEEDED, column("tenant") == tenant)
    return _Path(deliveries, "ix_deliveries_tenant_status", where, _each("status", statuses))


def _tokens(search: Search, session: AsyncSession) -> list[tuple[str, ...]]:
    """Return the tokens of each key of the search; an event with the key has one of them."""
    assert search.tenant is not None or not search.keys, "keys are searched by tenant"
    keyring = keyring_of(session.get_bind().dialect)
    return [tokens_of(search.tenant or "", key, keyring) for key in search.keys]


def _each(name: str, values: Iterable[str]) -> tuple[ColumnElement[bool], ...]:
    return tuple(column(name) == value for value in values)
