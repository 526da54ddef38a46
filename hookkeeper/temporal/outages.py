"""An outage of the registry is one line for each activity that meets it, not a traceback of 11 KB."""

from typing import Any

import structlog
from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from hookkeeper.registry.database import RegistryUnavailable

log = structlog.get_logger("hookkeeper.activity")


class Outages(Interceptor):
    """Logs an outage of the registry in a sentence. Temporal retries the activity as before."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        """Put the interceptor before an activity."""
        return _OutageLog(next)


class _OutageLog(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        try:
            return await super().execute_activity(input)
        except RegistryUnavailable as error:
            info = activity.info()
            log.warning(
                "activity is retried later",
                activity=info.activity_type,
                run=info.workflow_id,
                attempt=info.attempt,
                error=str(error),
            )
            # The SDK logs a benign error without its traceback.
            raise ApplicationError(
                str(error), type=type(error).__name__, category=ApplicationErrorCategory.BENIGN
            ) from None
