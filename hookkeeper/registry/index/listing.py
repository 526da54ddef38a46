"""Pages of events and deliveries, and counts of them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Row, RowMapping, Table, case, func, select, true, union
from sqlalchemy.ext.asyncio import AsyncSession

from hookkeeper.messages.event import (
    NEED_ATTENTION,
    Acknowledgement,
    Channel,
    DeliveryStatus,
    EventInput,
    EventStatus,
    Reason,
    next_attempt_at,
)
from hookkeeper.messages.run_report import BEGINNING
from hookkeeper.registry.index import tables
from hookkeeper.registry.index.change_log import DeliveryResult
from hookkeeper.registry.index.search import Key, Search, find_deliveries, find_events, needs_attention
from hookkeeper.registry.index.tables import MICROSECOND, deliveries, events
from hookkeeper.registry.paging import BadRegistryCursor
from hookkeeper.times import utc_now

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


@dataclass(frozen=True, slots=True)
class ListedEvent:
    id: str
    type: str
    tenant: str
    status: EventStatus
    accepted_at: datetime
    finished_at: datetime | None
    deliver_at: datetime | None
    run_id: str
    shared_run: str | None
    """The workflow id of the shared run that has it; None: it has a run of its own."""
    webhooks: list[str]
    needs_attention: list[str]
    """Webhooks with a delivery that needs attention, unless the event needs none."""
    latest: DeliveryResult | None
    """Its worst delivery, or that to the webhook of the search; None without deliveries."""
    acknowledged: Acknowledgement | None = None
    channels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ListedDelivery:
    id: str
    event_id: str
    type: str
    tenant: str
    channel: Channel
    status: DeliveryStatus
    reason: Reason | None
    attempts: int
    status_code: int | None
    error: str | None
    next_attempt_at: datetime | None
    """The `deliver_at` of an event that is delivered later."""
    accepted_at: datetime
    finished_at: datetime | None
    run_id: str
    shared_run: str | None


async def list_events(
    session: AsyncSession, search: Search, limit: int, cursor: str | None
) -> tuple[list[ListedEvent], str | None]:
    """Return a page of events in the order of the search, and the next cursor. Raises BadRegistryCursor."""
    found = await find_events(session, search, limit, _read_cursor(cursor, 2))
    rows = await session.execute(select(events).where(*_with_keys(events, found.keys)))
    by_key = {(row["accepted_at"], row["tenant"], row["id"]): row for row in rows.mappings()}
    shown = await _deliveries(session, found.keys, search.webhook)
    listed = [_listed(by_key[key], shown.get(key, [])) for key in found.keys if key in by_key]
    return listed, _write_cursor(found.end)


def _listed(event: RowMapping, shown: Sequence[Row[*tuple[Any, ...]]]) -> ListedEvent:
    """Join the row of an event with those of its deliveries, of which the worst comes first."""
    now = utc_now()
    troubled = [row for row in shown if event["needs_attention"] and needs_attention(row.status, row.accepted_at, now)]
    return ListedEvent(
        **{name: event[name] for name in ListedEvent.__slots__[:9]},
        webhooks=sorted({row.webhook_id for row in shown}),
        needs_attention=sorted({row.webhook_id for row in troubled}),
        latest=DeliveryResult(**{name: getattr(shown[0], name) for name in DeliveryResult.__slots__})
        if shown
        else None,
        acknowledged=Acknowledgement.of(event["acknowledged"]),
        channels=tuple((event["channels"] or "").split()),
    )


async def list_matches(
    session: AsyncSession, search: Search, limit: int, cursor: str | None
) -> tuple[list[tuple[str, str]], str | None]:
    """Return tenants and ids of a page of events, and the next cursor. Raises BadRegistryCursor."""
    found = await find_events(session, search, limit, _read_cursor(cursor, 2))
    return [(key[1], key[2]) for key in found.keys], _write_cursor(found.end)


async def list_deliveries(
    session: AsyncSession, search: Search, limit: int, cursor: str | None
) -> tuple[list[ListedDelivery], str | None]:
    """Return a page of the deliveries to the webhook of the search in its order, and the next cursor.

    Raises BadRegistryCursor.
    """
    found = await find_deliveries(session, search, limit, _read_cursor(cursor, 3))
    same_event = (
        (events.c.accepted_at == deliveries.c.accepted_at)
        & (events.c.tenant == deliveries.c.tenant)
        & (events.c.id == deliveries.c.event_id)
    )
    of_event = events.c.run_id, events.c.shared_run, events.c.deliver_at, events.c.status.label("event_status")
    query = select(deliveries, *of_event).join(events, same_event)
    of_webhook = deliveries.c.webhook_id == search.webhook
    rows = await session.execute(query.where(of_webhook, *_with_keys(deliveries, found.keys)))
    by_key = {(row["accepted_at"], row["tenant"], row["event_id"], row["id"]): row for row in rows.mappings()}
    listed = [
        ListedDelivery(
            **{name: row[name] for name in ListedDelivery.__slots__} | {"next_attempt_at": _next_attempt(row)}
        )
        for key in found.keys
        if (row := by_key.get(key))
    ]
    return listed, _write_cursor(found.end)


def _next_attempt(row: RowMapping) -> datetime | None:
    return next_attempt_at(row["status"], row["next_attempt_at"], row["event_status"], row["deliver_at"])


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
) -> dict[Key, list[Row[*tuple[Any, ...]]]]:
    """Return the deliveries of these events, the worst first, and before them those to the webhook of the search."""
    columns = deliveries.c.accepted_at, deliveries.c.tenant, deliveries.c.event_id
    rank = case({status: n for n, status in enumerate(WORST_FIRST)}, value=deliveries.c.status)
    order = case((deliveries.c.webhook_id == searched, 0), else_=1), rank, deliveries.c.id
    number = func.row_number().over(partition_by=columns, order_by=order).label("number")
    results = [deliveries.c[name] for name in DeliveryResult.__slots__]
    found = select(*columns, *results, number).where(*_with_keys(deliveries, keys)).subquery()
    listed: dict[Key, list[Row[*tuple[Any, ...]]]] = {}
    query = select(found).where(found.c.number <= MAX_LISTED_WEBHOOKS).order_by(found.c.number)
    for row in await session.execute(query):
        listed.setdefault((row.accepted_at, row.tenant, row.event_id), []).append(row)
    return listed


def _with_keys(table: Table, keys: Sequence[Key]) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Return conditions for the rows of these events. Few events are accepted in the same microsecond."""
    event_id = table.c.id if table is events else table.c.event_id
    return table.c.accepted_at.in_({key[0] for key in keys}), event_id.in_({key[2] for key in keys})


def cursor_after(row: ListedEvent | EventInput) -> str:
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
