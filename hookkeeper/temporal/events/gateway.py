"""The client of events: start and read. Commands, erasure, schedules, readiness and so on have a client each.

Raises the errors of `hookkeeper.temporal.server.error_translation`, and those of `hookkeeper.commands`.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.converter import PayloadCodec
from temporalio.exceptions import WorkflowAlreadyStartedError

from hookkeeper import ids, temporal_names
from hookkeeper.commands import Refused
from hookkeeper.messages.event import DeliveryReceipt, EventInput, Receipt
from hookkeeper.messages.shared_run import SharedRunInput
from hookkeeper.registry.database import RegistryUnavailable
from hookkeeper.registry.event_rows import EventRows
from hookkeeper.search_attributes import DELIVER_AT_KEY
from hookkeeper.temporal.bulk.incidents import Incidents
from hookkeeper.temporal.bulk.recoveries import Recoveries
from hookkeeper.temporal.bulk.releases import Releases
from hookkeeper.temporal.events import run_state
from hookkeeper.temporal.events.data_reads import DataReads
from hookkeeper.temporal.events.erasure import Erasure
from hookkeeper.temporal.events.event_commands import EventCommands
from hookkeeper.temporal.events.event_read import EventReader, in_shared_run
from hookkeeper.temporal.events.event_start import start_run
from hookkeeper.temporal.events.lines import LineCalls
from hookkeeper.temporal.events.own_runs import EventSnapshot, read
from hookkeeper.temporal.events.shared_runs import InSharedRun, start_shared_run
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
from hookkeeper.times import utc_now

STARTED_AFTER = timedelta(minutes=1)
"""After this time, an event that was accepted has a run, or its start has failed."""
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
        self.commands = EventCommands(client, task_queue, self.reader, rows)
        self.erasure = Erasure(client, task_queue, self.reader, rows)
        self.data = DataReads(client)
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

    async def start(self, event: EventInput) -> EventSnapshot:
        """Start the run of an event; return once Temporal has stored it.

        The id decides: a second start with the same digest returns the existing run, another digest raises
        `Conflict`.
        """
        while True:
            with suppress(WorkflowAlreadyStartedError), self.readiness.noting_start():
                async with translated_errors(not_found=Unavailable):
                    run_id = await start_run(self._client, self._task_queue, event)
                break
            if known := await self._of_own_id(event):
                return known
            await asyncio.sleep(DELETION_INTERVAL)
        return EventSnapshot(event.workflow_id, run_id, 1, event, run_state.unstarted_state(event))

    async def start_shared(self, workflow_id: str, events: Sequence[EventInput]) -> str | None:
        """Start a shared run, and return its run id once Temporal has stored it; None if a run with this id exists.

        Without events, it blocks its id: a start that is late is refused. Raises `Unavailable` and `RequestTooLarge`.
        """
        with self.readiness.noting_start():
            async with translated_errors(not_found=Unavailable):
                return await start_shared_run(
                    self._client, self._task_queue, workflow_id, SharedRunInput(events=tuple(events))
                )

    async def known(self, tenant: str, event_id: str, digest: str) -> EventSnapshot | None:
        """Return the run of an event that was accepted before, or None; raise `Conflict` if its content differs.

        While the run is open, the state is its first one, which needs no worker. Each step has a time limit, so that
        slow ones succeed.
        """
        async with translated_errors():
            found = await self.reader.find(tenant, event_id, at_once=True)
        if isinstance(found, InSharedRun):
            check_digest(tenant, event_id, digest, found.event.digest)
            return in_shared_run(found, duplicate=True)
        return await self._started(found, tenant, event_id, digest) if found else None

    async def read(self, tenant: str, event_id: str) -> EventSnapshot:
        """Return an event and its state."""
        async with translated_errors():
            if snapshot := await self.reader.read(tenant, event_id):
                return snapshot
            await self._remove_deleted(tenant, event_id)
            raise UnknownEvent(NOT_FOUND_MESSAGES[UnknownEvent])

    async def _remove_deleted(self, tenant: str, event_id: str) -> None:
        """Remove the row of an event whose runs were deleted with Temporal's own tools. A new one may be starting."""
        with suppress(RegistryUnavailable):
            row = await self._rows.find(tenant, event_id)
            if row is not None and row.accepted_at < utc_now() - STARTED_AFTER:
                await self._rows.remove(tenant, event_id)

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

    async def _of_own_id(self, event: EventInput) -> EventSnapshot | None:
        """Return the event's own run, or that of an earlier event whose row is gone; None if there is none."""
        async with translated_errors():
            own = await run_state.find_own_run(self._client, event.tenant, event.id, event.accepted_at, event.digest)
            run = own or await run_state.find_run(self._client, event.workflow_id)
        return await self._started(run, event.tenant, event.id, event.digest) if run else None

    async def _started(
        self, run: WorkflowExecutionDescription, tenant: str, event_id: str, digest: str
    ) -> EventSnapshot | None:
        async with translated_errors():
            check_digest(tenant, event_id, digest, await run_state.digest_of(run))
            with not_found_suppressed():  # deleted meanwhile
                return replace(await self._at_once(run), duplicate=True)
        return None

    async def _at_once(self, run: WorkflowExecutionDescription) -> EventSnapshot:
        """Read a run; while it is open, its first state, which needs no worker."""
        if run.status != WorkflowExecutionStatus.RUNNING:
            return await self.reader.read(*ids.event_of(run.id)) or await read(self._client, run)
        event = await run_state.input_of(self._client, run_state.handle_of(self._client, run), EventInput)
        deliver_at = run.typed_search_attributes.get(DELIVER_AT_KEY)
        scheduled = deliver_at is not None and deliver_at > utc_now()
        state = run_state.initial_state(event, scheduled=scheduled)
        return EventSnapshot(run.id, run.run_id, await run_state.number_of(run), event, state)


def check_digest(tenant: str, event_id: str, digest: str, accepted: str) -> None:
    """Raise `Conflict` unless an event has the digest of the one that was accepted with its id."""
    if digest != accepted:
        raise Conflict(f"an event with id {event_id} and other content was accepted before for tenant {tenant}")
