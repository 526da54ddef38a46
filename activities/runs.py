"""What a run does beside attempts and alerts: write its rows, close as cancelled, find another run of its id."""

import structlog
from temporalio import activity
from temporalio.client import Client

from hookkeeper import ids, metrics, tracing
from hookkeeper.messages.event import CancelledRun
from hookkeeper.messages.run_report import RunReport
from hookkeeper.messages.shared_run import HandOver
from hookkeeper.registry.event_rows import EventRows
from hookkeeper.temporal.run_state import digest_of, find_run

log = structlog.get_logger("hookkeeper.events")


class RunActivities:
    """Raises Temporal's `RPCError` and RegistryUnavailable, which are retried."""

    def __init__(self, temporal: Client, rows: EventRows) -> None:
        self._temporal = temporal
        self._rows = rows

    @activity.defn
    async def record(self, reports: tuple[RunReport, ...]) -> None:
        """Write what runs have decided to the rows of their events. Idempotent: the latest report counts."""
        await self._rows.write(reports)
        for report in reports:
            tracing.end_run(report)

    @activity.defn
    async def close_as_cancelled(self, run: CancelledRun) -> None:
        """Request the cancellation of this run, if it is not requested yet.

        Temporal keeps no details of a cancelled run, and a run can close as `Cancelled` only if its cancellation was
        requested in Temporal. So the input keeps the final state in history, where the API reads it without a worker;
        and if the run was cancelled by our own signal or update, this requests Temporal's cancellation.
        """
        info = activity.info()
        assert info.workflow_id is not None
        if run.request_cancel:
            handle = self._temporal.get_workflow_handle(info.workflow_id, run_id=info.workflow_run_id)
            await handle.cancel()

    @activity.defn
    async def is_in_open_run(self, event: HandOver) -> bool:
        """Return whether the run with the event's workflow id has the same event: one with the same content.

        The registry recognises an id by the event's row. If the row is lost, a second event with the id may be accepted
        while the run of the first one is open.
        """
        run = await find_run(self._temporal, ids.workflow_id(event.tenant, event.event_id))
        if run is not None and await digest_of(run) == event.digest:
            return True
        metrics.ID_CLASHES.inc()
        log.warning("two open events have one id", tenant=event.tenant, event_id=event.event_id)
        return False
