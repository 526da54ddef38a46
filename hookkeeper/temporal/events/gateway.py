"""The client of events: start and read. Commands, erasure, schedules, readiness and so on have a client each.

Raises the errors of `hookkeeper.temporal.server.error_translation`, and those of `hookkeeper.commands`.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.converter import PayloadCodec
from temporalio.exceptions import WorkflowAlreadyStartedError

from hookkeeper import ids, metrics, temporal_names
from hookkeeper.commands import Refused
from hookkeeper.messages.event import DeliveryReceipt, EventInput, Receipt
from hookkeeper.messages.shared_run import SharedRunInput
from hookkeeper.partition import parts_of
from hookkeeper.registry.database import RegistryUnavailable
from hookkeeper.registry.event_rows import EventRows
from hookkeeper.registry.index.event_inputs import StoredEvent
from hookkeeper.temporal.bulk.incidents import Incidents
from hookkeeper.temporal.bulk.recoveries import Recoveries
from hookkeeper.temporal.bulk.releases import Releases
from hookkeeper.temporal.events import run_state
from hookkeeper.temporal.events.erasure import Erasure
from hookkeeper.temporal.events.event_commands import EventCommands
from hookkeeper.temporal.events.event_read import EventReader
from hookkeeper.temporal.events.event_start import start_run
from hookkeeper.temporal.events.lines import LineCalls
from hookkeeper.temporal.events.own_runs import EventSnapshot
from hookkeeper.temporal.events.shared_runs import start_shared_run
from hookkeeper.temporal.schedules.client import Schedules
from hookkeeper.temporal.server.error_translation import (
    NOT_FOUND_MESSAGES,
    Conflict,
    Unavailable,
    UnknownEvent,
    not_found_suppressed,
    translated_errors,
)
from hookkeeper.temporal.server.readiness import Readiness

DELETION_INTERVAL = 0.05
"""Seconds until the next start of a run whose id is taken by one that the server has just deleted."""


class Gateway:
    """Starts and reads events, and has the clients of everything else. One for the process."""

    def __init__(self, client: Client, task_queue: str, rows: EventRows) -> None:
        self._client = client
        self._task_queue = task_queue
        self._rows = rows
        self.readiness = Readiness(client, task_queue, rows)
        self.reader = EventReader(client, task_queue, rows)
        self.commands = EventCommands(client, task_queue, self.reader, rows, self.start_missing)
        self.erasure = Erasure(client, task_queue, self.reader, rows, self.start_missing)
        self.lines = LineCalls(client, rows.lines)
        self.schedules = Schedules(client, task_queue)
        self.releases = Releases(client, task_queue)
        self.incidents = Incidents(client, task_queue)
        self.recoveries = Recoveries(client, task_queue)

    @property
    def client(self) -> Client:
        """The connection of this process."""
        return self._client

    @property
    def task_queue(self) -> str:
        return self._task_queue

    @property
    def namespace(self) -> str:
        return self._client.namespace

    @property
    def payload_codec(self) -> PayloadCodec | None:
        """The codec that encrypts all payloads; None without encryption."""
        return self._client.data_converter.payload_codec

    async def start(self, event: EventInput) -> str:
        """Start the run of an event, unless it has one; return the run's id once Temporal has stored it."""
        while True:
            with suppress(WorkflowAlreadyStartedError), self.readiness.noting_start():
                async with translated_errors(not_found=Unavailable):
                    return await start_run(self._client, self._task_queue, event)
            if run_id := await self._of_own_id(event):
                return run_id
            await asyncio.sleep(DELETION_INTERVAL)

    async def start_shared(self, workflow_id: str, events: Sequence[EventInput]) -> str | None:
        """Start a shared run, and return its run id once Temporal has stored it; None if a run with this id exists.

        Raises `Unavailable`.
        """
        with self.readiness.noting_start():
            async with translated_errors(not_found=Unavailable):
                return await start_shared_run(
                    self._client, self._task_queue, workflow_id, SharedRunInput(events=tuple(events))
                )

    async def start_stored(self, group: Sequence[StoredEvent]) -> None:
        """Start the run of an event, or the shared run of several, from their rows; note the run there."""
        shared_run = group[0].shared_run
        if shared_run is None:
            run_id: str | None = await self.start(group[0].event)
        elif not (run_id := await self.start_shared(shared_run, [stored.event for stored in group])):
            async with translated_errors():
                found = await run_state.find_run(self._client, shared_run)
            run_id = found.run_id if found else None
        if run_id:
            await self._rows.inputs.note_run([stored.key for stored in group], run_id)

    async def start_missing(self, tenant: str, event_id: str) -> bool:
        """Start those runs of an open event that Temporal does not have, from its rows; return whether it is open."""
        stored = await self._rows.inputs.find(tenant, event_id)
        if stored is None or stored.finished_at is not None:
            return False
        shared_run = stored.shared_run
        if stored.is_unstarted and parts_of(stored.event)[0].parts == 1:
            await self.start_stored(await self._rows.inputs.of_shared_run(shared_run) if shared_run else [stored])
            return True
        async with translated_errors(not_found=Unavailable):
            if not (shared_run and await run_state.find_run(self._client, shared_run)):
                await self._start_again(stored)
        return True

    async def _start_again(self, stored: StoredEvent) -> None:
        """Start the lost runs of an event, which go on as its rows say."""
        _, tenant, event_id = stored.key
        for part in await self.reader.siblings.open_parts(tenant, event_id):
            if (snapshot := await self.reader.from_rows(tenant, event_id, part)) is None:
                return
            event = snapshot.event.model_copy(
                update={
                    "deliveries": snapshot.state.deliveries,
                    "deliver_at": snapshot.state.deliver_at,
                    "parts": parts_of(snapshot.event)[0].parts,
                }
            )
            if event.parts == 1:
                await self.start(event)
            else:
                with suppress(WorkflowAlreadyStartedError):
                    await start_run(self._client, self._task_queue, event, part=part)
        if stored.shared_run:
            await self._rows.move([(tenant, event_id)], stored.shared_run, None)

    async def read(self, tenant: str, event_id: str) -> EventSnapshot:
        """Return an event and its state: from Temporal, or from its rows while it has no run or Temporal is away."""
        try:
            if snapshot := await self.read_runs(tenant, event_id):
                return snapshot
        except Unavailable:
            with suppress(RegistryUnavailable):
                if snapshot := await self.reader.from_rows(tenant, event_id):
                    return snapshot
            raise
        if snapshot := await self.reader.from_rows(tenant, event_id):
            return snapshot
        raise UnknownEvent(NOT_FOUND_MESSAGES[UnknownEvent])

    async def read_runs(self, tenant: str, event_id: str) -> EventSnapshot | None:
        """Return an event and its state as its runs have it; None if there is none."""
        async with translated_errors():
            return await self.reader.read(tenant, event_id)

    async def record_receipt(self, tenant: str, event_id: str, delivery: str, receipt: Receipt) -> bool:
        """Signal a mail provider's receipt to the event's run; False if no run is open."""
        async with translated_errors():
            with not_found_suppressed():
                part = await self.reader.siblings.part_with(tenant, event_id, delivery)
                handle = self._client.get_workflow_handle(ids.run_of(tenant, event_id, part or 1))
                await handle.signal(temporal_names.RECEIPT, DeliveryReceipt(delivery=delivery, receipt=receipt))
                return True
        return False

    async def is_closed_within(self, tenant: str, event_id: str, seconds: float) -> bool:
        """Return whether the event's runs close within the time. One that was deleted is closed. Raises `RPCError`."""
        try:
            async with asyncio.timeout(seconds):
                # The first run closes after it has started the others.
                for part in range(1, await self.reader.count_runs(tenant, event_id) + 1):
                    with not_found_suppressed(), suppress(WorkflowFailureError):
                        await self._client.get_workflow_handle(ids.run_of(tenant, event_id, part)).result()
        except TimeoutError:
            return False
        return True

    async def cancel_if_open(self, tenant: str, event_id: str) -> None:
        """Cancel an event; do nothing if it is closed or was never accepted."""
        with suppress(Refused, UnknownEvent):
            await self.commands.send(tenant, event_id, "cancel", None)

    async def _of_own_id(self, event: EventInput) -> str | None:
        """Return the id of the event's own run; start it apart if an earlier event has its id. None: try again."""
        async with translated_errors(not_found=Unavailable):
            key = event.tenant, event.id, event.accepted_at
            if own := await run_state.find_own_run(self._client, *key):
                return own.run_id
            earlier = await run_state.find_run(self._client, event.workflow_id)
            is_open = earlier is not None and earlier.status == WorkflowExecutionStatus.RUNNING
            if earlier and is_open and await run_state.digest_of(earlier) == event.digest:
                return earlier.run_id
            if earlier and parts_of(event)[0].parts == 1:  # siblings are named after their event: they wait
                with suppress(WorkflowAlreadyStartedError):
                    run_id = await start_run(self._client, self._task_queue, event, apart=True)
                    metrics.ID_CLASHES.inc(is_open)
                    return run_id
        return None


def check_digest(tenant: str, event_id: str, digest: str, accepted: str) -> None:
    """Raise `Conflict` unless an event has the digest of the one that was accepted with its id."""
    if digest != accepted:
        raise Conflict(f"an event with id {event_id} and other content was accepted before for tenant {tenant}")
