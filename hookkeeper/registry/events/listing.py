"""Pages of events and deliveries, and counts of them."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import ColumnElement, Table, case, func, select, true, union
from sqlalchemy.ext.asyncio import AsyncSession

from hookkeeper.messages.event import NEED_ATTENTION, EventInput, next_attempt_at
from hookkeeper.messages.rows import DeliveryRow, EventKey, EventRow
from hookkeeper.messages.run_report import BEGINNING
from hookkeeper.registry.events import tables
from hookkeeper.registry.events.conditions import Search
from hookkeeper.registry.events.search import Key, find_deliveries, find_events
from hookkeeper.registry.events.tables import MICROSECOND, OF_EVENT, deliveries, events, of_delivery, of_same_event
from hookkeeper.registry.storage.paging import BadRegistryCursor
from hookkeeper.statuses import DeliveryStatus

MAX_TOTAL = 1000
MAX_LATEST = 250
"""Rows that are read for the values to suggest, of each kind."""
MAX_HELD = 100_000
MAX_LISTED_WEBHOOKS = 100
"""Webhooks of an event in a list."""
WORST_FIRST: tuple[DeliveryStatus, ...] = ("failed", "retrying", "held", "pending", "sent", "cancelled", "succeeded")
"""What a person wants to see first."""


class LatestValues(NamedTuple):
    """What the latest rows have."""

    types: Collection[str]
    errors: Collection[str]


async def list_events(
    session: AsyncSession, search: Search, limit: int, cursor: str | None
) -> tuple[list[EventRow], str | None]:
    """Return a page of events in the order of the search, and the next cursor. Raises BadRegistryCursor."""
    found = await find_events(session, search, limit, _read_cursor(cursor, 2))
    rows = await session.execute(select(*OF_EVENT).where(*_with_keys(events, found.keys)))
    by_key: dict[Key, EventRow] = {row.key: row for row in (EventRow(*columns) for columns in rows)}
    shown = await _deliveries(session, found.keys, search.webhook)
    listed = [row._replace(deliveries=tuple(shown.get(row.key, ()))) for key in found.keys if (row := by_key.get(key))]
    return listed, _write_cursor(found.end)


async def list_matches(
    session: AsyncSession, search: Search, limit: int, cursor: str | None
) -> tuple[list[tuple[str, str]], str | None]:
    """Return tenants and ids of a page of events, and the next cursor. Raises BadRegistryCursor."""
    found = await find_events(session, search, limit, _read_cursor(cursor, 2))
    return [(key[1], key[2]) for key in found.keys], _write_cursor(found.end)


async def list_deliveries(
    session: AsyncSession, search: Search, limit: int, cursor: str | None
) -> tuple[list[EventRow], str | None]:
    """Return a page of the deliveries to the webhook of the search in its order, each as the one of its event, and the
    next cursor. The next attempt of one whose event is delivered later is then.

    Raises BadRegistryCursor.
    """
    found = await find_deliveries(session, search, limit, _read_cursor(cursor, 3))
    query = select(*OF_EVENT, *of_delivery(deliveries.c)).join_from(events, deliveries, of_same_event(deliveries.c))
    of_webhook = deliveries.c.webhook_id == search.webhook
    rows = await session.execute(query.where(of_webhook, *_with_keys(deliveries, found.keys)))
    by_key: dict[Key, EventRow] = {}
    for columns in rows:
        event, row = EventRow(*columns[: len(OF_EVENT)]), DeliveryRow(*columns[len(OF_EVENT) :])
        due = next_attempt_at(row.status, row.next_attempt_at, event.status, event.deliver_at)
        by_key[*row.event, row.id] = event._replace(deliveries=(row._replace(next_attempt_at=due),))
    return [by_key[key] for key in found.keys if key in by_key], _write_cursor(found.end)


async def count_up_to(session: AsyncSession, search: Search, limit: int) -> tuple[int, bool]:
    """Return how many events meet the search, of those that a page of this size reads, and whether these are all."""
    found = await find_events(session, search, limit, None)
    return len(found.keys), found.end is None


async def count_deliveries(session: AsyncSession, search: Search) -> int | None:
    """Return how many deliveries to the webhook of the search meet it; None if they are too many to count."""
    found = await find_deliveries(session, search, MAX_TOTAL, None)
    return None if found.end else len(found.keys)


async def latest_values(session: AsyncSession, tenant: str | None, webhook: str | None) -> LatestValues:
    """Return the types of the latest events of a tenant, and the latest errors of its deliveries, or of a webhook's."""
    tenant_is = [] if tenant is None else [events.c.tenant == tenant]
    latest = select(events.c.type).where(*tenant_is).order_by(events.c.accepted_at.desc()).limit(MAX_LATEST).subquery()
    types = await session.scalars(select(latest.c.type).distinct())
    owner = deliveries.c.webhook_id == webhook if webhook else deliveries.c.tenant == tenant if tenant else true()
    failed = (
        select(deliveries.c.error)
        .where(tables.NOT_SUCCEEDED, deliveries.c.status == status, owner)
        .order_by(deliveries.c.accepted_at.desc())
        .limit(MAX_LATEST)
        .subquery()
        for status in NEED_ATTENTION
    )
    errors = await session.scalars(union(*(select(part.c.error) for part in failed)))
    return LatestValues(frozenset(types), frozenset(filter(None, errors)))


