"""What tests of schedules share. A schedule goes on although its instance is gone: tests remove what they have made."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from hookkeeper import ids


@asynccontextmanager
async def forgotten_at_last(temporal: Client) -> AsyncIterator[None]:
    """Remove all tenants' schedules when the block ends."""
    try:
        yield
    finally:
        async for each in await temporal.list_schedules(f"ScheduleId STARTS_WITH '{ids.SCHEDULE_PREFIX}'"):
            try:
                await temporal.get_schedule_handle(each.id).delete()
            except RPCError as error:
                if error.status != RPCStatusCode.NOT_FOUND:  # the list lags behind
                    raise


async def next_second() -> None:
    """Wait until a trigger is another firing: those in the same second are the same one."""
    await asyncio.sleep(1.02 - time.time() % 1)
