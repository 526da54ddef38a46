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
from hookkeeper.messages.event import Delivery, EventInput, EventState, EventStatus
from hookkeeper.messages.run_report import EventProgress, RunReport, progress_of, report_of
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

    async def until_stored(self) -> None:
        """Wait until the history has the update that has just been applied, and record nothing of it before.

        Temporal forgets an update if it dies before the end of the workflow task that applies it, and a local activity
        runs within that task. The next one, which the timer brings, comes after it.
        """
        self._storing = asyncio.create_task(timers.sleep(timers.SHORTEST, "the command is stored, then recorded"))
        await self._storing

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
        progress = progress_of(state, info.run_id, event.digest, shared_run=info.workflow_id)
        self.put(report_of(state, progress, workflow.now(), state.finished_at))


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
        progress = EventProgress(
            status=status,
            needs_attention=needs_attention,
            deliver_at=deliver_at,
            run_id=info.run_id,
            digest=self._event.digest,
        )
        self.put(
            RunReport(
                tenant=self._event.tenant,
                event_id=self._event.id,
                type=self._event.type,
                accepted_at=self._event.accepted_at,
                as_of=workflow.now(),
                progress=progress,
                deliveries=tuple(deliveries),
                finished_at=finished_at,
                part=ids.part_of(info.workflow_id),
                parts=self._event.parts,
                traceparent=self._event.traceparent,
                deliveries_before=self._deliveries_before,
            )
        )
