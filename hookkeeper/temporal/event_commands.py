"""Send a command to an event: to its open run, to each of several, to the shared run that has it, or to a further run
that is started for it.

Raises `Refused` and `UnknownDelivery` of `hookkeeper.commands`, as the run does.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from hookkeeper import error_types, ids, temporal_names
from hookkeeper.command_rules import Command
from hookkeeper.commands import Refused, UnknownDelivery
from hookkeeper.messages.event import EventState
from hookkeeper.messages.shared_run import SharedCommand, SharedEvent
from hookkeeper.registry.database import RegistryUnavailable
from hookkeeper.registry.event_rows import EventRows
from hookkeeper.temporal import event_read
from hookkeeper.temporal.error_translation import (
    NOT_FOUND_MESSAGES,
    UnknownEvent,
    not_found_suppressed,
    translated_errors,
)
from hookkeeper.temporal.event_read import Siblings
from hookkeeper.temporal.event_start import start_after_shared_run, start_again, start_sibling
from hookkeeper.temporal.run_state import find_run, handle_of
from hookkeeper.temporal.shared_read import SharedRun, state_of
from hookkeeper.temporal.shared_runs import SharedRuns
from hookkeeper.temporal.visibility import read_all

RETRY_INTERVAL = 0.05
"""Seconds after which a command is sent again, because the run closed or another was started meanwhile."""
AFTER_END = ("retry", "redeliver")
"""Commands that start a further run of an event that is over."""


class EventCommands:
    """Commands to all events. One for the process."""

    def __init__(
        self, client: Client, task_queue: str, shared_runs: SharedRuns, siblings: Siblings, rows: EventRows
    ) -> None:
        self._client = client
        self._task_queue = task_queue
        self._shared_runs = shared_runs
        self._siblings = siblings
        self._rows = rows

    async def send(self, tenant: str, event_id: str, command: Command, delivery: str | None) -> None:
        """Apply a command. A retry or redelivery of a closed run starts a further run with the same workflow id."""

        async def send(part: int, parts: int) -> bool:
            return await self._send(tenant, event_id, part, parts, command, delivery)

        await self._send_to_runs(tenant, event_id, delivery, send)

    async def reschedule(self, tenant: str, event_id: str, deliver_at: datetime) -> None:
        """Move a scheduled event to another time."""

        async def send(part: int, parts: int) -> bool:
            run = await find_run(self._client, ids.run_of(tenant, event_id, part))
            if run is None and parts == 1:
                await self._shared_run(tenant, event_id)
            if run is None and parts > 1 and not await self._siblings.read_without_run(tenant, event_id, part, parts):
                return False
            if run is None or run.status != WorkflowExecutionStatus.RUNNING:
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
            parts = await self._siblings.count(tenant, event_id)
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
        if part == 1:
            run = await self._shared_runs.find_own(tenant, event_id)
        else:
            run = await find_run(self._client, ids.run_of(tenant, event_id, part))
        if run is None and parts > 1:
            return await self._send_without_run(tenant, event_id, part, parts, command, delivery)
        if run is None:
            return await self._send_to_shared(tenant, event_id, command, delivery)
        if run.status == WorkflowExecutionStatus.RUNNING:
            return await _update(handle_of(self._client, run), command, delivery)
        if command not in AFTER_END:
            snapshot = await event_read.read(self._client, run)
            raise Refused(f"cannot {command}: the event has already {_ended(snapshot.state)}")
        if await self._is_erased(tenant, event_id):
            raise UnknownEvent(NOT_FOUND_MESSAGES[UnknownEvent])
        return await start_again(self._client, self._task_queue, run, command, delivery)

    async def _send_without_run(
        self, tenant: str, event_id: str, part: int, parts: int, command: Command, delivery: str | None
    ) -> bool:
        """Send a command to a sibling that was deleted; False if it is to be started yet."""
        snapshot = await self._siblings.read_without_run(tenant, event_id, part, parts)
        row = await self._rows.find(tenant, event_id)
        if snapshot is None or row is None:
            return False
        if command not in AFTER_END:
            raise Refused(f"cannot {command}: the event has already {_ended(snapshot.state)}")
        return await start_sibling(self._client, self._task_queue, snapshot, row.digest, part, command, delivery)

    async def _is_erased(self, tenant: str, event_id: str) -> bool:
        """Return whether the event was erased: the server deletes its runs some time later."""
        with suppress(RegistryUnavailable):
            return await self._rows.find(tenant, event_id) is None
        return False

    async def _send_to_shared(self, tenant: str, event_id: str, command: Command, delivery: str | None) -> bool:
        """Send a command to an event of a shared run; False if it has a run of its own by now."""
        run, shared = await self._shared_run(tenant, event_id)
        if run.is_open:
            return await _update(
                run.handle,
                temporal_names.COMMAND,
                SharedCommand(event=shared.key, command=command, delivery=delivery),
            )
        state = await state_of(run, shared.event)
        if state is None:
            if await self._shared_runs.find_own(tenant, event_id) is None:  # it was deleted
                raise UnknownEvent(NOT_FOUND_MESSAGES[UnknownEvent])
            return False
        if command not in AFTER_END:
            raise Refused(f"cannot {command}: the event has already {_ended(state)}")
        if await self._is_erased(tenant, event_id):
            raise UnknownEvent(NOT_FOUND_MESSAGES[UnknownEvent])
        return await start_after_shared_run(self._client, self._task_queue, shared, state, command, delivery)

    async def _shared_run(self, tenant: str, event_id: str) -> tuple[SharedRun, SharedEvent]:
        run = await self._shared_runs.find(tenant, event_id)
        if run is None or (shared := run.event(tenant, event_id)) is None:
            raise UnknownEvent(NOT_FOUND_MESSAGES[UnknownEvent])
        return run, shared


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
