"""The client of incidents, the runs of webhooks that fail."""

from datetime import timedelta

from temporalio.client import Client
from temporalio.common import Priority, WorkflowIDConflictPolicy

from hookkeeper import ids, temporal_names
from hookkeeper.messages.alert import IncidentInput
from hookkeeper.search_attributes import tenant_attributes
from hookkeeper.temporal.server.error_translation import Unavailable, translated_errors

CALL_TIMEOUT = timedelta(seconds=2)
"""Callers record attempts meanwhile. A call that is lost is made up for by the next one."""


class Incidents:
    """All incidents. Used by what records failures. Raises `Unavailable`."""

    def __init__(self, client: Client, task_queue: str) -> None:
        self._client = client
        self._task_queue = task_queue

    async def watch(self, tenant: str, webhook_id: str, wait: timedelta) -> None:
        """Start the incident of a webhook, unless it is open already; it looks at the webhook after this time."""
        await self._start(tenant, webhook_id, wait)

    async def look(self, tenant: str, webhook_id: str) -> None:
        """Let the incident of the webhook look at it now; start it if it is not open."""
        await self._start(tenant, webhook_id, timedelta(), temporal_names.LOOK)

    async def _start(self, tenant: str, webhook_id: str, wait: timedelta, signal: str | None = None) -> None:
        async with translated_errors(not_found=Unavailable):
            await self._client.start_workflow(
                temporal_names.INCIDENT,
                IncidentInput(webhook_id=webhook_id, tenant=tenant, wait=wait.total_seconds()),
                id=ids.incident_id(webhook_id),
                task_queue=self._task_queue,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                search_attributes=tenant_attributes(tenant),
                priority=Priority(fairness_key=tenant),
                start_signal=signal,
                static_summary=f"incident of {webhook_id} · {tenant}",
                rpc_timeout=CALL_TIMEOUT,
            )
