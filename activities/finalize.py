"""The last step of a cancelled run.

Temporal keeps no details with a cancelled run, and a run can close as `Cancelled` only when somebody requested it. So
this activity's input keeps the final state in history, where the API reads it without a worker; and where the
cancellation came as our own signal or update, the activity requests Temporal's.
"""

from temporalio import activity
from temporalio.client import Client

from hookkeeper import ids
from hookkeeper.messages.event import CancelledRun


class ClosingActivities:
    def __init__(self, temporal: Client) -> None:
        self._temporal = temporal

    @activity.defn(name=ids.CLOSE_AS_CANCELLED)
    async def close_as_cancelled(self, run: CancelledRun) -> None:
        """Request the run's own cancellation if nobody has yet."""
        info = activity.info()
        assert info.workflow_id is not None
        if run.request_cancel:
            handle = self._temporal.get_workflow_handle(info.workflow_id, run_id=info.workflow_run_id)
            await handle.cancel()
