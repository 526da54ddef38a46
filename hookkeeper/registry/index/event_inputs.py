"""What starts the runs of events: their inputs, which are kept with their rows.

A run can be started from them at any time: when Temporal is back, or when the process that accepted an event has died.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, String, TextClause, func, select, tuple_, type_coerce, update

from hookkeeper.crypto.keyring import CipherError, Keyring
from hookkeeper.messages.event import EventInput, EventStatus
from hookkeeper.registry.database import Database, rows_with
from hookkeeper.registry.encryption import decrypted, encrypted, keyring_of
from hookkeeper.registry.index.compared_rows import KEY
from hookkeeper.registry.index.merge import EventKey
from hookkeeper.registry.index.statements import micros
from hookkeeper.registry.index.tables import NOT_RECORDED, event_inputs, events
from hookkeeper.registry.transactions import Statement, Steps
from hookkeeper.times import utc_now

PURPOSE = "event_inputs.input"
OVERDUE = timedelta(seconds=5)
"""Since an event was accepted of which no run has recorded anything."""
MAX_COUNTED = 10_000_000
"""Overdue events, which is more than may wait."""
INSERT = {
    "sqlite": "INSERT INTO event_inputs VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
    "postgresql": "INSERT INTO event_inputs VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
}
ID = (events.c.id, events.c.tenant)
INPUT_KEY = (event_inputs.c.accepted_at, event_inputs.c.tenant, event_inputs.c.event_id)
STORED = (
    events.c.shared_run,
    events.c.run_id,
    events.c.status,
    events.c.deliver_at,
    events.c.finished_at,
    events.c.acknowledged,
    event_inputs.c.input,
)
OF_EVENT = tuple_(*KEY) == tuple_(*INPUT_KEY)


class StoredEvent(NamedTuple):
    """An event as its row has it, and what starts its run."""

    key: EventKey
    shared_run: str | None
    """The workflow id of the shared run that is to have it; None: it is to have a run of its own."""
    run_id: str
    status: EventStatus
    deliver_at: datetime | None
    finished_at: datetime | None
    acknowledged: str | None
    input: str
    """Its `EventInput` as JSON."""

    @property
    def event(self) -> EventInput:
        return EventInput.model_validate_json(self.input)

    @property
    def is_unstarted(self) -> bool:
        """Whether no run has recorded anything of it."""
        return not self.run_id and self.finished_at is None


def insert(inputs: Iterable[tuple[EventKey, str]], keyring: Keyring | None) -> Steps[None]:
    """Keep the inputs of events that have rows."""
    rows = [
        (micros(key.accepted_at), key.tenant, key.event_id, encrypted(text, PURPOSE, keyring)) for key, text in inputs
    ]
    if rows:
        yield Statement(INSERT, many=rows)


class EventInputs:
    """Methods raise RegistryUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, tenant: str, event_id: str) -> StoredEvent | None:
        """Return an event; None if it has no row, or was accepted before inputs were kept."""
        found = await self._stored(events.c.tenant == tenant, events.c.id == event_id)
        return found[0] if found else None

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

    async def of_shared_run(self, shared_run: str) -> list[StoredEvent]:
        """Return the events of a shared run of which no run has recorded anything."""
        return await self._stored(NOT_RECORDED, events.c.shared_run == shared_run)

    async def overdue(self, before: datetime, limit: int) -> list[StoredEvent]:
        """Return the oldest events of each tenant that were accepted before a time and of which no run has recorded
        anything, and with each event of a shared run all others of that run.
        """
        turn = func.row_number().over(partition_by=events.c.tenant, order_by=KEY)
        first = select(*KEY, events.c.shared_run, turn.label("turn")).join_from(events, event_inputs, OF_EVENT)
        oldest = first.where(NOT_RECORDED, events.c.accepted_at < before).subquery()
        async with self._database.read() as session:
            query = select(oldest).order_by(oldest.c.turn, oldest.c.accepted_at).limit(limit)
            found = (await session.execute(query)).all()
        own = [(row.id, row.tenant) for row in found if row.shared_run is None]
        runs = {row.shared_run for row in found if row.shared_run is not None}
        shared = await self._stored(NOT_RECORDED, events.c.shared_run.in_(runs)) if runs else []
        return shared + (await self._stored(NOT_RECORDED, rows_with(ID, own)) if own else [])

    async def _stored(self, *where: ColumnElement[bool] | TextClause) -> list[StoredEvent]:
        query = select(*KEY, *STORED).join_from(events, event_inputs, OF_EVENT).where(*where).order_by(*KEY)
        async with self._database.read() as session:
            rows: Iterable[Any] = await session.execute(query)
            return [StoredEvent(EventKey(*row[:3]), *row[3:]) for row in rows]

    async def count_overdue(self) -> dict[str, int]:
        """Return how many events of each tenant were accepted some seconds ago, and have no record of a run."""
        is_old = events.c.accepted_at < utc_now() - OVERDUE
        # With a limit, SQLite reads the partial index, not one that has all tenants in their order.
        overdue = select(events.c.tenant).where(NOT_RECORDED, is_old).limit(MAX_COUNTED).subquery()
        async with self._database.read() as session:
            rows = await session.execute(select(overdue.c.tenant, func.count()).group_by(overdue.c.tenant))
            return {tenant: count for tenant, count in rows}  # noqa: C416 - mypy does not know rows as pairs

    async def note_run(self, keys: Sequence[EventKey], run_id: str) -> None:
        """Note that these events have a run, which has recorded nothing yet."""
        async with self._database.write() as session:
            is_event = rows_with(ID, [(key.event_id, key.tenant) for key in keys])
            await session.execute(update(events).where(is_event, events.c.run_id == "").values(run_id=run_id))
