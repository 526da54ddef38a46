"""The rows of events: accepted by the API, written by each step of a run.

What comes while a transaction is under way goes together into the next one: one wait for the disk serves all.
"""

import asyncio
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, TextClause, bindparam, or_, select, tuple_, update
from sqlalchemy.exc import OperationalError, ProgrammingError

from hookkeeper import metrics
from hookkeeper.messages.event import OPEN, Acknowledgement, EventInput, EventState, event_state
from hookkeeper.messages.rows import DeliveryRow, EventKey, EventRow
from hookkeeper.messages.run_report import RunReport
from hookkeeper.registry.events.event_inputs import EventInputs
from hookkeeper.registry.events.lines import Lines
from hookkeeper.registry.events.merge import IndexChanges
from hookkeeper.registry.events.tables import EVENT_KEY, NOT_SUCCEEDED, OF_EVENT, deliveries, events
from hookkeeper.registry.events.writing import Name, acknowledge, move, remove, write
from hookkeeper.registry.models import Installation
from hookkeeper.registry.storage.compiled import Compiled
from hookkeeper.registry.storage.database import (
    CALL_TIMEOUT,
    Database,
    RegistryUnavailable,
    errors_translated,
    is_outage,
    rows_with,
)
from hookkeeper.registry.storage.direct_reads import DirectReads
from hookkeeper.registry.storage.encryption import keyring_of
from hookkeeper.registry.storage.transactions import Transactions
from hookkeeper.state_size import truncated

MAX_PER_TRANSACTION = 500
"""Deliveries and events. With more, the transaction would hold other writers up."""
BYTES_OF_ROW = 2048
"""Bytes of events' data that count as one row of a transaction."""

MAX_NAMED_TENANTS = 10
"""Tenants with an event of the same id that are read."""
MAX_DELIVERIES_BYTES = 448 * 1024
"""Bytes of an event's deliveries that are read whole."""
IDS_PER_QUERY = 500


@dataclass(frozen=True, slots=True)
class EventSnapshot:
    """An event: its row, what was accepted, and its state."""

    row: EventRow
    event: EventInput
    state: EventState
    duplicate: bool = False
    """There was an event with the same content when it was posted."""

    @property
    def acknowledged(self) -> Acknowledgement | None:
        return Acknowledgement.of(self.row.acknowledged)


class _Request(NamedTuple):
    new: Sequence[RunReport]
    reports: Sequence[RunReport]
    answer: asyncio.Future[tuple[dict[Name, EventRow], list[DeliveryRow]]]
    """The events that were accepted before, and the deliveries behind those that have left their lines."""

    @property
    def size(self) -> int:
        reports = [*self.new, *self.reports]
        inputs = sum(len(report.event.input) for report in self.new)
        return len(reports) + sum(len(report.deliveries) for report in reports) + inputs // BYTES_OF_ROW


