"""List the deliveries to a webhook, event by event, through Temporal's visibility.

The search attributes of a run tell which of its webhooks need attention, and which deliveries are held. If they do not
determine the status of this webhook's delivery, because the event has other webhooks too, the state of the run is read.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus

from hookkeeper import ids
from hookkeeper.messages.event import DeliveryStatus
from hookkeeper.temporal import run_state, visibility
from hookkeeper.temporal.error_translation import Unavailable, translated_errors
from hookkeeper.temporal.event_list import CLOSED_STATUSES

WORST_FIRST: tuple[DeliveryStatus, ...] = (
    *("held", "retrying", "pending", "sent"),
    *("failed", "cancelled", "succeeded"),
)
"""If an event has several deliveries to the webhook, the first of these statuses is shown."""


@dataclass(frozen=True, slots=True)
class ListedDelivery:
    """An event's deliveries to one webhook."""

    event_id: str
    type: str
    tenant: str
    status: DeliveryStatus
    accepted_at: datetime
    finished_at: datetime | None
    """Of the event, or of its part."""
    workflow_id: str
    run_id: str


class DeliveryList:
    """The deliveries of all webhooks. One for the process."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def page(
        self, webhook_id: str, status: DeliveryStatus | None, limit: int, cursor: str | None
    ) -> tuple[list[ListedDelivery], str | None]:
        """Return one page, open events first, each newest first, and the cursor of the next; raise `BadCursor`.

        A page can have fewer than `limit` rows and not be the last.
        """
        async with translated_errors(not_found=Unavailable):
            runs, next_cursor = await visibility.page(self._client, query_of(webhook_id, status), limit, cursor)
            rows = await visibility.read_all(await self._latest(runs), lambda run: self._row(run, webhook_id))
            return [row for row in rows if status in (None, row.status)], next_cursor

    async def _latest(self, runs: Iterable[WorkflowExecution]) -> list[WorkflowExecution]:
        """Leave out runs that were followed by a redelivery."""
        runs = list(runs)
        latest = await visibility.latest_run_numbers(self._client, (run.id for run in runs if run.close_time))
        return [run for run in runs if run.typed_search_attributes.get(ids.RUN_NUMBER, 1) >= latest.get(run.id, 1)]

    async def _row(self, run: WorkflowExecution, webhook_id: str) -> ListedDelivery:
        tenant, event_id = ids.event_of(run.id)
        return ListedDelivery(
            event_id=event_id,
            type=run.typed_search_attributes.get(ids.EVENT_TYPE, ""),
            tenant=tenant,
            status=status_of(run, webhook_id) or await self._read_status(run, webhook_id),
            accepted_at=await run.memo_value("accepted_at", default=run.start_time, type_hint=datetime),
            finished_at=run.close_time,
            workflow_id=run.id,
            run_id=run.run_id,
        )

    async def _read_status(self, run: WorkflowExecution, webhook_id: str) -> DeliveryStatus:
        handle: Any = self._client.get_workflow_handle(run.id, run_id=run.run_id)
        state = await run_state.state_of(self._client, handle, run.status)
        statuses = {delivery.status for delivery in state.deliveries if delivery.webhook_id == webhook_id}
        return next(status for status in WORST_FIRST if status in statuses)


def query_of(webhook_id: str, status: DeliveryStatus | None) -> str:
    """Write a visibility query for all runs whose delivery has the status; it may match others."""
    of_webhook, attention = f"{ids.WEBHOOKS.name} = '{webhook_id}'", f"{ids.NEEDS_ATTENTION.name} = '{webhook_id}'"
    no_attention = f"{ids.NEEDS_ATTENTION.name} != '{webhook_id}'"
    closed = "ExecutionStatus IN ('Failed', 'Canceled', 'Terminated', 'TimedOut')"
    conditions: dict[DeliveryStatus | None, str] = {
        None: "ExecutionStatus != 'ContinuedAsNew'",
        "held": f"ExecutionStatus = 'Running' AND {ids.HELD.name} = '{webhook_id}'",
        "retrying": f"ExecutionStatus = 'Running' AND {attention} AND {ids.HELD.name} != '{webhook_id}'",
        "pending": f"ExecutionStatus = 'Running' AND {no_attention}",
        "sent": f"ExecutionStatus = 'Running' AND {no_attention}",
        "failed": f"ExecutionStatus IN ('Running', 'Failed') AND {attention}",
        "cancelled": f"(ExecutionStatus = 'Running' OR {closed}) AND {no_attention}",
        "succeeded": f"ExecutionStatus != 'ContinuedAsNew' AND {no_attention}",
    }
    return f"{visibility.DELIVERING_RUNS} AND {of_webhook} AND {conditions[status]}"


def status_of(run: WorkflowExecution, webhook_id: str) -> DeliveryStatus | None:
    """Return the status of this webhook's delivery; None if visibility does not determine it."""
    attributes = run.typed_search_attributes
    if run.status == WorkflowExecutionStatus.COMPLETED:
        return "succeeded"
    if run.status == WorkflowExecutionStatus.FAILED and webhook_id in attributes.get(ids.NEEDS_ATTENTION, ()):
        return "failed"
    if run.status == WorkflowExecutionStatus.RUNNING and webhook_id in attributes.get(ids.HELD, ()):
        return "held"
    if CLOSED_STATUSES.get(run.status) == "cancelled" and _is_only_webhook(run):
        return "cancelled"
    return None


def _is_only_webhook(run: WorkflowExecution) -> bool:
    return len(run.typed_search_attributes.get(ids.WEBHOOKS, ())) == 1
