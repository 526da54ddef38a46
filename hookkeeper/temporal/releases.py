"""The client side of what webhooks hold: start its release, and carry it out, run by run."""

from datetime import UTC, datetime, timedelta

from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import SearchAttributePair, TypedSearchAttributes, WorkflowIDConflictPolicy
from temporalio.service import RPCError, RPCStatusCode

from hookkeeper import ids
from hookkeeper.messages.release import ReleaseInput, ReleaseStage
from hookkeeper.temporal import scan
from hookkeeper.temporal.error_translation import Unavailable, reaching_temporal

FAR = timedelta(days=1)
"""Whatever is open was started before then, by any clock."""


class Releases:
    """All releases. One for the process."""

    def __init__(self, client: Client, task_queue: str) -> None:
        self._client = client
        self._task_queue = task_queue

    async def start(self, tenant: str, webhook_id: str) -> None:
        """Have all that the webhook holds released; where that is under way, have it looked through once more.

        Raises `Unavailable`.
        """
        async with reaching_temporal(not_found=Unavailable):
            await self._client.start_workflow(
                ids.RELEASE,
                ReleaseInput(webhook_id=webhook_id, tenant=tenant),
                id=ids.release_id(webhook_id),
                task_queue=self._task_queue,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                start_signal=ids.RELEASE_AGAIN,
                search_attributes=TypedSearchAttributes(
                    [
                        SearchAttributePair(ids.TENANT, tenant),
                        SearchAttributePair(ids.WEBHOOKS, [webhook_id]),
                    ]
                ),
                static_summary=f"release what {webhook_id} held · {tenant}",
            )

    async def held(self, webhook_id: str) -> int:
        """Say of how many events, or parts of events, this webhook's deliveries are held. Raises `Unavailable`."""
        async with reaching_temporal(not_found=Unavailable):
            return await scan.count_runs(self._client, _query(webhook_id))


class HeldDeliveries:
    """The runs that hold something, as the activities of a release see them. Raises Temporal's `RPCError`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def oldest(self, webhook_id: str, after: datetime | None, at_most: int) -> tuple[list[str], datetime | None]:
        """Give the oldest runs with a held delivery of this webhook, and where to go on."""
        since, until = after or scan.BEGINNING, datetime.now(UTC) + FAR
        found = await scan.oldest(self._client, _query(webhook_id), since, until, at_most)
        return [run.workflow_id for run in found.found], found.end

    async def release(self, workflow_id: str, webhook_id: str) -> None:
        """Let a run go on with what this webhook holds. One that is over stays as it is."""
        try:
            await self._client.get_workflow_handle(workflow_id).signal(ids.RELEASE_WEBHOOK, webhook_id)
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise

    async def stage(self, workflow_id: str, webhook_id: str) -> ReleaseStage:
        """Say what a run that was told of the release is doing about it.

        An activity's end and the workflow task that it makes are one write in Temporal: no moment is in between.
        """
        try:
            run = await self._client.get_workflow_handle(workflow_id).describe()
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
            return "sent"
        raw = run.raw_description
        if run.status != WorkflowExecutionStatus.RUNNING:
            return "sent"
        if raw.HasField("pending_workflow_task"):
            return "deciding"
        tenant, _ = ids.event_of(workflow_id)
        if _is_sending(raw, tenant, webhook_id):
            return "sending"
        return "held" if webhook_id in run.typed_search_attributes.get(ids.HELD, ()) else "sent"


def _is_sending(run: DescribeWorkflowExecutionResponse, tenant: str, webhook_id: str) -> bool:
    """Say whether an attempt for this webhook is under way or waits in a queue: their fairness keys say whose it is.

    Another webhook of the same event may have the same key, one of sixteen: then its attempt is waited for, too.
    """
    keys = (webhook_id, ids.fairness_key(tenant, webhook_id))
    return any(each.priority.fairness_key in keys for each in run.pending_activities)


def _query(webhook_id: str) -> str:
    return f"{scan.RUNS_OF_EVENTS} AND {ids.HELD.name} = '{webhook_id}' AND ExecutionStatus = 'Running'"
