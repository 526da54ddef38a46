"""What became of a webhook's deliveries, event by event, through Temporal's visibility.

It knows of each run which webhooks are in trouble, and which of them hold. Where that does not say how this one's
delivery is, because the event has others too, the run's own state is read.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus

from hookkeeper import ids
from hookkeeper.messages.event import DeliveryStatus
from hookkeeper.temporal import reading, scan
from hookkeeper.temporal.error_translation import Unavailable, reaching_temporal
from hookkeeper.temporal.listing import STATUSES, sealed, unsealed

AT_ONCE = 10
"""Runs of a page that are read at the same time."""
WORST_FIRST: tuple[DeliveryStatus, ...] = (
    *("held", "retrying", "pending", "sent"),
    *("failed", "cancelled", "succeeded"),
)
"""Of several deliveries of one webhook, the first of these that one has is shown."""


@dataclass(frozen=True, slots=True)
class Row:
    """An event's deliveries to one webhook, as a list shows them."""

    event_id: str
    type: str
    tenant: str
    status: DeliveryStatus
    accepted_at: datetime
    finished_at: datetime | None
    """When the event was, or its part."""
    workflow_id: str
    run_id: str


class DeliveryLog:
    """The deliveries of webhooks. One for the process."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def page(
        self, webhook_id: str, status: DeliveryStatus | None, limit: int, cursor: str | None
    ) -> tuple[list[Row], str | None]:
        """Give one page, open ones first, each newest first, and the cursor of the next; raise `BadCursor`.

        A page can be shorter than `limit` and still not be the last.
        """
        query = query_of(webhook_id, status)
        async with reaching_temporal(not_found=Unavailable):
            found = self._client.list_workflows(query, page_size=limit, next_page_token=unsealed(query, cursor))
            await found.fetch_next_page()
            runs = await self._latest(found.current_page or [])
            slots = asyncio.Semaphore(AT_ONCE)

            async def row_of(run: WorkflowExecution) -> Row:
                async with slots:
                    return await self._row(run, webhook_id)

            rows = await asyncio.gather(*map(row_of, runs))
            return [row for row in rows if status in (None, row.status)], sealed(query, found.next_page_token)

    async def _latest(self, runs: Iterable[WorkflowExecution]) -> list[WorkflowExecution]:
        """Leave out runs that a redelivery has followed."""
        known = list(runs)
        later = await scan.redeliveries(self._client, (run.id for run in known if run.close_time))
        latest = {id_: max(each.run_number for each in found) for id_, found in later.items()}
        return [run for run in known if run.typed_search_attributes.get(ids.RUN_NUMBER, 1) >= latest.get(run.id, 1)]

    async def _row(self, run: WorkflowExecution, webhook_id: str) -> Row:
        tenant, event_id = ids.event_of(run.id)
        return Row(
            event_id=event_id,
            type=run.typed_search_attributes.get(ids.EVENT_TYPE, ""),
            tenant=tenant,
            status=status_of(run, webhook_id) or await self._read(run, webhook_id),
            accepted_at=await run.memo_value("accepted_at", default=run.start_time, type_hint=datetime),
            finished_at=run.close_time,
            workflow_id=run.id,
            run_id=run.run_id,
        )

    async def _read(self, run: WorkflowExecution, webhook_id: str) -> DeliveryStatus:
        handle: Any = self._client.get_workflow_handle(run.id, run_id=run.run_id)
        state = await reading.state_of(self._client, handle, run.status)
        statuses = {each.status for each in state.deliveries if each.webhook_id == webhook_id}
        return next(each for each in WORST_FIRST if each in statuses)


def query_of(webhook_id: str, status: DeliveryStatus | None) -> str:
    """Write the search in visibility's language. It finds all that have the status, and some that only may."""
    mine, troubled = f"{ids.WEBHOOKS.name} = '{webhook_id}'", f"{ids.NEEDS_ATTENTION.name} = '{webhook_id}'"
    closed = "ExecutionStatus IN ('Failed', 'Canceled', 'Terminated', 'TimedOut')"
    conditions: dict[DeliveryStatus | None, str] = {
        None: "ExecutionStatus != 'ContinuedAsNew'",
        "held": f"ExecutionStatus = 'Running' AND {ids.HELD.name} = '{webhook_id}'",
        "retrying": f"ExecutionStatus = 'Running' AND {troubled} AND {ids.HELD.name} != '{webhook_id}'",
        "pending": f"ExecutionStatus = 'Running' AND {ids.NEEDS_ATTENTION.name} != '{webhook_id}'",
        "sent": f"ExecutionStatus = 'Running' AND {ids.NEEDS_ATTENTION.name} != '{webhook_id}'",
        "failed": f"ExecutionStatus IN ('Running', 'Failed') AND {troubled}",
        "cancelled": f"(ExecutionStatus = 'Running' OR {closed}) AND {ids.NEEDS_ATTENTION.name} != '{webhook_id}'",
        "succeeded": f"ExecutionStatus != 'ContinuedAsNew' AND {ids.NEEDS_ATTENTION.name} != '{webhook_id}'",
    }
    return f"{scan.RUNS_OF_EVENTS} AND {mine} AND {conditions[status]}"


def status_of(run: WorkflowExecution, webhook_id: str) -> DeliveryStatus | None:
    """Say how this webhook's delivery is, from what visibility knows; None: that does not say it."""
    attributes = run.typed_search_attributes
    if run.status == WorkflowExecutionStatus.COMPLETED:
        return "succeeded"
    if run.status == WorkflowExecutionStatus.FAILED and webhook_id in attributes.get(ids.NEEDS_ATTENTION, ()):
        return "failed"
    if run.status == WorkflowExecutionStatus.RUNNING and webhook_id in attributes.get(ids.HELD, ()):
        return "held"
    if run.status in STATUSES and run.status != WorkflowExecutionStatus.FAILED and _is_alone(run):
        return "cancelled"
    return None


def _is_alone(run: WorkflowExecution) -> bool:
    return len(run.typed_search_attributes.get(ids.WEBHOOKS, ())) == 1
