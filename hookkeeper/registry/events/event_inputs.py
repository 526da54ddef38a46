"""What starts the runs of events: their inputs, which are kept with their rows.

A run can be started from them at any time: when Temporal is back, or when the process that accepted an event has died.
"""

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Any

from sqlalchemy import ColumnElement, Dialect, String, TextClause, cast, func, select, type_coerce, update

from hookkeeper.crypto.keyring import CipherError
from hookkeeper.messages.rows import DeliveryRow, EventKey, EventRow
from hookkeeper.messages.run_report import BEGINNING
from hookkeeper.registry.events.statements import adding
from hookkeeper.registry.events.tables import (
    EVENT_KEY,
    MICROSECOND,
    NOT_RECORDED,
    OF_EVENT,
    OF_STATE,
    deliveries,
    event_inputs,
    events,
    of_delivery,
    of_same_event,
)
from hookkeeper.registry.storage.database import Database, rows_with
from hookkeeper.registry.storage.encryption import decrypted, keyring_of
from hookkeeper.registry.storage.transactions import Statement, Steps
from hookkeeper.times import utc_now

PURPOSE = "event_inputs.input"
OVERDUE = timedelta(seconds=5)
"""Since an event was accepted of which no run has recorded anything."""
MAX_BYTES = 16 * 1024 * 1024
"""Bytes of the inputs of events that are read at once."""
MAX_COUNTED = 10_000_000
"""Overdue events, which is more than may wait."""
INSERT = adding(event_inputs)
ID = (events.c.id, events.c.tenant)
INPUT_KEY = (event_inputs.c.accepted_at, event_inputs.c.tenant, event_inputs.c.event_id)
WITH_INPUT = events.join(event_inputs, of_same_event(event_inputs.c))
STORED = select(*OF_EVENT, event_inputs.c.input).select_from(WITH_INPUT)


def _deliveries_of_event(dialect: Dialect) -> ColumnElement[str]:
    """Return the deliveries of the event of a query as JSON."""
    columns = [*of_delivery(deliveries.c), deliveries.c.state]
    is_postgresql = dialect.name == "postgresql"
    row = func.json_build_array(*columns) if is_postgresql else func.json_array(*columns)
    all_rows = cast(func.json_agg(row) if is_postgresql else func.json_group_array(row), String)
    return select(all_rows).where(of_same_event(deliveries.c)).scalar_subquery()


def _delivery(columns: Sequence[Any]) -> DeliveryRow:
    """Return a row whose times are numbers."""
    row = DeliveryRow(*columns)
    times = ((name, getattr(row, name)) for name in ("accepted_at", "next_attempt_at", "finished_at", "as_of"))
    return row._replace(**{name: BEGINNING + at * MICROSECOND for name, at in times if at is not None})


def insert(rows: Iterable[EventRow]) -> Steps[None]:
    """Keep the inputs of events that have rows."""
    if many := [row.key._asdict() | {"input": row.input} for row in rows]:
        yield Statement(INSERT, many=many)


class EventInputs:
    """Methods raise RegistryUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, tenant: str, event_id: str) -> EventRow | None:
        """Return an event with its input and its deliveries, all of one moment; None if it has no row, or no input."""
        dialect = self._database.dialect
        query = STORED.add_columns(_deliveries_of_event(dialect))
        async with self._database.read() as session:
            found = await session.execute(query.where(events.c.tenant == tenant, events.c.id == event_id))
            if (row := found.first()) is None:
                return None
            keyring = keyring_of(dialect)
            stored = (
                _delivery(columns)._replace(state=state and decrypted(state, OF_STATE, keyring))
                for *columns, state in json.loads(row[-1] or "[]")
            )
            return EventRow(*row[:-1])._replace(deliveries=tuple(stored))

    async def texts(self, keys: Sequence[EventKey]) -> dict[EventKey, str]:
        """Return the inputs of these events as JSON, without those that cannot be decrypted."""
        if not keys:
            return {}
        found: dict[EventKey, str] = {}
        keyring = keyring_of(self._database.dialect)
        query = select(*INPUT_KEY, type_coerce(event_inputs.c.input, String)).where(rows_with(INPUT_KEY, keys))
        async with self._database.read() as session:
            for *key, stored in await session.execute(query):
                with suppress(CipherError):
                    found[EventKey(*key)] = decrypted(stored, PURPOSE, keyring)
        return found

    async def of_shared_run(self, shared_run: str) -> list[EventRow]:
        """Return the events of a shared run of which no run has recorded anything."""
        return await self._stored(NOT_RECORDED, events.c.shared_run == shared_run)

    async def overdue(self, before: datetime, limit: int) -> list[EventRow]:
        """Return the oldest events of each tenant that were accepted before a time and of which no run has recorded
        anything, and with each event of a shared run all others of that run: at most about `MAX_BYTES` of data.
        """
        turn = func.row_number().over(partition_by=events.c.tenant, order_by=EVENT_KEY)
        size = func.length(type_coerce(event_inputs.c.input, String)).label("size")
        first = select(*EVENT_KEY, events.c.shared_run, turn.label("turn"), size).select_from(WITH_INPUT)
        oldest = first.where(NOT_RECORDED, events.c.accepted_at < before).subquery()
        async with self._database.read() as session:
            query = select(oldest).order_by(oldest.c.turn, oldest.c.accepted_at).limit(limit)
            rows = (await session.execute(query)).all()
        sizes = accumulate(row.size for row in rows)
        found = [row for row, size in zip(rows, sizes, strict=True) if size <= MAX_BYTES] or rows[:1]
        own = [(row.id, row.tenant) for row in found if row.shared_run is None]
        runs = {row.shared_run for row in found if row.shared_run is not None}
        shared = await self._stored(NOT_RECORDED, events.c.shared_run.in_(runs)) if runs else []
        return shared + (await self._stored(NOT_RECORDED, rows_with(ID, own)) if own else [])

    async def _stored(self, *where: ColumnElement[bool] | TextClause) -> list[EventRow]:
        async with self._database.read() as session:
            return [EventRow(*row) for row in await session.execute(STORED.where(*where).order_by(*EVENT_KEY))]

    async def count_overdue(self) -> dict[str, int]:
        """Return how many events of each tenant were accepted some seconds ago, and have no record of a run."""
        is_old = events.c.accepted_at < utc_now() - OVERDUE
        # With a limit, SQLite reads the partial index, not one that has all tenants in their order.
        overdue = select(events.c.tenant).where(NOT_RECORDED, is_old).limit(MAX_COUNTED).subquery()
        async with self._database.read() as session:
            rows = await session.execute(select(overdue.c.tenant, func.count()).group_by(overdue.c.tenant))
            return {tenant: count for tenant, count in rows}  # noqa: C416 - mypy does not know rows as pairs

    async def note_run(self, found: Iterable[EventRow], run_id: str) -> None:
        """Note that these events have a run, which has recorded nothing yet."""
        async with self._database.write() as session:
            is_event = rows_with(ID, [row.name[::-1] for row in found])
            await session.execute(update(events).where(is_event, events.c.run_id == "").values(run_id=run_id))
