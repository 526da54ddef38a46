"""A part of a large event: the run of an event that also reports to its parent whether it waits for its time, and
whether a delivery needs attention.
"""

import asyncio
from datetime import datetime

from temporalio import workflow
from temporalio.exceptions import FailureError

from hookkeeper import temporal_names
from hookkeeper.messages.event import EventInput, EventState
from workflows import memo
from workflows.deliver_at import DeliverAt
from workflows.event import EventWorkflow
from workflows.relay import PartReport
from workflows.search_attributes import SearchAttributes


class ParentReports:
    def __init__(self, deliver_at: DeliverAt, search_attributes: SearchAttributes) -> None:
        self._deliver_at = deliver_at
        self._search_attributes = search_attributes
        self._reported = self._present()

    def send(self, moved_to: datetime | None) -> None:
        """Report what has changed, and the time to which the event was moved, or None."""
        present = self._present()
        if moved_to is None and present == self._reported:
            return
        self._reported = present
        scheduled, needs_attention = present
        report = PartReport(
            workflow_id=workflow.info().workflow_id,
            number=memo.run_number(),
            scheduled=scheduled,
            needs_attention=needs_attention,
            deliver_at=moved_to,
        )
        asyncio.create_task(_send_to_parent(report))  # noqa: RUF006 - a workflow's loop keeps its tasks

    def _present(self) -> tuple[bool, bool]:
        return self._deliver_at.is_pending, self._search_attributes.needs_attention


async def _send_to_parent(report: PartReport) -> None:
    parent = workflow.info().parent
    if parent is None:  # started from Temporal's own tools
        return
    try:
        await workflow.get_external_workflow_handle(parent.workflow_id).signal(temporal_names.REPORT_PART, report)
    except FailureError as error:  # it was terminated, and this part will be
        workflow.logger.warning("the parent cannot be signalled: %r", error)


@workflow.defn(name=temporal_names.PART)
class EventPartWorkflow(EventWorkflow):
    """One event and some of its deliveries: an `EventWorkflow` of another type, so that lists show the event once."""

    @workflow.init
    def __init__(self, event: EventInput) -> None:
        super().__init__(event)
        self._parent_reports = ParentReports(self._deliver_at, self._search_attributes)

    @workflow.run
    async def run(self, event: EventInput) -> EventState:
        """Deliver to the targets of this part."""
        return await super().run(event)

    def _report_to_parent(self, moved_to: datetime | None) -> None:
        self._parent_reports.send(moved_to)
