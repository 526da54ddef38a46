"""The statements that write events, deliveries and counters. They take lists of rows, and lists of keys as JSON."""

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Executable,
    FromClause,
    Table,
    and_,
    bindparam,
    delete,
    func,
    literal_column,
    select,
    true,
    tuple_,
    update,
)

from hookkeeper.messages.rows import DeliveryRow, EventKey, EventRow
from hookkeeper.messages.run_report import BEGINNING
from hookkeeper.registry.events.rollup import COUNTERS
from hookkeeper.registry.events.tables import MICROSECOND, OF_EVENT, deliveries, events, of_delivery, rollups
from hookkeeper.registry.storage.compiled import Query, rows_of_json
from hookkeeper.registry.storage.database import insert_into
from hookkeeper.registry.storage.transactions import Statement, Steps
from hookkeeper.statuses import DeliveryStatus


def _lock(dialect: str) -> Executable:
    if dialect == "sqlite":
        return select(literal_column("1"))
    return select(func.pg_advisory_xact_lock(func.hashtextextended("index", 0)))


LOCK = Statement(_lock)
"""Serialises the transactions of all processes. SQLite has only one writer anyway."""


def adding(table: Table, change: Callable[[ColumnElement[Any], ColumnElement[Any]], Any] | None = None) -> Query:
    """Return what makes an INSERT. A row that is there stays, or gets what `change` makes of old and new values."""

    def made(dialect: str) -> Executable:
        insert = insert_into(table, dialect)
        if change is None:
            ignoring: Executable = insert.on_conflict_do_nothing()
            return ignoring
        changed = {each.name: change(each, insert.excluded[each.name]) for each in table.c if not each.primary_key}
        updating: Executable = insert.on_conflict_do_update(index_elements=[*table.primary_key.columns], set_=changed)
        return updating

    return made


def _with_keys(columns: Sequence[ColumnElement[Any]], key: Sequence[ColumnElement[Any]], table: Table) -> Query:
    """Return what makes a query of the rows with the given keys."""

    def made(dialect: str) -> Executable:
        keys = rows_of_json(dialect, *(column.type for column in key))
        is_row = and_(*(column == keys.c[f"v{n}"] for n, column in enumerate(key)))
        return looked_up(dialect, keys, select(*columns).where(is_row), table)

    return made


def looked_up(dialect: str, keys: FromClause, found: Any, table: Table, *others: ColumnElement[Any]) -> Executable:
    """Return a query of what is found for each key, after `others`. PostgreSQL looks each up in an index (OFFSET 0): it
    may read all rows to hash them otherwise.
    """
    if dialect == "sqlite":
        return select(*others, *found.selected_columns).select_from(keys.join(table, found.whereclause))
    each = found.offset(literal_column("0")).lateral("t")
    return select(*others, *each.c).select_from(keys.join(each, true()))


SELECT_EVENTS = _with_keys(OF_EVENT, (events.c.tenant, events.c.id), events)
SELECT_DELIVERIES = _with_keys(of_delivery(deliveries.c), [*deliveries.primary_key.columns], deliveries)
UPSERT_EVENTS, UPSERT_DELIVERIES = (adding(table, lambda _, new: new) for table in (events, deliveries))
ADD_COUNTERS = adding(rollups, lambda old, new: old + new)
assert rollups.c.keys()[-len(COUNTERS) :] == list(COUNTERS)
STATUSES = (
    select(deliveries.c.status).distinct().where(*(deliveries.c[name] == bindparam(name) for name in EventKey._fields))
)


def _move(dialect: str) -> Executable:
    names = rows_of_json(dialect, events.c.tenant.type, events.c.id.type)
    is_named = tuple_(events.c.tenant, events.c.id).in_(select(names.c.v0, names.c.v1))
    to_run: dict[str, Any] = {"shared_run": bindparam("to_run"), "run_id": bindparam("to_run_id")}
    changed = update(events).where(events.c.shared_run == bindparam("from_run"), is_named).values(to_run)
    return changed.returning(events.c.tenant, events.c.id)


MOVE = _move
REMOVED = events.c.tenant == bindparam("tenant"), events.c.id == bindparam("event")
REMOVE = (
    delete(deliveries).where(
        deliveries.c.accepted_at == select(events.c.accepted_at).where(*REMOVED).scalar_subquery(),
        deliveries.c.tenant == bindparam("tenant"),
        deliveries.c.event_id == bindparam("event"),
    ),
    delete(events).where(*REMOVED),
)


def select_events(names: Sequence[tuple[str, str]]) -> Steps[list[EventRow]]:
    """Return the rows of the events with these tenants and ids."""
    if not names:
        return []
    return [EventRow(*row) for row in (yield Statement(SELECT_EVENTS, {"rows": json.dumps(names)}))]


def select_deliveries(keys: Sequence[tuple[datetime, str, str, str]]) -> Steps[list[DeliveryRow]]:
    """Return the rows of the deliveries with these keys."""
    if not keys:
        return []
    rows = json.dumps([(micros(at), *rest) for at, *rest in keys])
    return [DeliveryRow(*row) for row in (yield Statement(SELECT_DELIVERIES, {"rows": rows}))]


def upsert_events(rows: Iterable[EventRow]) -> Steps[None]:
    """Write rows of events."""
    if many := [row._asdict() for row in rows]:
        yield Statement(UPSERT_EVENTS, many=many)


def upsert_deliveries(rows: Iterable[DeliveryRow]) -> Steps[None]:
    """Write rows of deliveries."""
    if many := [row._asdict() for row in rows]:
        yield Statement(UPSERT_DELIVERIES, many=many)


def statuses_of(event: EventKey) -> Steps[set[DeliveryStatus]]:
    """Return the statuses that deliveries of an event have."""
    return {status for (status,) in (yield Statement(STATUSES, event._asdict()))}


def add_counters(rows: Sequence[tuple[Any, ...]]) -> Steps[None]:
    """Add to the counters of these keys. They are many, and need no conversion."""
    yield Statement(ADD_COUNTERS, many=rows)


def move(names: Sequence[tuple[str, str]], from_run: str, to_run: str | None, run_id: str) -> Statement:
    """Return the statement that lets rows of one shared run name another run, and returns their tenants and ids."""
    values = {"rows": json.dumps(names), "from_run": from_run, "to_run": to_run, "to_run_id": run_id}
    return Statement(MOVE, values)


def remove(tenant: str, event_id: str) -> Steps[None]:
    """Remove an event with its deliveries."""
    for query in REMOVE:
        yield Statement(query, {"tenant": tenant, "event": event_id})


def micros(at: datetime) -> int:
    """Return a time as it is stored."""
    return (at - BEGINNING) // MICROSECOND
