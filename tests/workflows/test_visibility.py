"""Lists of runs in visibility."""

import asyncio
from datetime import timedelta

from hookkeeper import temporal_names
from hookkeeper.messages.event import EventInput
from hookkeeper.times import utc_now
from instances import Instance
from timeouts import WAIT_TIMEOUT


async def test_a_run_that_was_started_with_other_tools_is_not_listed(idle_instance: Instance) -> None:
    """It has an id of any form, and made the list of all tenants fail."""
    instance, foreign = idle_instance, f"foreign{idle_instance.tenant}"
    event = EventInput(
        id="e",
        type="a",
        tenant=instance.tenant,
        timestamp=utc_now(),
        accepted_at=utc_now(),
        data={},
        deliver_at=utc_now() + timedelta(days=1),
        deliveries=(),
    )
    handle = await instance.temporal.start_workflow(
        temporal_names.EVENT, event, id=foreign, task_queue=instance.settings.task_queue
    )
    async with asyncio.timeout(WAIT_TIMEOUT):
        while not (await instance.temporal.count_workflows(f"WorkflowId = '{foreign}'")).count:
            await asyncio.sleep(0.05)
    assert (await instance.http.get("/v1/events")).status_code == 200
    await handle.terminate()
