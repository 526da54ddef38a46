"""The client of releases: a webhook that is resumed or enabled releases what it held."""

from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import Priority, WorkflowIDConflictPolicy

from hookkeeper import ids, task_queues, temporal_names
from hookkeeper.messages.bulk_work import HeldRuns, HeldSearch, ReleaseStage, ReleaseState
from hookkeeper.registry.events.runs_by_status import RunsByStatus, held_by
from hookkeeper.search_attributes import tenant_attributes
from hookkeeper.temporal.events.run_state import find_run, is_deciding
from hookkeeper.temporal.server.error_translation import Unavailable, not_found_suppressed, translated_errors


class Releases:
    """All releases. One for the process."""

    def __init__(self, client: Client, task_queue: str) -> None:
        self._client = client
        self._task_queue = task_queue

    async def start(self, tenant: str, webhook_id: str) -> None:
        """Release all that the webhook holds; a running release starts over. Raises `Unavailable`."""
        async with translated_errors(not_found=Unavailable):
            await self._client.start_workflow(
                temporal_names.RELEASE,
                ReleaseState(webhook_id=webhook_id, tenant=tenant),
                id=ids.release_id(webhook_id),
                task_queue=self._task_queue,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                start_signal=temporal_names.RESTART_RELEASE,
                search_attributes=tenant_attributes(tenant),
                priority=Priority(fairness_key=tenant),
                static_summary=f"release what {webhook_id} held · {tenant}",
            )


class HeldDeliveries:
    """The runs with held deliveries. Used by the activities of a release.

    Raises Temporal's `RPCError`, and RegistryUnavailable.
    """

    def __init__(self, client: Client, runs: RunsByStatus) -> None:
        self._client = client
        self._runs = runs

    async def oldest(self, search: HeldSearch, at_most: int) -> HeldRuns:
        """Return the oldest runs with a delivery that is held because of this webhook."""
        held = held_by(search.tenant, search.webhook_id)
        found, end = await self._runs.oldest(held, search.after, at_most)
        return HeldRuns(runs=tuple(ids.run_of(search.tenant, *run.position[1:]) for run in found), end=end)

    async def release(self, workflow_id: str, webhook_id: str) -> None:
        """Signal a run to release what is held for this webhook. Nothing happens if it is closed."""
        with not_found_suppressed():
            await self._client.get_workflow_handle(workflow_id).signal(temporal_names.RELEASE_WEBHOOK, webhook_id)

    async def stage(self, workflow_id: str, webhook_id: str) -> ReleaseStage:
        """Return what a run is doing after the signal to release.

        Temporal writes the end of an activity and the next workflow task at once, so there is no gap between them.
        """
        run = await find_run(self._client, workflow_id)
        if run is None or run.status != WorkflowExecutionStatus.RUNNING:
            return "sent"
        if is_deciding(run):
            return "deciding"
        tenant, _ = ids.event_of(workflow_id)
        return "sending" if _is_sending(run.raw_description, tenant, webhook_id) else "sent"


def _is_sending(run: DescribeWorkflowExecutionResponse, tenant: str, webhook_id: str) -> bool:
    """Return whether an attempt for this webhook is in flight or queued, by the fairness key of its activity.

    Another webhook of the event may have the same key, one of sixteen. Then its attempts count as well.
    """
    key = task_queues.fairness_key(tenant, webhook_id)
    return any(activity.priority.fairness_key == key for activity in run.pending_activities)
