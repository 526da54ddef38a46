"""The client side of probes: start one."""

from datetime import timedelta

from temporalio.client import Client
from temporalio.common import SearchAttributePair, TypedSearchAttributes, WorkflowIDConflictPolicy

from hookkeeper import ids
from hookkeeper.messages.probe import ProbeInput


class Probes:
    """All probes, as the activities that disable webhooks see them. Raises Temporal's `RPCError`."""

    def __init__(self, client: Client, task_queue: str, interval: timedelta) -> None:
        self._client = client
        self._task_queue = task_queue
        self._interval = interval

    async def start(self, tenant: str, webhook_id: str) -> None:
        """See to it that the webhook is probed, by one run alone."""
        await self._client.start_workflow(
            ids.PROBE,
            ProbeInput(webhook_id=webhook_id, tenant=tenant, interval=self._interval.total_seconds()),
            id=ids.probe_id(webhook_id),
            task_queue=self._task_queue,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            search_attributes=TypedSearchAttributes(
                [SearchAttributePair(ids.TENANT, tenant), SearchAttributePair(ids.WEBHOOKS, [webhook_id])]
            ),
            static_summary=f"probe {webhook_id} · {tenant}",
        )
