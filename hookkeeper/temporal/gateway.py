"""The client of events in Temporal. Commands, erasure, schedules, readiness and so on have a client each.

Raises the errors of `hookkeeper.temporal.server.error_translation`, and those of `hookkeeper.commands`.
"""

import asyncio
from contextlib import suppress

from temporalio.client import Client, WorkflowFailureError
from temporalio.converter import PayloadCodec

from hookkeeper import ids, temporal_names
from hookkeeper.commands import Refused
from hookkeeper.messages.event import DeliveryReceipt, Receipt
from hookkeeper.registry.events.rows import EventRows
from hookkeeper.temporal.bulk.incidents import Incidents
from hookkeeper.temporal.bulk.recoveries import Recoveries
from hookkeeper.temporal.bulk.releases import Releases
from hookkeeper.temporal.events.erasure import Erasure
from hookkeeper.temporal.events.event_commands import EventCommands
from hookkeeper.temporal.events.event_runs import EventRuns
from hookkeeper.temporal.events.lines import LineCalls
from hookkeeper.temporal.server.error_translation import (
    Conflict,
    UnknownEvent,
    not_found_suppressed,
    translated_errors,
)
from hookkeeper.temporal.server.readiness import Readiness


class Gateway:
    """Has the clients of everything in Temporal. One for the process."""

    def __init__(self, client: Client, task_queue: str, rows: EventRows) -> None:
        self._client = client
        self._task_queue = task_queue
        self._rows = rows
        self.readiness = Readiness(client, task_queue, rows)
        self.lines = LineCalls(client, rows.lines)
        self.runs = EventRuns(client, task_queue, rows, self.readiness, self.lines)
        self.commands = EventCommands(client, task_queue, rows, self.runs)
        self.erasure = Erasure(client, task_queue, rows, self.runs)
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

    async def record_receipt(self, tenant: str, event_id: str, delivery: str, receipt: Receipt) -> bool:
        """Signal a mail provider's receipt to the event's run; False if no run is open."""
        row = await self._rows.find(tenant, event_id)
        part = row and await self._rows.part_with(row, delivery)
        async with translated_errors():
            with not_found_suppressed():
                handle = self._client.get_workflow_handle(ids.run_of(tenant, event_id, part or 1))
                await handle.signal(temporal_names.RECEIPT, DeliveryReceipt(delivery=delivery, receipt=receipt))
                return True
        return False

    async def is_closed_within(self, tenant: str, event_id: str, seconds: float) -> bool:
        """Return whether the event's runs close within the time. One that was deleted is closed. Raises `RPCError`."""
        row = await self._rows.find(tenant, event_id)
        try:
            async with asyncio.timeout(seconds):
                # The first run closes after it has started the others.
                for part in range(1, (row.parts if row else 1) + 1):
                    with not_found_suppressed(), suppress(WorkflowFailureError):
                        await self._client.get_workflow_handle(ids.run_of(tenant, event_id, part)).result()
        except TimeoutError:
            return False
        return True

    async def cancel_if_open(self, tenant: str, event_id: str) -> None:
        """Cancel an event; do nothing if it is closed or was never accepted."""
        with suppress(Refused, UnknownEvent):
            await self.commands.send(tenant, event_id, "cancel", None)


def check_digest(tenant: str, event_id: str, digest: str, accepted: str) -> None:
    """Raise `Conflict` unless an event has the digest of the one that was accepted with its id."""
    if digest != accepted:
        raise Conflict(f"an event with id {event_id} and other content was accepted before for tenant {tenant}")
