"""Access paths: the indexes that a search can follow from the newest row on, and the choice of the one with the fewest
rows.

Databases guess how many rows meet a condition, and SQLite guesses without statistics. So the search looks how far back
in time the same number of entries of each index reaches: the further, the rarer they are.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Label, Select, Table, TextClause, column, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from hookkeeper.registry.index import tables
from hookkeeper.registry.index.search import Search, begins_with
from hookkeeper.registry.index.tables import KEY_TEXT, EpochTime, deliveries, events

PROBED_ENTRIES = 2000
MAX_RANGE = 10_000
"""Entries of an index that a search reads whole because they are not in the order of time."""
MAX_KEYS = 500
"""Events whose keys are given to a query."""
EVENT_KEY = ("accepted_at", "tenant", "id")
DELIVERY_KEY = ("accepted_at", "tenant", "event_id")
accepted_at = column("accepted_at", EpochTime)
OLDEST = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, eq=False)
class AccessPath:
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

    def split(self) -> list["AccessPath"]:
        """Return a path for each alternative."""
        return [replace(self, where=(*self.where, condition), each=()) for condition in self.each] or [self]

    def query(self, names: Iterable[str], dialect: str) -> Select[Any]:
        """Return a query of these columns of a path without alternatives."""
        hint = f" INDEXED BY {self.index}" if self.index and dialect == "sqlite" else ""
        columns = [column(name, self.table.c[name].type) for name in names]
        return select(*columns).select_from(text(self.table.name + hint)).where(*self.where)


async def choose_path(session: AsyncSession, search: Search, before: datetime | None, *, of_events: bool) -> AccessPath:
    """Return the path with the fewest rows before this time."""
    for in_range in _ranges(search):
        if (keys := await _few_events(session, search, in_range)) is not None:
            return _of_keys(keys, events if of_events else deliveries)
    candidates = [*_of_deliveries(search), *(_of_events(search) if of_events else ())]
    if len(candidates) > 1:
        return await _rarest(session, candidates, search.since, before)
    return candidates[0] if candidates else AccessPath(events, None)


def _ranges(search: Search) -> Iterator[AccessPath]:
    """Yield the indexes with a range of values; their entries are not in the order of time."""
    if search.id_prefix:
        yield AccessPath(events, "ix_events_id", (begins_with(column("id", KEY_TEXT), search.id_prefix),))
    if search.min_attempts and search.min_attempts > 1:
        where = tables.RETRIED, column("attempts") >= search.min_attempts
        yield AccessPath(deliveries, "ix_deliveries_attempts", where)


async def _few_events(session: AsyncSession, search: Search, in_range: AccessPath) -> list[tuple[Any, ...]] | None:
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


def _of_keys(keys: Sequence[tuple[Any, ...]], table: Table) -> AccessPath:
    """Return a path for these events. Few events are accepted in the same microsecond."""
    times, ids = sorted({key[0] for key in keys}), sorted({key[2] for key in keys})
    event_id = column("id" if table is events else "event_id", KEY_TEXT)
    return AccessPath(table, None, (accepted_at.in_(times), event_id.in_(ids)))


async def _rarest(
    session: AsyncSession, candidates: Sequence[AccessPath], since: datetime | None, before: datetime | None
) -> AccessPath:
    probes: list[Label[Any]] = []
    owners: list[AccessPath] = []
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


def _of_events(search: Search) -> Iterator[AccessPath]:
    if search.tenant is not None:
        yield AccessPath(events, "ix_events_tenant_accepted_at", (column("tenant") == search.tenant,))
    if search.types:
        yield AccessPath(events, "ix_events_type", each=_each("type", search.types))
    if search.statuses and "succeeded" not in search.statuses:
        yield AccessPath(events, "ix_events_status", (tables.NOT_SUCCEEDED,), _each("status", search.statuses))
    if search.needs_attention:
        yield AccessPath(events, "ix_events_needs_attention", (tables.NEEDS_ATTENTION,))


def _of_deliveries(search: Search) -> Iterator[AccessPath]:
    statuses = () if "succeeded" in search.delivery_statuses else search.delivery_statuses
    if search.webhook is not None:
        yield _of_webhook(search.webhook, statuses)
    elif statuses:
        yield _of_statuses(search.tenant, statuses)
    if search.error is not None:
        yield AccessPath(deliveries, "ix_deliveries_error", (tables.WITH_ERROR, column("error") == search.error))
    if search.status_codes and (status_class := search.status_codes.status_class) > 2:
        of_class = column("status_class") == status_class
        yield AccessPath(deliveries, "ix_deliveries_class", (tables.FAILURE_CLASS, of_class))
    if search.channel and search.channel != "webhook":
        of_channel = column("channel") == search.channel
        yield AccessPath(deliveries, "ix_deliveries_channel", (tables.OTHER_CHANNEL, of_channel))


def _of_webhook(webhook: str, statuses: Sequence[str]) -> AccessPath:
    of_webhook = column("webhook_id") == webhook
    if not statuses:
        return AccessPath(deliveries, "ix_deliveries_webhook_accepted_at", (of_webhook,))
    where = (tables.NOT_SUCCEEDED, of_webhook)
    return AccessPath(deliveries, "ix_deliveries_webhook_status", where, _each("status", statuses))


def _of_statuses(tenant: str | None, statuses: Sequence[str]) -> AccessPath:
    if tenant is None:
        return AccessPath(deliveries, "ix_deliveries_status", (tables.NOT_SUCCEEDED,), _each("status", statuses))
    where = (tables.NOT_SUCCEEDED, column("tenant") == tenant)
    return AccessPath(deliveries, "ix_deliveries_tenant_status", where, _each("status", statuses))


def _each(name: str, values: Iterable[str]) -> tuple[ColumnElement[bool], ...]:
    return tuple(column(name) == value for value in values)
