"""The client of probes: a webhook is probed while it is disabled for failing."""

from datetime import timedelta

from temporalio.client import Client
from temporalio.common import Priority, WorkflowIDConflictPolicy

from hookkeeper import ids, temporal_names
from hookkeeper.messages.probe import ProbeInput
from hookkeeper.search_attributes import tenant_attributes


class Probes:
    """All probes. Used by the activities that disable webhooks. Raises Temporal's `RPCError`."""

    def __init__(self, client: Client, task_queue: str, interval: timedelta) -> None:
        self._client = client
        self._task_queue = task_queue
        self._interval = interval

    async def start(self, tenant: str, webhook_id: str) -> None:
        """Start probing the webhook, unless it is probed already."""
        await self._client.start_workflow(
            temporal_names.PROBE,
            ProbeInput(webhook_id=webhook_id, tenant=tenant, interval=self._interval.total_seconds()),
            id=ids.probe_id(webhook_id),
            task_queue=self._task_queue,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            search_attributes=tenant_attributes(tenant),
            priority=Priority(fairness_key=tenant),
            static_summary=f"probe {webhook_id} · {tenant}",
        )
