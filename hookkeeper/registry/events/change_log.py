"""The log of changes of the index: which events each of the latest writes has changed, for streams that follow them.

A write holds the lock of the index until it is committed, so changes appear in the order of their numbers: a reader
that continues after one misses none. The log has keys only. What a change shows is the state at the time of reading.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

from sqlalchemy import bindparam, delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from hookkeeper.messages.rows import DeliveryKey, DeliveryRow, EventKey, EventRow
from hookkeeper.messages.run_report import BEGINNING
from hookkeeper.registry.events.merge import Followed
from hookkeeper.registry.events.tables import EVENT_KEY, MICROSECOND, OF_EVENT, deliveries, index_changes, of_delivery
from hookkeeper.registry.storage.database import rows_with
from hookkeeper.registry.storage.transactions import Statement, Steps

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

    @property
    def delivery_keys(self) -> list[DeliveryKey]:
        return [(self.key, id_) for id_ in self.deliveries]


LATEST = select(func.max(index_changes.c.number))
ADD = insert(index_changes)
REMOVE = delete(index_changes).where(index_changes.c.number <= bindparam("last"))


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
        text = json.dumps(changed, separators=(",", ":"))
        rows.append({"number": write, "tenant": tenant, "position": numbered[0][0], "changed": text})
    yield Statement(ADD, many=rows)
    yield Statement(REMOVE, {"last": write - KEPT_WRITES})


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


async def changed_events(session: AsyncSession, changes: Sequence[Change]) -> list[tuple[Change, EventRow]]:
    """Return the events of these changes as they are now, in the same order; one for each change, with the deliveries
    that have changed.
    """
    keys = sorted({change.key for change in changes})
    found = await session.execute(select(*OF_EVENT).where(rows_with(EVENT_KEY, keys)))
    by_key = {row.key: row for row in (EventRow(*columns) for columns in found)}
    of_events = await _deliveries(session, changes)
    return [
        (change, event._replace(deliveries=tuple(of_events[key] for key in change.delivery_keys if key in of_events)))
        for change in changes
        if (event := by_key.get(change.key))
    ]


async def _deliveries(session: AsyncSession, changes: Sequence[Change]) -> dict[DeliveryKey, DeliveryRow]:
    columns = [deliveries.c[name] for name in (*EventKey._fields, "id")]
    keys = sorted({(*event, id_) for change in changes for event, id_ in change.delivery_keys})
    if not keys:
        return {}
    found = await session.execute(select(*of_delivery(deliveries.c)).where(rows_with(columns, keys)))
    return {row.key: row for row in (DeliveryRow(*columns) for columns in found)}


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