async def count_held(session: AsyncSession, webhook_id: str) -> int:
    """Count the events with a held delivery to the webhook, at most `MAX_HELD`."""
    columns = deliveries.c.accepted_at, deliveries.c.tenant, deliveries.c.event_id
    is_held = deliveries.c.webhook_id == webhook_id, deliveries.c.status == "held", tables.NOT_SUCCEEDED
    found = select(*columns).where(*is_held).distinct().limit(MAX_HELD).subquery()
    return await session.scalar(select(func.count()).select_from(found)) or 0


async def _deliveries(
    session: AsyncSession, keys: Sequence[Key], searched: str | None
) -> dict[EventKey, list[DeliveryRow]]:
    """Return the deliveries of these events, the worst first, and before them those to the webhook of the search."""
    rank = case({status: n for n, status in enumerate(WORST_FIRST)}, value=deliveries.c.status)
    order = case((deliveries.c.webhook_id == searched, 0), else_=1), rank, deliveries.c.id
    of_event = [deliveries.c[name] for name in EventKey._fields]
    number = func.row_number().over(partition_by=of_event, order_by=order).label("number")
    found = select(*of_delivery(deliveries.c), number).where(*_with_keys(deliveries, keys)).subquery()
    listed: dict[EventKey, list[DeliveryRow]] = {}
    query = select(*of_delivery(found.c)).where(found.c.number <= MAX_LISTED_WEBHOOKS).order_by(found.c.number)
    for columns in await session.execute(query):
        row = DeliveryRow(*columns)
        listed.setdefault(row.event, []).append(row)
    return listed


def _with_keys(table: Table, keys: Sequence[Key]) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Return conditions for the rows of these events. Few events are accepted in the same microsecond."""
    event_id = table.c.id if table is events else table.c.event_id
    return table.c.accepted_at.in_({key[0] for key in keys}), event_id.in_({key[2] for key in keys})


def cursor_after(row: EventRow | EventInput) -> str:
    """Return the cursor of a page that begins after this event."""
    cursor = _write_cursor((row.accepted_at, row.tenant, row.id))
    assert cursor is not None
    return cursor


def time_of(cursor: str) -> datetime:
    """Return the time up to which the pages before this cursor reach."""
    time: datetime = (_read_cursor(cursor, 2) or (BEGINNING,))[0]
    return time


def _write_cursor(key: Key | None) -> str | None:
    if key is None:
        return None
    time, *others = key
    return " ".join((str((time - BEGINNING) // MICROSECOND), *others))


def _read_cursor(cursor: str | None, others: int) -> Key | None:
    if cursor is None:
        return None
    time, *key = cursor.split(" ", others)
    if len(key) != others or not time.lstrip("-").isdecimal():
        raise BadRegistryCursor("invalid cursor")
    try:
        return BEGINNING + timedelta(microseconds=int(time)), *key
    except OverflowError:
        raise BadRegistryCursor("invalid cursor") from None
