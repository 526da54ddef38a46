"""List the deliveries to a webhook, event by event, through Temporal's visibility.

The search attributes of a run have its webhooks that need attention, and those whose delivery is held. If they do not
determine the status of this webhook's delivery, because the event has other webhooks too, the state of the run is read.
"""

from dataclasses import dataclass
from typing import Any

from temporalio.client import Client

from hookkeeper import ids
from hookkeeper.messages.event import DeliveryStatus
from hookkeeper.temporal import run_state, visibility
from hookkeeper.temporal.error_translation import Unavailable, translated_errors
from hookkeeper.temporal.visibility import ListedRun

WORST_FIRST: tuple[DeliveryStatus, ...] = (
    *("held", "retrying", "pending", "sent"),
    *("failed", "cancelled", "succeeded"),
)
"""If an event has several deliveries to the webhook, the first of these statuses is shown."""


@dataclass(frozen=True, slots=True)
class ListedDelivery:
    """A run, and the status of its deliveries to one webhook."""

    run: ListedRun
    status: DeliveryStatus


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
            found, next_cursor = await visibility.page(self._client, query_of(webhook_id, status), limit, cursor)
            runs = await visibility.without_superseded(self._client, [await visibility.listed(run) for run in found])
            statuses = await visibility.read_all(runs, lambda run: self._status(run, webhook_id))
            rows = map(ListedDelivery, runs, statuses)
            return [row for row in rows if status in (None, row.status)], next_cursor

    async def _status(self, run: ListedRun, webhook_id: str) -> DeliveryStatus:
        if status := status_of(run, webhook_id):
            return status
        handle: Any = self._client.get_workflow_handle(run.workflow_id, run_id=run.run_id)
        state = await run_state.state_of(self._client, handle, run.execution_status)
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


def status_of(run: ListedRun, webhook_id: str) -> DeliveryStatus | None:
    """Return the status of this webhook's delivery; None if visibility does not determine it."""
    if run.status == "succeeded":
        return "succeeded"
    if run.status == "failed" and webhook_id in run.needs_attention:
        return "failed"
    if run.is_open and webhook_id in run.held:
        return "held"
    if run.status == "cancelled" and len(run.webhooks) == 1:
        return "cancelled"
    return None
