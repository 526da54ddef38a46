"""The last step of a cancelled run.

Temporal keeps no details with a cancelled run, and a run can close as `Cancelled` only when somebody requested it. So
this activity's input keeps the final state in history, where the API reads it without a worker; and where the
cancellation came as our own signal or update, the activity requests Temporal's.
"""

from typing import Any

from temporalio import activity
from temporalio.client import Client

from hookkeeper.outcomes import Message


class Closing(Message):
    """The final state of a cancelled run; opaque here."""

    state: dict[str, Any]
    request_cancel: bool


class ClosingActivities:
    def __init__(self, temporal: Client) -> None:
        self._temporal = temporal

    @activity.defn(name="close_as_cancelled")
    async def close_as_cancelled(self, closing: Closing) -> None:
        """Request the run's own cancellation if nobody has yet."""
        info = activity.info()
        assert info.workflow_id is not None
        if closing.request_cancel:
            handle = self._temporal.get_workflow_handle(info.workflow_id, run_id=info.workflow_run_id)
            await handle.cancel()
