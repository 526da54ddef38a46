"""Send a command to an event: to its open run, to each of several, to the shared run that has it, or to a further run
that is started for it.

Raises `Refused` and `UnknownDelivery` of `hookkeeper.commands`, as the run does.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from temporalio.client import (
    Client,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowHandle,
    WorkflowUpdateFailedError,
)
from temporalio.exceptions import ApplicationError

from hookkeeper import error_types, ids, temporal_names
from hookkeeper.command_rules import Command
from hookkeeper.commands import Refused, UnknownDelivery
from hookkeeper.messages.event import OPEN, EventInput, event_state
from hookkeeper.messages.rows import EventRow
from hookkeeper.messages.run_report import RunReport, row_of
from hookkeeper.messages.shared_run import SharedCommand
from hookkeeper.registry.events.rows import EventRows, EventSnapshot
from hookkeeper.registry.storage.database import RegistryUnavailable
from hookkeeper.temporal.events.event_runs import EventRuns
from hookkeeper.temporal.events.event_start import reopened_event, start_again
from hookkeeper.temporal.events.run_state import handle_of
from hookkeeper.temporal.server.error_translation import (
    NOT_FOUND_MESSAGES,
    UnknownEvent,
    not_found_suppressed,
    translated_errors,
)
from hookkeeper.temporal.server.visibility import read_all

RETRY_INTERVAL = 0.05
"""Seconds after which a command is sent again, because the run closed or another was started meanwhile."""
AFTER_END = ("retry", "redeliver")
"""Commands that start a further run of an event that is over."""
ENDED = {
    "succeeded": "has already succeeded",
    "failed": "has already failed",
    "cancelled": "has already been cancelled",
    "no_webhook": "has no webhook",
}
"""Why a command to an event that is over is refused."""


class EventCommands:
    """Commands to all events. One for the process. Methods raise RegistryUnavailable."""

    def __init__(self, client: Client, task_queue: str, rows: EventRows, runs: EventRuns) -> None:
        self._client = client
        self._task_queue = task_queue
        self._rows = rows
        self._runs = runs

    async def send(self, tenant: str, event_id: str, command: Command, delivery: str | None) -> None:
        """Apply a command. A retry or redelivery of a closed run starts a further run with the same workflow id."""

        async def send(row: EventRow, part: int) -> bool:
            run = await self._runs.find(row, part)
            if run is None or run.status != WorkflowExecutionStatus.RUNNING:
                return await self._send_without_open_run(row, part, run, command, delivery)
            handle = handle_of(self._client, run)
            if ids.is_shared_run(run.id):
                to = SharedCommand(event=ids.workflow_id(*row.name), command=command, delivery=delivery)
                return await _update(handle, temporal_names.COMMAND, to)
            return await _update(handle, command, delivery)

        await self._send_to_runs(tenant, event_id, delivery, send)

    async def reschedule(self, tenant: str, event_id: str, deliver_at: datetime) -> None:
        """Move a scheduled event to another time."""

        async def send(row: EventRow, part: int) -> bool:
            run = await self._runs.find(row, part)
            is_open = run is not None and run.status == WorkflowExecutionStatus.RUNNING
            if run is not None and is_open and not ids.is_shared_run(run.id):
                return await _update(handle_of(self._client, run), temporal_names.RESCHEDULE, deliver_at)
            if not is_open and (await self._read(row, part)).state.status in OPEN:
                await self._runs.repair(*row.name)
                return False
            raise Refused("the event is not scheduled: its delivery is over")

        await self._send_to_runs(tenant, event_id, None, send)

    async def _send_to_runs(
        self,
        tenant: str,
        event_id: str,
        delivery: str | None,
        send: Callable[[EventRow, int], Awaitable[bool]],
    ) -> None:
        """Call `send` with the event's row and the number of each of its runs, or of the one that has the delivery;
        call it again while it returns False. Raises `Refused` if all do, and UnknownEvent.
        """

        refusals: list[Refused] = []

        async def send_to(part: int) -> None:
            try:
                while True:
                    if await send(await self._row(tenant, event_id), part):
                        return
                    await asyncio.sleep(RETRY_INTERVAL)
            except Refused as refusal:
                refusals.append(refusal)

        async with translated_errors():
            row = await self._row(tenant, event_id)
            concerned: Sequence[int] = range(1, row.parts + 1)
            if row.parts > 1 and delivery is not None:
                part = await self._rows.part_with(row, delivery)
                if part is None:
                    raise UnknownDelivery(f"this event has no delivery {delivery}")
                concerned = [part]
            await read_all(concerned, send_to)
        if len(refusals) == len(concerned):
            raise refusals[0]

    async def _send_without_open_run(
        self,
        row: EventRow,
        part: int,
        run: WorkflowExecutionDescription | None,
        command: Command,
        delivery: str | None,
    ) -> bool:
        """Send a command to deliveries whose run is over, or lost; False if that has to be repeated.

        An open event whose run is lost is started from its rows first, and one whose run was terminated is ended.
        """
        snapshot = await self._read(row, part)
        if snapshot.state.status in OPEN:
            await self._runs.repair(*row.name)
            return False
        if command not in AFTER_END:
            raise Refused(f"cannot {command}: the event {ENDED[snapshot.state.status]}")
        event = reopened_event(snapshot, command, delivery)
        run_id = await start_again(self._client, self._task_queue, event, part, run)
        if run_id is None:
            return False
        await self._reopen(event, snapshot, part, run_id)
        return True

    async def _reopen(self, event: EventInput, before: EventSnapshot, part: int, run_id: str) -> None:
        """Let the rows have the further run, and show what it will do. It records the same itself, maybe later."""
        state = event_state(event, event.deliveries, deliver_at=event.deliver_at)
        row = row_of(state, before.row.as_of, run_id, event)._replace(parts=event.parts)
        report = RunReport(row, state.deliveries, part=part, deliveries_before=event.deliveries)
        with suppress(RegistryUnavailable):
            await self._rows.write([report])

    async def _row(self, tenant: str, event_id: str) -> EventRow:
        if row := await self._rows.find(tenant, event_id):
            return row
        raise UnknownEvent(NOT_FOUND_MESSAGES[UnknownEvent])

    async def _read(self, row: EventRow, part: int) -> EventSnapshot:
        if snapshot := await self._rows.read(*row.name, part):
            return snapshot
        raise UnknownEvent(NOT_FOUND_MESSAGES[UnknownEvent])


async def _update(handle: WorkflowHandle[Any, Any], name: str, argument: object) -> bool:
    """Send an update to a run; False if the run has closed or is closing. Raises what the run's validator does."""
    try:
        with not_found_suppressed():
            await handle.execute_update(name, argument)
            return True
    except WorkflowUpdateFailedError as error:
        if not isinstance(error.cause, ApplicationError):
            raise
        if error.cause.type == error_types.REFUSED:
            raise Refused(error.cause.message) from error
        if error.cause.type == error_types.UNKNOWN_DELIVERY:
            raise UnknownDelivery(error.cause.message) from error
        if error.cause.type != error_types.RUN_IS_CLOSING:
            raise
    return False