class EventRows:
    """Methods raise RegistryUnavailable; a write may have taken effect all the same, and can be repeated."""

    def __init__(self, database: Database, reads: DirectReads, transactions: Transactions) -> None:
        self._database = database
        self._reads = reads
        self._transactions = transactions
        self._keyring = keyring_of(database.dialect)
        self.lines = Lines(database, reads, transactions)
        self.inputs = EventInputs(database)
        self._waiting: list[_Request] = []
        self._task: asyncio.Task[None] | None = None
        """Writes what waits."""
        by_name = select(*OF_EVENT).where(events.c.id == bindparam("event"), events.c.tenant == bindparam("tenant"))
        self._by_name = Compiled(by_name, reads.dialect)

    async def close(self) -> None:
        """Return when the transaction that is under way has ended."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def installation(self) -> Installation | None:
        """Return what the registry with these rows is; None if it has no tables."""
        async with self._database.read() as session:
            try:
                return await session.scalar(select(Installation))
            except (OperationalError, ProgrammingError) as error:
                if is_outage(error):
                    raise
                return None

    async def keep_namespace(self, namespace: str) -> None:
        """Keep the name of the namespace that the registry was joined to."""
        async with self._database.write() as session:
            await session.execute(update(Installation).values(namespace=namespace))

    async def accept(self, new: Sequence[RunReport]) -> dict[Name, EventRow]:
        """Add the rows of different events; return those of the events whose ids were accepted before."""
        earlier, _ = await self._request(new, ())
        return earlier

    async def write(self, reports: Sequence[RunReport]) -> list[DeliveryRow]:
        """Merge reports of runs into the rows; return the deliveries whose turn may have come by that.

        A report that was written before changes nothing.
        """
        _, behind = await self._request((), reports)
        return behind

    async def move(self, names: Iterable[Name], from_run: str, to_run: str | None, run_id: str = "") -> set[Name]:
        """Let the rows of these events that name the shared run `from_run` name another run; return those events.

        Without its `run_id`, the rows get that with the first record of the run.
        """
        listed = sorted(names)
        return await self._transactions.run(lambda: move(listed, from_run, to_run, run_id))

    async def remove(self, tenant: str, event_id: str) -> None:
        """Remove the rows of an event, which is in no run."""
        await self._transactions.run(lambda: remove(tenant, event_id))

    async def acknowledge(
        self, tenant: str, event_ids: Sequence[str], acknowledged: Acknowledgement | None
    ) -> dict[str, bool]:
        """Acknowledge the events that need attention, or undo it; return whether those that have rows are as wanted."""
        text = acknowledged.model_dump_json() if acknowledged else None
        return await self._transactions.run(lambda: acknowledge(tenant, event_ids, text))

    async def find(self, tenant: str, event_id: str) -> EventRow | None:
        """Return the event with this id."""
        rows = await self._reads.fetch(self._by_name, tenant, {"tenant": tenant, "event": event_id})
        return EventRow(*rows[0]) if rows else None

    async def read(self, tenant: str, event_id: str, part: int | None = None) -> EventSnapshot | None:
        """Return an event, or a part of its deliveries, as the latest step has recorded it; None if it has no rows."""
        if (row := await self.inputs.find(tenant, event_id)) is None:
            return None
        event = row.event
        rows = {delivery.id: delivery for delivery in row.deliveries if part in (None, delivery.part)}
        deliveries = tuple(rows[given.id].delivery(given) for given in event.deliveries if given.id in rows)
        if sum(len(delivery.state or "") for delivery in rows.values()) > MAX_DELIVERIES_BYTES:
            deliveries = truncated(deliveries)
        state = event_state(
            event,
            deliveries,
            deliver_at=row.deliver_at,
            scheduled=row.status == "scheduled",
            finished_at=row.finished_at,
        )
        return EventSnapshot(row, event, state)

    async def with_ids(self, event_ids: Collection[str]) -> list[EventRow]:
        """Return the events with these ids, of all tenants."""
        listed = sorted(event_ids)
        found: list[EventRow] = []
        for n in range(0, len(listed), IDS_PER_QUERY):
            found += await self._rows(events.c.id.in_(listed[n : n + IDS_PER_QUERY]))
        return found

    async def silent(self, before: datetime, after: EventKey | None, limit: int) -> list[EventRow]:
        """Return the oldest open events after this one of which nothing was written since a time."""
        is_open = events.c.status.in_(OPEN), events.c.finished_at.is_(None), NOT_SUCCEEDED
        is_silent = events.c.accepted_at < before, events.c.as_of < before
        is_after = [] if after is None else [tuple_(*EVENT_KEY) > after]
        return await self._rows(*is_open, *is_silent, *is_after, limit=limit)

    async def in_other_runs(self, names: Collection[Name], shared_run: str) -> dict[Name, EventRow]:
        """Return those of the events whose rows name another run than this shared one."""
        is_event = rows_with((events.c.id, events.c.tenant), [name[::-1] for name in sorted(names)])
        is_elsewhere = or_(events.c.shared_run.is_(None), events.c.shared_run != shared_run)
        return {row.name: row for row in await self._rows(is_event, is_elsewhere)}

    async def _rows(self, *where: ColumnElement[bool] | TextClause, limit: int | None = None) -> list[EventRow]:
        query = select(*OF_EVENT).where(*where).order_by(*EVENT_KEY).limit(limit)
        async with self._database.read() as session:
            return [EventRow(*row) for row in await session.execute(query)]

    async def has_accepted(self, tenant: str, event_id: str) -> bool:
        """Return whether the event was accepted in this registry, or found by `hookkeeper reindex`. Steps of its run
        add a row to any registry, without the size of its data.
        """
        is_event = events.c.id == event_id, events.c.tenant == tenant, events.c.size.is_not(None)
        async with self._database.read() as session:
            return await session.scalar(select(events.c.id).where(*is_event)) is not None

    async def tenants(self, event_id: str) -> list[str]:
        """Return tenants that have an event with this id, at most `MAX_NAMED_TENANTS`."""
        c = events.c
        async with self._database.read() as session:
            query = select(c.tenant).where(c.id == event_id).order_by(c.tenant).limit(MAX_NAMED_TENANTS)
            return [*await session.scalars(query)]

    async def part_with(self, event: EventRow, delivery: str) -> int | None:
        """Return the number of the run that has a delivery of the event; None if there is no such delivery."""
        is_of_event = rows_with([deliveries.c[name] for name in EventKey._fields], [event.key])
        async with self._database.read() as session:
            return await session.scalar(select(deliveries.c.part).where(is_of_event, deliveries.c.id == delivery))

    async def _request(
        self, new: Sequence[RunReport], reports: Sequence[RunReport]
    ) -> tuple[dict[Name, EventRow], list[DeliveryRow]]:
        request = _Request(new, reports, asyncio.get_running_loop().create_future())
        self._waiting.append(request)
        if self._task is None:
            self._task = asyncio.create_task(self._write_all())
        async with errors_translated(CALL_TIMEOUT):
            return await request.answer

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                if requests := self._next_requests():
                    await self._answer(requests)
        finally:
            self._task = None

    def _next_requests(self) -> list[_Request]:
        """Take the oldest requests: at least one, and as many as fit into a transaction."""
        size = taken = 0
        for request in self._waiting:
            size += request.size
            if taken and size > MAX_PER_TRANSACTION:
                break
            taken += 1
        requests, self._waiting = self._waiting[:taken], self._waiting[taken:]
        return [request for request in requests if not request.answer.done()]

    async def _answer(self, requests: Sequence[_Request]) -> None:
        """Write what the requests are about. If one cannot be written, the others are."""
        new = [report for request in requests for report in request.new]
        reports = [report for request in requests for report in request.reports]
        try:
            written = await self._transactions.run(lambda: write(new, reports, self._keyring))
        except Exception as error:  # noqa: BLE001 - each request raises it
            if len(requests) > 1 and not isinstance(error, RegistryUnavailable):
                for request in requests:
                    await self._answer([request])
                return
            for request in requests:
                if not request.answer.done():
                    request.answer.set_exception(error)
            return
        _observe(written.changes)
        answers = iter(written.earlier)
        for request in requests:
            earlier = {row.name: row for _, row in zip(request.new, answers) if row is not None}  # noqa: B905
            keys = {report.key for report in request.reports}
            if not request.answer.done():
                request.answer.set_result((earlier, [behind for key, behind in written.behind if key in keys]))


def _observe(changes: IndexChanges) -> None:
    for delay in changes.first_attempts:
        metrics.FIRST_ATTEMPT_DELAY.labels(delay.channel).observe(delay.seconds)
    for delay in changes.successes:
        metrics.SUCCESS_DELAY.labels(delay.channel).observe(delay.seconds)
