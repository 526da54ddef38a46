"""Shared runs in tests, started as the API starts them, with the events that a test chooses."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from temporalio.client import WorkflowHandle

from hookkeeper import ids, temporal_names
from hookkeeper.messages.event import Delivery, EventInput, EventState
from hookkeeper.messages.shared_run import SharedCommand, SharedRunInput, SharedRunResult
from instances import Instance
from timeouts import WAIT_TIMEOUT


def event_to(*webhooks: dict[str, Any], id: str, tenant: str, **fields: Any) -> EventInput:
    """Make an event to these webhooks' URLs."""
    now = datetime.now(UTC)
    deliveries = tuple(
        Delivery(id=webhook["id"], webhook_id=webhook["id"], target=webhook["url"]) for webhook in webhooks
    )
    return EventInput(
        id=id,
        type="order.paid",
        tenant=tenant,
        timestamp=now,
        accepted_at=now,
        digest=f"digest of {id}",
        **{"data": {"order": id}, "deliveries": deliveries, **fields},
    )


class SharedRun:
    """A shared run of an instance."""

    def __init__(self, instance: Instance, handle: WorkflowHandle[Any, Any]) -> None:
        self.instance = instance
        self.handle = handle

    async def result(self) -> SharedRunResult:
        async with asyncio.timeout(WAIT_TIMEOUT):
            return SharedRunResult.model_validate(await self.handle.result())

    async def state(self, event_id: str, tenant: str | None = None) -> EventState:
        key = ids.workflow_id(tenant or self.instance.tenant, event_id)
        return await self.handle.query(temporal_names.STATE, key, result_type=EventState)  # type: ignore[no-any-return]

    async def command(self, event_id: str, command: str, delivery: str | None = None) -> None:
        key = ids.workflow_id(self.instance.tenant, event_id)
        sent = SharedCommand.model_validate({"event": key, "command": command, "delivery": delivery})
        await self.handle.execute_update(temporal_names.COMMAND, sent)

    async def activities(self) -> list[str]:
        """Return the names of the activities that it has scheduled."""
        history = await self.handle.fetch_history()
        return [
            event.activity_task_scheduled_event_attributes.activity_type.name
            for event in history.events
            if event.HasField("activity_task_scheduled_event_attributes")
        ]


async def start(
    instance: Instance, events: Sequence[EventInput], *, run_id: str = "", finished: Sequence[EventState] = ()
) -> SharedRun:
    handle = await instance.temporal.start_workflow(
        temporal_names.SHARED_RUN,
        SharedRunInput(events=tuple(events), finished=tuple(finished)),
        id=run_id or ids.shared_run_id(),
        task_queue=instance.settings.task_queue,
    )
    return SharedRun(instance, handle)
