"""Send a command to an event: to its open run, to each of its parts, to the shared run that has it, or to a further run
that is started for it.

Raises `Refused` and `UnknownDelivery` of `hookkeeper.commands`, as the run does.
"""

import asyncio
from contextlib import suppress
from datetime import datetime
from typing import Any, Literal

from temporalio.client import (
    Client,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowHandle,
    WorkflowUpdateFailedError,
)
from temporalio.exceptions import ApplicationError

from hookkeeper import error_types, temporal_names
from hookkeeper.asyncio_tasks import wait_for_all
from hookkeeper.command_rules import Command
from hookkeeper.commands import Refused, UnknownDelivery, reopen
from hookkeeper.messages.event import EventInput, EventState, PartRestart
from hookkeeper.messages.shared_run import SharedCommand
from hookkeeper.registry.database import RegistryUnavailable
from hookkeeper.registry.event_rows import EventRows
from hookkeeper.temporal import event_read
from hookkeeper.temporal.error_translation import (
    NOT_FOUND_MESSAGES,
    UnknownEvent,
    not_found_suppressed,
    translated_errors,
)
from hookkeeper.temporal.event_read import EventReader, LargeEventRun, Part
from hookkeeper.temporal.event_start import start_after_shared_run, start_again
from hookkeeper.temporal.run_state import handle_of, input_of
from hookkeeper.temporal.shared_runs import InSharedRun

RETRY_INTERVAL = 0.05
"""Seconds after which a command is sent again, because the run closed or another was started meanwhile."""
AFTER_END = ("retry", "redeliver")
"""Commands that start a further run of an event that is over."""
MAX_LARGE_HISTORY = 5_000
"""Events in the history of a large event's run, after which it takes no command but a cancellation: its parts report to
it what a command changes, and it never continues as new."""


class EventCommands:
    """Commands to all events. One for the process."""

    def __init__(self, client: Client, task_queue: str, reader: EventReader, rows: EventRows) -> None:
        self._client = client
        self._task_queue = task_queue
        self._reader = reader
        self._rows = rows

    async def send(self, tenant: str, event_id: str, command: Command, delivery: str | None) -> None:
        """Apply a command. A retry or redelivery of a closed run starts a further run with the same workflow id."""
        dispatch = _Dispatch(self._client, command, delivery)
        async with translated_errors():
            while True:
                if await self._send(dispatch, tenant, event_id, command, delivery):
                    return
                await asyncio.sleep(RETRY_INTERVAL)

    async def reschedule(self, tenant: str, event_id: str, deliver_at: datetime) -> None:
        """Move a scheduled event to another time."""
        dispatch = _Dispatch(self._client, "reschedule", deliver_at=deliver_at)
        async with translated_errors():
            while True:
                found = await self._find(tenant, event_id)
                if isinstance(found, InSharedRun) or found.status != WorkflowExecutionStatus.RUNNING:
                    raise Refused("the event is not scheduled: its delivery is over")
                if await dispatch.send(found):
                    return
                await asyncio.sleep(RETRY_INTERVAL)

    async def _send(
        self, dispatch: "_Dispatch", tenant: str, event_id: str, command: Command, delivery: str | None
    ) -> bool:
        """Send a command to the run as it is now; False if it changed meanwhile."""
        found = await self._find(tenant, event_id)
        if isinstance(found, InSharedRun):
            return await self._send_to_shared(found, command, delivery)
        if found.status == WorkflowExecutionStatus.RUNNING:
            return await dispatch.send(found)
        if dispatch.is_accepted:  # by parts that have closed since
            return True
        if command not in AFTER_END:
            snapshot = await event_read.read(self._client, found)
            raise Refused(f"cannot {command}: the event has already {_ended(snapshot.state)}")
        await self._check_not_erased(tenant, event_id)
        return await start_again(self._client, self._task_queue, found, command, delivery)

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

    async def _find(self, tenant: str, event_id: str) -> WorkflowExecutionDescription | InSharedRun:
        if found := await self._reader.find(tenant, event_id):
            return found
        raise UnknownEvent(NOT_FOUND_MESSAGES[UnknownEvent])

    async def _check_not_erased(self, tenant: str, event_id: str) -> None:
        """Raise UnknownEvent if the event was erased: the server deletes its runs some time later."""
        with suppress(RegistryUnavailable):
            if await self._rows.find(tenant, event_id) is None:
                raise UnknownEvent(NOT_FOUND_MESSAGES[UnknownEvent])


def _ended(state: EventState) -> str:
    return {"succeeded": "succeeded", "failed": "failed"}.get(state.status, "been cancelled")


class _Dispatch:
    """One command to an event. Each part gets it once, also if the parts have to be read again."""

    def __init__(
        self,
        client: Client,
        command: Command | Literal["reschedule"],
        delivery: str | None = None,
        deliver_at: datetime | None = None,
    ) -> None:
        self._client = client
        self._command = command
        self._delivery = delivery
        self._argument = deliver_at or delivery
        self._answered: set[int] = set()
        self._refusals: list[Refused] = []
        self._restarting = asyncio.Lock()
        self._inputs: dict[str, EventInput] = {}

    @property
    def is_accepted(self) -> bool:
        """A part has accepted the command."""
        return len(self._answered) > len(self._refusals)

    async def send(self, description: WorkflowExecutionDescription) -> bool:
        """Send the command to the event's open run, or to its parts; False if one closed meanwhile: try again.

        Raises `Refused` if all refuse, and `UnknownDelivery` if no part has the delivery.
        """
        handle = handle_of(self._client, description)
        if description.workflow_type != temporal_names.LARGE_EVENT:
            return await _update(handle, self._command, self._argument)
        if description.history_length > MAX_LARGE_HISTORY and self._command != "cancel":
            raise Refused("this event has been steered too often: wait until it is finished, or cancel it")
        if description.run_id not in self._inputs:
            self._inputs[description.run_id] = await input_of(self._client, handle, EventInput)
        run = LargeEventRun(handle, description, self._inputs[description.run_id])
        concerned = [part for part in await event_read.parts_of(self._client, run) if self._concerns(part)]
        if not concerned:
            raise UnknownDelivery(f"this event has no delivery {self._delivery}")
        await wait_for_all(self._send_to_part(run, part) for part in concerned)
        if len(self._answered) < len(concerned):
            return False
        if not self.is_accepted:
            raise self._refusals[0]
        return True

    def _concerns(self, part: Part) -> bool:
        return self._delivery is None or any(delivery.id == self._delivery for delivery in part.event.deliveries)

    async def _send_to_part(self, run: LargeEventRun, part: Part) -> None:
        if part.n in self._answered or part.has_no_run_yet:
            return
        try:
            if not await self._apply_to_part(run, part):
                return
        except Refused as refusal:
            self._refusals.append(refusal)
        self._answered.add(part.n)

    async def _apply_to_part(self, run: LargeEventRun, part: Part) -> bool:
        if part.is_open and part.handle:
            return await _update(part.handle, self._command, self._argument)
        if self._command == "reschedule":
            raise Refused("the event is not scheduled: its delivery is over")
        state = await event_read.part_state(self._client, run, part)
        deliveries = reopen(self._command, state.deliveries, self._delivery)
        restart = PartRestart(part=part.n, number=part.run_number, deliveries=deliveries)
        async with self._restarting:  # a run accepts ten updates at once, and there can be more parts
            return await _update(run.handle, temporal_names.RESTART_PART, restart)


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
