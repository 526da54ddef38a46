"""The log of changes of the index: which events each of the latest writes has changed, for streams that follow them.

A write holds the lock of the index until it is committed, so changes appear in the order of their numbers: a reader
that continues after one misses none. The log has keys only. What a change shows is the state at the time of reading.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any, NamedTuple

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from hookkeeper.messages.event import Channel, DeliveryStatus, EventStatus, Reason
from hookkeeper.messages.run_report import BEGINNING
from hookkeeper.registry.database import rows_with
from hookkeeper.registry.index.merge import EventKey, Followed
from hookkeeper.registry.index.tables import MICROSECOND, deliveries, events, index_changes
from hookkeeper.registry.transactions import Statement, Steps

KEPT_WRITES = 3600
"""Writes that the log has: half an hour with one event a second, and minutes under load."""
ROWS_PER_READ = 500
END = 2**31 - 1
"""After all changes of a write."""


class Position(NamedTuple):
    """A place in the log: a write, and the number of one of its changes."""

    write: int
    change: int


class LogEnds(NamedTuple):
    begin: Position
    """The log has all changes after this one."""
    end: Position


@dataclass(frozen=True, slots=True)
class Change:
    """An entry of the log."""

    position: Position
    key: EventKey
    is_new: bool
    deliveries: tuple[str, ...]
    """Ids of the event's deliveries that have changed."""


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """A delivery, as its row has it."""

    id: str
    webhook_id: str
    channel: Channel
    status: DeliveryStatus
    reason: Reason | None
    attempts: int
    status_code: int | None
    error: str | None
    next_attempt_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class ChangedEvent:
    position: Position
    is_new: bool
    id: str
    type: str
    tenant: str
    status: EventStatus
    needs_attention: bool
    accepted_at: datetime
    finished_at: datetime | None
    deliver_at: datetime | None
    run_id: str
    shared_run: str | None
    deliveries: list[DeliveryResult]
    """Those that have changed."""


LATEST = dict.fromkeys(("sqlite", "postgresql"), "SELECT max(number) FROM index_changes")
ADD = {
    "sqlite": "INSERT INTO index_changes (number, tenant, position, changed) VALUES (?, ?, ?, ?)",
    "postgresql": "INSERT INTO index_changes (number, tenant, position, changed) VALUES ($1, $2, $3, $4)",
}
REMOVE = {
    "sqlite": "DELETE FROM index_changes WHERE number <= ?",
    "postgresql": "DELETE FROM index_changes WHERE number <= $1",
}


def append(followed: Mapping[EventKey, Followed]) -> Steps[None]:
    """Add what a write changes, and remove the oldest write."""
    if not followed:
        return
    ((latest,),) = yield Statement(LATEST)
    write = (latest or 0) + 1
    keys = sorted(followed, key=lambda key: (key.tenant, key))
    rows = []
    for tenant, group in groupby(enumerate(keys), key=lambda numbered: numbered[1].tenant):
        numbered = list(group)
        changed = [_entry(key, followed[key]) for _, key in numbered]
        rows.append((write, tenant, numbered[0][0], json.dumps(changed, separators=(",", ":"))))
    yield Statement(ADD, many=rows)
    yield Statement(REMOVE, (write - KEPT_WRITES,))


async def ends(session: AsyncSession) -> LogEnds:
    """Return where the log begins, and its last position."""
    number = index_changes.c.number
    bounds = select(select(func.min(number)).scalar_subquery(), select(func.max(number)).scalar_subquery())
    first, last = (await session.execute(bounds)).one()
    return LogEnds(Position((first or 1) - 1, END), Position(last or 0, END))


async def read(
    session: AsyncSession, after: Position, until: Position, tenants: Collection[str] | None
) -> tuple[list[Change], Position]:
    """Return changes after one position, in their order, and how far they reach: at most up to the other position."""
    number, tenant = index_changes.c.number, index_changes.c.tenant
    query = select(index_changes).where(number >= after.write, number <= until.write)
    if tenants is not None:
        query = query.where(tenant.in_(tenants))
    found = await session.execute(query.order_by(number, tenant).limit(ROWS_PER_READ))
    rows = found.mappings().all()
    read = [change for row in rows for change in _changes_of(row)]
    reached = until if len(rows) < ROWS_PER_READ else min(read[-1].position, until)
    return [change for change in read if after < change.position <= reached], reached


async def changed_events(session: AsyncSession, changes: Sequence[Change]) -> list[ChangedEvent]:
    """Return the events of these changes as they are now, in the same order; one event for each change."""
    keys = sorted({change.key for change in changes})
    found = await session.execute(
        select(events).where(rows_with((events.c.accepted_at, events.c.tenant, events.c.id), keys))
    )
    by_key = {EventKey(row["accepted_at"], row["tenant"], row["id"]): row for row in found.mappings()}
    of_events = await _deliveries(session, changes)
    return [
        ChangedEvent(
            position=change.position,
            is_new=change.is_new,
            **{name: by_key[change.key][name] for name in ChangedEvent.__slots__[2:-1]},
            deliveries=[of_events[key] for id_ in change.deliveries if (key := (*change.key, id_)) in of_events],
        )
        for change in changes
        if change.key in by_key
    ]


async def _deliveries(session: AsyncSession, changes: Sequence[Change]) -> dict[tuple[Any, ...], DeliveryResult]:
    columns = [deliveries.c[name] for name in ("accepted_at", "tenant", "event_id", "id")]
    keys = sorted({(*change.key, id_) for change in changes for id_ in change.deliveries})
    if not keys:
        return {}
    rows = await session.execute(select(deliveries).where(rows_with(columns, keys)))
    return {
        tuple(row[column.name] for column in columns): DeliveryResult(
            **{name: row[name] for name in DeliveryResult.__slots__}
        )
        for row in rows.mappings()
    }


def _entry(key: EventKey, followed: Followed) -> list[Any]:
    micros = (key.accepted_at - BEGINNING) // MICROSECOND
    return [micros, key.event_id, int(followed.is_new), sorted(followed.deliveries)]


def _changes_of(row: Mapping[Any, Any]) -> list[Change]:
    return [
        Change(
            Position(row["number"], row["position"] + n),
            EventKey(BEGINNING + micros * MICROSECOND, row["tenant"], event_id),
            bool(is_new),
            tuple(ids),
        )
        for n, (micros, event_id, is_new, ids) in enumerate(json.loads(row["changed"]))
    ]
