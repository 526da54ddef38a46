"""Let a stopping worker's last results reach Temporal.

Where an activity ends while its last heartbeat is on its way, and nothing else of the worker is, temporalio 1.35
forgets the result, and the worker's shutdown never ends (temporalio/sdk-rust#1537). What had been sent would be sent
again.
"""

import asyncio
from typing import Any

from temporalio import activity
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

SETTLED = 1.0
"""Seconds in which a heartbeat has arrived: ten times what it may be held back for."""


class Unhurried(Interceptor):
    """Ends activities of a stopping worker when their heartbeats have arrived; those of others at once."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _Unhurried(next)


class _Unhurried(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        try:
            return await super().execute_activity(input)
        finally:
            if activity.is_worker_shutdown():
                await asyncio.sleep(SETTLED)
