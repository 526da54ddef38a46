"""The statements that write events, deliveries and counters, for each database.

They take lists of rows, and lists of keys as JSON: making a statement for many values costs more than executing it.
"""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Integer, SmallInteger, Table

from hookkeeper.crypto.keyring import Keyring
from hookkeeper.messages.event import DeliveryStatus
from hookkeeper.messages.run_report import BEGINNING
from hookkeeper.registry.encryption import encrypted
from hookkeeper.registry.index.merge import EventKey, Row
from hookkeeper.registry.index.rollup import COUNTERS
from hookkeeper.registry.index.tables import MICROSECOND, EpochTime, deliveries, events, rollups
from hookkeeper.registry.transactions import Statement, Steps

STATE = "state"
"""The last column of deliveries, which is not read to merge reports: nothing is decided by it."""
LOCK = Statement({"sqlite": "SELECT 1", "postgresql": "SELECT pg_advisory_xact_lock(hashtextextended('index', 0))"})
"""Serialises the transactions of all processes. SQLite has only one writer anyway."""


def _select(table: Table, key: Sequence[str]) -> dict[str, str]:
    """Return a query of the rows with the given keys."""
    names = ", ".join(f"t.{column.name}" for column in table.columns if column.name != STATE)
    sqlite = " AND ".join(f"t.{name} = json_extract(k.value, '$[{n}]')" for n, name in enumerate(key))
    postgresql = " AND ".join(f"{name} = {_cast(table.c[name], f'v ->> {n}')}" for n, name in enumerate(key))
    return {
        "sqlite": f"SELECT {names} FROM json_each(?) k CROSS JOIN {table.name} t ON {sqlite}",  # noqa: S608
        # OFFSET 0: each row is looked up in an index. Otherwise PostgreSQL may read all rows to hash them.
        "postgresql": f"SELECT {names} FROM json_array_elements($1::json) k (v)"  # noqa: S608
        f" CROSS JOIN LATERAL (SELECT * FROM {table.name} WHERE {postgresql} OFFSET 0) t",
    }


def _cast(column: Column[Any], value: str) -> str:
    kind = column.type.impl if isinstance(column.type, EpochTime) else column.type
    if isinstance(kind, SmallInteger | Integer | BigInteger):
        return f"({value})::bigint"
    return f"({value})::boolean" if isinstance(kind, Boolean) else value


def _upsert(table: Table, changes: str) -> dict[str, str]:
    names = [column.name for column in table.columns]
    key = [column.name for column in table.primary_key.columns]
    updates = ", ".join(changes.format(name=name, table=table.name) for name in names if name not in key)
    texts = {}
    for dialect, marks in (("sqlite", ["?"] * len(names)), ("postgresql", [f"${n + 1}" for n in range(len(names))])):
        texts[dialect] = (
            f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({', '.join(marks)})"  # noqa: S608 - constants
            f" ON CONFLICT ({', '.join(key)}) DO UPDATE SET {updates}"
        )
    return texts


SELECT_EVENTS = _select(events, ("id", "tenant"))
SELECT_DELIVERIES = _select(deliveries, ("accepted_at", "tenant", "event_id", "id"))
UPSERT_EVENTS, UPSERT_DELIVERIES = (_upsert(table, "{name} = excluded.{name}") for table in (events, deliveries))
ADD_COUNTERS = _upsert(rollups, "{name} = {table}.{name} + excluded.{name}")
assert deliveries.columns.keys()[-1] == STATE
assert [column.name for column in rollups.columns][-len(COUNTERS) :] == list(COUNTERS)

