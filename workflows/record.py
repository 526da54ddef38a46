"""Record what a run decides in the rows of its events, by a local activity: lists, statistics and streams read them.

A step is recorded before the run waits for the next one, or closes. Changes that come while a record is being written
go together into the next one. What follows from an update is recorded once the history has it.
"""

import asyncio
from collections.abc import Iterable
from datetime import datetime, timedelta

from temporalio import workflow

from activities.runs import RunActivities
from hookkeeper import ids
from hookkeeper.messages.event import Delivery, EventInput, EventState
from hookkeeper.messages.rows import EventRow
from hookkeeper.messages.run_report import RunReport, row_of
from hookkeeper.statuses import EventStatus
from workflows import timers
from workflows.activities import INTERNAL_RETRY
from workflows.visibility import run_number

RECORD_TIMEOUT = timedelta(seconds=5)
LOCAL_RETRY_THRESHOLD = timedelta(milliseconds=1)
"""A record that failed is repeated after a durable timer. A retry within the workflow task would keep the task open,
and commands without an answer, for as long as the registry is away."""


class Recorder:
    """Writes reports, one record at a time."""

    def __init__(self) -> None:
        self._waiting: list[RunReport] = []
        self._writing: asyncio.Task[None] | None = None
        self._storing: asyncio.Task[None] | None = None
        """Ends when the history has the latest update."""

    def put(self, report: RunReport) -> None:
        """Write the report soon."""
        self._waiting.append(report)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())

    async def until_recorded(self) -> None:
        """Wait until the update that has just been applied is in the history, and then in the rows, which its sender
        reads.

        Temporal forgets an update if it dies before the end of the workflow task that applies it, and a local activity
        runs within that task. The next one, which the timer brings, comes after it.
        """
        self._storing = asyncio.create_task(timers.sleep(timers.SHORTEST, "the command is stored, then recorded"))
        await self._storing
        await workflow.wait_condition(lambda: self.is_done)

    @property
    def is_done(self) -> bool:
        """Everything is written."""
        return self._writing is None or self._writing.done()

    async def _write(self) -> None:
        while self._waiting:
            reports, self._waiting = tuple(self._waiting), []
            if self._storing:
                await self._storing
            await workflow.execute_local_activity_method(
                RunActivities.record,
                reports,
                start_to_close_timeout=RECORD_TIMEOUT,
                retry_policy=INTERNAL_RETRY,
                local_retry_threshold=LOCAL_RETRY_THRESHOLD,
            )


class SharedRunRecords(Recorder):
    """The records of a shared run: of each of its events."""

    def put_state(self, event: EventInput, state: EventState) -> None:
        """Record an event's state."""
        info = workflow.info()
        if not ids.is_shared_run(info.workflow_id):  # started with Temporal's own tools
            return
        row = row_of(state, workflow.now(), info.run_id, event)
        row = row._replace(shared_run=info.workflow_id, finished_at=state.finished_at)
        self.put(RunReport(row, state.deliveries))


class EventRecords(Recorder):
    """The records of an event's own run."""

    def __init__(self, event: EventInput) -> None:
        super().__init__()
        self._event = event
        self._is_known = ids.is_event_run(workflow.info().workflow_id)  # others are of Temporal's own tools
        self._deliveries_before = event.deliveries if run_number() > 1 else ()

    def put_deliveries(
        self,
        deliveries: Iterable[Delivery],
        *,
        status: EventStatus,
        needs_attention: bool,
        deliver_at: datetime | None,
        finished_at: datetime | None = None,
    ) -> None:
        """Record the event's progress and these deliveries."""
        if not self._is_known:
            return
        info = workflow.info()
        row = EventRow(
            accepted_at=self._event.accepted_at,
            tenant=self._event.tenant,
            id=self._event.id,
            type=self._event.type,
            status=status,
            as_of=workflow.now(),
            needs_attention=needs_attention,
            deliver_at=deliver_at,
            finished_at=finished_at,
            run_id=info.run_id,
            digest=self._event.digest,
            is_test=self._event.is_test or None,
            parts=self._event.parts,
            apart=ids.is_apart(info.workflow_id),
        )
        self.put(
            RunReport(
                row,
                tuple(deliveries),
                part=ids.part_of(info.workflow_id),
                traceparent=self._event.traceparent,
                deliveries_before=self._deliveries_before,
            )
        )
