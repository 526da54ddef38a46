"""Reports of a run to the index of events.

They are no commands and leave nothing in history. A report that is lost with its worker is followed by another one when
the run continues or closes, or by the sweep (`hookkeeper.temporal.index_sweep`).
"""

from collections.abc import Iterable
from datetime import datetime
from functools import cached_property

from temporalio import workflow

from hookkeeper import ids, temporal_names
from hookkeeper.messages.event import Delivery, EventInput, EventState, EventStatus
from hookkeeper.messages.run_report import EventProgress, RunReport, progress_of, report_of
from workflows import memo


class SharedRunReports:
    """The reports of a shared run: one for each of its events."""

    def __init__(self) -> None:
        is_known = ids.is_shared_run(workflow.info().workflow_id)
        self._send = workflow.extern_functions().get(temporal_names.REPORT) if is_known else None

    def send(self, digest: str, state: EventState) -> None:
        """Report an event's state, unless that was done before this replay.

        A finished event is reported as of its end. So the report of a run that replaces another one does not overwrite
        that of a later run of the event.
        """
        if self._send is None or workflow.unsafe.is_replaying():
            return
        info = workflow.info()
        progress = progress_of(state, info.run_id, digest, shared_run=info.workflow_id)
        self._send(report_of(state, progress, state.finished_at or workflow.now(), state.finished_at))


class IndexReports:
    def __init__(self, event: EventInput) -> None:
        self._event = event
        is_known = ids.is_event_run(workflow.info().workflow_id)
        self._send = workflow.extern_functions().get(temporal_names.REPORT) if is_known else None
        self._is_part = workflow.info().workflow_type == temporal_names.PART
        self._deliveries_before = event.deliveries if memo.run_number() > 1 else ()

    @cached_property
    def _digest(self) -> str:
        return memo.digest()

    def send(
        self,
        deliveries: Iterable[Delivery],
        *,
        status: EventStatus,
        needs_attention: bool,
        deliver_at: datetime | None,
        finished_at: datetime | None = None,
    ) -> None:
        """Report the event's progress and these deliveries, unless that was done before this replay."""
        if self._send is None or workflow.unsafe.is_replaying():
            return
        info = workflow.info()
        progress = EventProgress(
            status=status,
            needs_attention=needs_attention,
            deliver_at=deliver_at,
            run_id=info.run_id,
            digest=self._digest,
        )
        report = RunReport(
            tenant=self._event.tenant,
            event_id=self._event.id,
            type=self._event.type,
            accepted_at=self._event.accepted_at,
            as_of=workflow.now(),
            progress=None if self._is_part else progress,
            deliveries=tuple(deliveries),
            finished_at=finished_at,
            part=ids.part_of(info.workflow_id) if self._is_part else 0,
            traceparent=self._event.traceparent,
            deliveries_before=self._deliveries_before,
        )
        self._send(report)
