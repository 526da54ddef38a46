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
from hookkeeper.messages.event import EventState
from hookkeeper.messages.shared_run import SharedCommand
from hookkeeper.registry.database import RegistryUnavailable
from hookkeeper.registry.event_rows import EventRows
from hookkeeper.registry.index.compared_rows import OPEN_STATUSES
from hookkeeper.temporal.events.event_read import EventReader
from hookkeeper.temporal.events.event_start import start_after_shared_run, start_again, start_sibling
from hookkeeper.temporal.events.own_runs import read
from hookkeeper.temporal.events.run_state import find_run, handle_of
from hookkeeper.temporal.events.shared_runs import InSharedRun
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


class EventCommands:
    """Commands to all events. One for the process."""

    def __init__(
        self,
        client: Client,
        task_queue: str,
        reader: EventReader,
        rows: EventRows,
        start_missing: Callable[[str, str], Awaitable[bool]],
    ) -> None:
        self._client = client
        self._task_queue = task_queue
        self._reader = reader
        self._siblings = reader.siblings
        self._rows = rows
        self._start_missing = start_missing

    async def send(self, tenant: str, event_id: str, command: Command, delivery: str | None) -> None:
        """Apply a command. A retry or redelivery of a closed run starts a further run with the same workflow id."""

        async def send(part: int, parts: int) -> bool:
            return await self._send(tenant, event_id, part, parts, command, delivery)

        await self._send_to_runs(tenant, event_id, delivery, send)

    async def reschedule(self, tenant: str, event_id: str, deliver_at: datetime) -> None:
        """Move a scheduled event to another time."""

        async def send(part: int, parts: int) -> bool:
            run = await self._run(tenant, event_id, part, parts)
            if run is None:
                if await self._start_missing(tenant, event_id):
                    return False
                await self._check_not_erased(tenant, event_id)
            if run is None or isinstance(run, InSharedRun) or run.status != WorkflowExecutionStatus.RUNNING:
                raise Refused("the event is not scheduled: its delivery is over")
            return await _update(handle_of(self._client, run), temporal_names.RESCHEDULE, deliver_at)

        await self._send_to_runs(tenant, event_id, None, send)

    async def _send_to_runs(
        self, tenant: str, event_id: str, delivery: str | None, send: Callable[[int, int], Awaitable[bool]]
    ) -> None:
        """Call `send` with the number of each run of the event, or of the one that has the delivery, and with that of
        all; call it again while it returns False. Raises `Refused` if all do.
        """

        refusals: list[Refused] = []

        async def send_to(part: int) -> None:
            try:
                while True:
                    if await send(part, parts):
                        return
                    await asyncio.sleep(RETRY_INTERVAL)
            except Refused as refusal:
                refusals.append(refusal)

        async with translated_errors():
            parts = await self._reader.count_runs(tenant, event_id)
            concerned: Sequence[int] = range(1, parts + 1)
            if parts > 1 and delivery is not None:
                part = await self._siblings.part_with(tenant, event_id, delivery)
                if part is None:
                    raise UnknownDelivery(f"this event has no delivery {delivery}")
                concerned = [part]
            await read_all(concerned, send_to)
        if len(refusals) == len(concerned):
            raise refusals[0]

    async def _send(
        self, tenant: str, event_id: str, part: int, parts: int, command: Command, delivery: str | None
    ) -> bool:
        """Send a command to a run as it is now; False if it changed meanwhile."""
        found = await self._run(tenant, event_id, part, parts)
        if found is None:
            return await self._send_without_run(tenant, event_id, part, command, delivery)
        if isinstance(found, InSharedRun):
            return await self._send_to_shared(found, command, delivery)
        if found.status == WorkflowExecutionStatus.RUNNING:
            return await _update(handle_of(self._client, found), command, delivery)
        if command not in AFTER_END:
            snapshot = await read(self._client, found)
            raise Refused(f"cannot {command}: the event has already {_ended(snapshot.state)}")
        await self._check_not_erased(tenant, event_id)
        return await start_again(self._client, self._task_queue, found, command, delivery)

    async def _send_without_run(
        self, tenant: str, event_id: str, part: int, command: Command, delivery: str | None
    ) -> bool:
        """Send a command to a run that Temporal does not have; False if it is open, and is started from its rows now.

        Raises UnknownEvent.
        """
        snapshot = await self._reader.from_rows(tenant, event_id, part)
        if snapshot is None:
            raise UnknownEvent(NOT_FOUND_MESSAGES[UnknownEvent])
        if snapshot.state.status in OPEN_STATUSES:
            await self._start_missing(tenant, event_id)
            return False
        if command not in AFTER_END:
            raise Refused(f"cannot {command}: the event has already {_ended(snapshot.state)}")
        return await start_sibling(self._client, self._task_queue, snapshot, part, command, delivery)

    async def _send_to_shared(self, found: InSharedRun, command: Command, delivery: str | None) -> bool:
        """Send a command to an event of a shared run; False if it has a run of its own by now.

        The event's row leads to the further run at once. If the registry is away, that run writes it.
        """
        tenant, event_id = found.state.tenant, found.state.id
        if found.run.is_open:
            sent = SharedCommand(event=found.event.workflow_id, command=command, delivery=delivery)
            return await _update(found.run.handle, temporal_names.COMMAND, sent)
        if command not in AFTER_END:
            raise Refused(f"cannot {command}: the event has already {_ended(found.state)}")
        await self._check_not_erased(tenant, event_id)
        is_sent = await start_after_shared_run(self._client, self._task_queue, found, command, delivery)
        with suppress(RegistryUnavailable):
            await self._rows.move([(tenant, event_id)], found.run.id, None)
        return is_sent

    async def _run(
        self, tenant: str, event_id: str, part: int, parts: int
    ) -> WorkflowExecutionDescription | InSharedRun | None:
        """Return the latest run of a part of an event; None if Temporal has none."""
        if parts > 1:
            return await find_run(self._client, ids.run_of(tenant, event_id, part))
        return await self._reader.find(tenant, event_id)

    async def _check_not_erased(self, tenant: str, event_id: str) -> None:
        """Raise UnknownEvent if the event was erased: the server deletes its runs some time later."""
        with suppress(RegistryUnavailable):
            if await self._rows.find(tenant, event_id) is None:
                raise UnknownEvent(NOT_FOUND_MESSAGES[UnknownEvent])


def _ended(state: EventState) -> str:
    return {"succeeded": "succeeded", "failed": "failed"}.get(state.status, "been cancelled")


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
