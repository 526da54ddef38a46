"""The rows of events: accepted by the API, written by each step of a run.

What comes while a transaction is under way goes together into the next one: one wait for the disk serves all.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import bindparam, or_, select, update
from sqlalchemy.exc import OperationalError, ProgrammingError

from hookkeeper import metrics
from hookkeeper.messages.event import Acknowledgement, Delivery, DeliveryStatus
from hookkeeper.messages.run_report import RunReport
from hookkeeper.registry.database import (
    CALL_TIMEOUT,
    Database,
    RegistryUnavailable,
    errors_translated,
    is_outage,
    rows_with,
)
from hookkeeper.registry.direct_reads import CompiledRead, DirectReads
from hookkeeper.registry.encryption import keyring_of
from hookkeeper.registry.index.event_inputs import EventInputs
from hookkeeper.registry.index.lines import InLine, Lines
from hookkeeper.registry.index.merge import EventKey, IndexChanges, key_of
from hookkeeper.registry.index.tables import deliveries, events
from hookkeeper.registry.index.writing import (
    ACCEPTED_EVENT,
    Acceptance,
    AcceptedEvent,
    Key,
    accepted_event,
    acknowledge,
    move,
    remove,
    write,
)
from hookkeeper.registry.models import Installation
from hookkeeper.registry.transactions import Transactions

MAX_PER_TRANSACTION = 500
"""Deliveries and events. With more, the transaction would hold other writers up."""

MAX_NAMED_TENANTS = 10
"""Tenants with an event of the same id that are read."""


class StoredDelivery(NamedTuple):
    """A delivery as its row has it."""

    part: int
    """The number of the run that has it."""
    id: str
    status: DeliveryStatus
    state: str | None
    """A `Delivery` as JSON; None until a run has recorded it."""

    def of(self, given: Delivery) -> Delivery:
        """Return the delivery; `given` is what was accepted."""
        return Delivery.model_validate_json(self.state) if self.state else given


class _Answer(NamedTuple):
    earlier: dict[Key, AcceptedEvent]
    behind: list[InLine]


class _Request(NamedTuple):
    new: Sequence[Acceptance]
    reports: Sequence[RunReport]
    found: Sequence[Acceptance]
    answer: asyncio.Future[_Answer]

    @property
    def size(self) -> int:
        reports = [*(event.report for event in self.new), *self.reports]
        return len(reports) + sum(len(report.deliveries) for report in reports)


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
        by_key = select(*(events.c[name] for name in ACCEPTED_EVENT)).where(
            events.c.id == bindparam("event"), events.c.tenant == bindparam("tenant")
        )
        self._by_key = CompiledRead(by_key, reads.dialect)

    async def close(self) -> None:
        """Return when the transaction that is under way has ended."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def installation(self) -> Installation | None:
        """Return what the registry with these rows is; None if it has no id: it has no tables, or old ones."""
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

    async def accept(self, new: Sequence[Acceptance]) -> dict[Key, AcceptedEvent]:
        """Add the rows of different events; return those of the events whose ids were accepted before."""
        return (await self._request(new, ())).earlier

    async def write(self, reports: Sequence[RunReport], found: Sequence[Acceptance] = ()) -> list[InLine]:
        """Merge reports of runs into the rows; return the deliveries whose turn may have come by that.

        A report that was written before changes nothing. `found`: what runs have of events besides their reports.
        """
        return (await self._request((), reports, found)).behind

    async def move(self, keys: Iterable[Key], from_run: str, to_run: str | None, run_id: str = "") -> set[Key]:
        """Let the rows of these events that name the shared run `from_run` name another run; return those events.

        Without its `run_id`, the rows get that with the first record of the run.
        """
        listed = sorted(keys)
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

    async def find(self, tenant: str, event_id: str) -> AcceptedEvent | None:
        """Return the event with this id."""
        rows = await self._reads.fetch(self._by_key, tenant, {"tenant": tenant, "event": event_id})
        return AcceptedEvent(*rows[0]) if rows else None

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

    async def part_with(self, event: AcceptedEvent, delivery: str) -> int | None:
        """Return the number of the run that has a delivery of the event; None if there is no such delivery."""
        c = deliveries.c
        is_of_event = c.accepted_at == event.accepted_at, c.tenant == event.tenant, c.event_id == event.event_id
        async with self._database.read() as session:
            part: int | None = await session.scalar(select(c.part).where(*is_of_event, c.id == delivery))
            return part

    async def deliveries(self, event: EventKey) -> list[StoredDelivery]:
        """Return the deliveries of an event as their rows have them."""
        c = deliveries.c
        is_of_event = c.accepted_at == event.accepted_at, c.tenant == event.tenant, c.event_id == event.event_id
        async with self._database.read() as session:
            rows = await session.execute(select(c.part, c.id, c.status, c.state).where(*is_of_event))
            return [StoredDelivery(*row) for row in rows]

    async def in_other_runs(self, keys: Iterable[Key], shared_run: str) -> dict[Key, AcceptedEvent]:
        """Return those of the events whose rows name another run than this shared one."""
        is_event = rows_with((events.c.id, events.c.tenant), [key[::-1] for key in sorted(keys)])
        is_elsewhere = or_(events.c.shared_run.is_(None), events.c.shared_run != shared_run)
        async with self._database.read() as session:
            rows = await session.execute(select(events).where(is_event, is_elsewhere))
            return {(row["tenant"], row["id"]): accepted_event(dict(row)) for row in rows.mappings()}

    async def _request(
        self, new: Sequence[Acceptance], reports: Sequence[RunReport], found: Sequence[Acceptance] = ()
    ) -> _Answer:
        request = _Request(new, reports, found, asyncio.get_running_loop().create_future())
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
        new = [event for request in requests for event in request.new]
        reports = [report for request in requests for report in request.reports]
        found = [event for request in requests for event in request.found]
        try:
            written = await self._transactions.run(lambda: write(new, reports, found, self._keyring))
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
            earlier = {event.key: row for event, row in zip(request.new, answers) if row is not None}  # noqa: B905
            keys = {key_of(report) for report in request.reports}
            if not request.answer.done():
                request.answer.set_result(_Answer(earlier, [behind for key, behind in written.behind if key in keys]))


def _observe(changes: IndexChanges) -> None:
    for delay in changes.first_attempts:
        metrics.FIRST_ATTEMPT_DELAY.labels(delay.channel).observe(delay.seconds)
    for delay in changes.successes:
        metrics.SUCCESS_DELAY.labels(delay.channel).observe(delay.seconds)
