"""The client of releases: a webhook that is resumed or enabled releases what it held."""

from temporalio.client import Client
from temporalio.common import Priority, WorkflowIDConflictPolicy

from hookkeeper import ids, temporal_names
from hookkeeper.messages.bulk_work import ReleaseState
from hookkeeper.search_attributes import tenant_attributes
from hookkeeper.temporal.error_translation import Unavailable, translated_errors


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
