"""What a run does beside attempts and alerts: write its rows, start siblings, leave a shared run, close cancelled."""

import structlog
from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import WorkflowAlreadyStartedError

from activities.memory_budget import WorkerMemory
from activities.tenant_concurrency import TenantConcurrency
from hookkeeper import ids, metrics, tracing
from hookkeeper.messages.event import CancelledRun, EventInput, NewSiblings
from hookkeeper.messages.partition import parts_of
from hookkeeper.messages.run_report import RunReport
from hookkeeper.messages.shared_run import HandOver
from hookkeeper.registry.store import Store
from hookkeeper.services.incidents import IncidentCalls
from hookkeeper.temporal.events.event_start import start_run
from hookkeeper.temporal.events.lines import LineCalls
from hookkeeper.temporal.events.run_state import accepted_at_of, find_run, input_of
from hookkeeper.temporal.server.visibility import read_all

log = structlog.get_logger("hookkeeper.events")


class RunActivities:
    """Raises Temporal's `RPCError`, RegistryUnavailable, WorkflowAlreadyStartedError, and ApplicationError if a
    tenant has no free slot: all are retried.
    """

    def __init__(
        self,
        temporal: Client,
        store: Store,
        lines: LineCalls,
        incidents: IncidentCalls,
        concurrency: TenantConcurrency,
        memory: WorkerMemory,
    ) -> None:
        self._temporal = temporal
        self._store = store
        self._lines = lines
        self._incidents = incidents
        self._concurrency = concurrency
        self._memory = memory

    @activity.defn
    async def record(self, reports: tuple[RunReport, ...]) -> None:
        """Write what runs have decided to the rows of their events. Call the runs whose turn has come by that, and the
        incidents of webhooks whose deliveries have failed.

        Idempotent: the latest report counts.
        """
        await self._lines.call(await self._store.rows.write(reports))
        failed = {
            delivery.webhook_id
            for report in reports
            for delivery in report.deliveries
            if delivery.alerts and delivery.status == "failed"
        }
        if failed:
            for webhook_id, tenant in (await self._store.alerts.noted(failed)).items():
                await self._incidents.make(tenant, {webhook_id: None}, {})
        for report in reports:
            tracing.end_run(report)

    @activity.defn
    async def start_siblings(self, siblings: NewSiblings) -> None:
        """Start the runs of all further targets. Idempotent: one that was ever started is not started again.

        They are read from the first run's input: as children of it, each would add the event's data to its history.
        """
        info = activity.info()
        assert info.workflow_id is not None
        with self._concurrency.slot(siblings.tenant):
            this_run = self._temporal.get_workflow_handle(info.workflow_id, run_id=info.workflow_run_id)
            event = await input_of(self._temporal, this_run, EventInput)
            with self._memory.event_data(siblings.tenant, [event.data]):
                await read_all(
                    list(enumerate(parts_of(event), start=1))[1:],
                    lambda numbered: self._start(*numbered, info.task_queue),
                )

    async def _start(self, part: int, event: EventInput, task_queue: str) -> None:
        try:
            await start_run(self._temporal, task_queue, event, part=part)
        except WorkflowAlreadyStartedError:
            run = await find_run(self._temporal, ids.run_of(event.tenant, event.id, part))
            if run is None or await accepted_at_of(run) != event.accepted_at:  # of an earlier event that was erased
                await start_run(self._temporal, task_queue, event, is_first=False, part=part)

    @activity.defn
    async def is_in_open_run(self, event: HandOver) -> bool:
        """Return whether the run with the event's workflow id has this event, not an earlier one with its id.

        The registry recognises an id by the event's row. If the row is lost, a second event with the id may be accepted
        while the run of the first one is open. A shared run asks that before it lets an event continue in its own run.
        """
        run = await find_run(self._temporal, ids.workflow_id(event.tenant, event.event_id))
        if run is not None and await accepted_at_of(run) >= event.accepted_at:
            return True
        metrics.ID_CLASHES.inc()
        log.warning("two open events have one id", tenant=event.tenant, event_id=event.event_id)
        return False

    @activity.defn
    async def close_as_cancelled(self, run: CancelledRun) -> None:
        """Request the cancellation of this run, if it is not requested yet: a run can close as cancelled only then.

        Temporal keeps no details of a cancelled run. So this input keeps the final state in history, where the API
        reads it without a worker.
        """
        info = activity.info()
        assert info.workflow_id is not None
        if run.request_cancel:
            handle = self._temporal.get_workflow_handle(info.workflow_id, run_id=info.workflow_run_id)
            await handle.cancel()
