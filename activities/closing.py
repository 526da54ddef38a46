"""The last step of a cancelled run.

Temporal keeps no details of a cancelled run, and a run can close as `Cancelled` only if its cancellation was requested
in Temporal. So this activity's input keeps the final state in history, where the API reads it without a worker; and if
the run was cancelled by our own signal or update, the activity requests Temporal's cancellation.
"""

from temporalio import activity
from temporalio.client import Client

from hookkeeper.messages.event import CancelledRun


class ClosingActivities:
    def __init__(self, temporal: Client) -> None:
        self._temporal = temporal

    @activity.defn
    async def close_as_cancelled(self, run: CancelledRun) -> None:
        """Request the cancellation of this run, if it is not requested yet."""
        info = activity.info()
        assert info.workflow_id is not None
        if run.request_cancel:
            handle = self._temporal.get_workflow_handle(info.workflow_id, run_id=info.workflow_run_id)
            await handle.cancel()