STATUSES = {
    dialect: "SELECT DISTINCT status FROM deliveries"  # noqa: S608
    f" WHERE accepted_at = {marks[0]} AND tenant = {marks[1]} AND event_id = {marks[2]}"
    for dialect, marks in (("sqlite", ("?1", "?2", "?3")), ("postgresql", ("$1", "$2", "$3")))
}
MOVE = {
    "sqlite": """
UPDATE events SET shared_run = ?1, run_id = ?2 WHERE shared_run = ?3 AND (tenant, id) IN
  (SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?4)) RETURNING tenant, id""",
    "postgresql": """
UPDATE events SET shared_run = $1, run_id = $2 WHERE shared_run = $3 AND (tenant, id) IN
  (SELECT v ->> 0, v ->> 1 FROM json_array_elements($4::json) k (v)) RETURNING tenant, id""",
}
OF_EVENT = "accepted_at = (SELECT accepted_at FROM events WHERE tenant = {0} AND id = {1}) AND tenant = {0}"
REMOVE = [
    {
        dialect: f"DELETE FROM {table} WHERE {OF_EVENT.format(*marks)} AND {column} = {marks[1]}"  # noqa: S608
        for dialect, marks in (("sqlite", ("?1", "?2")), ("postgresql", ("$1", "$2")))
    }
    for table, column in (("deliveries", "event_id"), ("events", "id"))
]


def select_events(keys: Sequence[tuple[str, str]]) -> Steps[list[Row]]:
    """Return the rows of the events with these tenants and ids."""
    if not keys:
        return []
    found = yield Statement(SELECT_EVENTS, (json.dumps([key[::-1] for key in keys]),))
    return [_row(events, row) for row in found]


def select_deliveries(keys: Sequence[tuple[datetime, str, str, str]]) -> Steps[list[Row]]:
    """Return the rows of the deliveries with these keys."""
    if not keys:
        return []
    found = yield Statement(SELECT_DELIVERIES, (json.dumps([(micros(at), *rest) for at, *rest in keys]),))
    return [_row(deliveries, row) for row in found]


def upsert_events(rows: Iterable[Row]) -> Steps[None]:
    """Write rows of events."""
    if many := [_values(events, row) for row in rows]:
        yield Statement(UPSERT_EVENTS, many=many)


def upsert_deliveries(rows: Iterable[Row], keyring: Keyring | None) -> Steps[None]:
    """Write rows of deliveries, with their states encrypted if there are keys."""
    many = [
        (*_values(deliveries, row), row[STATE] and encrypted(row[STATE], "deliveries.state", keyring)) for row in rows
    ]
    if many:
        yield Statement(UPSERT_DELIVERIES, many=many)


def statuses_of(event: EventKey) -> Steps[set[DeliveryStatus]]:
    """Return the statuses that deliveries of an event have."""
    found = yield Statement(STATUSES, (micros(event.accepted_at), event.tenant, event.event_id))
    return {status for (status,) in found}


def add_counters(rows: Sequence[tuple[Any, ...]]) -> Steps[None]:
    """Add to the counters of these keys."""
    yield Statement(ADD_COUNTERS, many=rows)


def move(keys: Sequence[tuple[str, str]], from_run: str, to_run: str | None, run_id: str) -> Statement:
    """Return the statement that lets rows of one shared run name another run, and returns their tenants and ids."""
    return Statement(MOVE, (to_run, run_id, from_run, json.dumps(keys)))


def remove(tenant: str, event_id: str) -> Steps[None]:
    """Remove an event with its deliveries."""
    for text in REMOVE:
        yield Statement(text, (tenant, event_id))


def micros(at: datetime) -> int:
    """Return a time as it is stored."""
    return (at - BEGINNING) // MICROSECOND


_columns = {
    table.name: [(name, isinstance(column.type, EpochTime)) for name, column in table.columns.items() if name != STATE]
    for table in (events, deliveries)
}


def _row(table: Table, row: tuple[Any, ...]) -> Row:
    return {
        name: BEGINNING + value * MICROSECOND if is_time and value is not None else value
        for (name, is_time), value in zip(_columns[table.name], row, strict=True)
    }


def _values(table: Table, row: Row) -> tuple[Any, ...]:
    return tuple(
        micros(row[name]) if is_time and row[name] is not None else row[name] for name, is_time in _columns[table.name]
    )
