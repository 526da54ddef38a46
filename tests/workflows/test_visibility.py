"""Visibility is walked oldest first, in slices, and nothing is left out between two of them."""

import asyncio
from datetime import UTC, datetime, timedelta

from hookkeeper import ids
from hookkeeper.messages.event import EventInput
from hookkeeper.temporal import visibility
from hookkeeper.times import utc_now
from instances import Instance
from timeouts import WAIT_TIMEOUT


async def test_slices_are_in_order_and_whole(idle_instance: Instance) -> None:
    instance = idle_instance
    sent = [(await instance.send())["id"] for _ in range(12)]
    query = f"{visibility.DELIVERING_RUNS} AND {ids.TENANT.name} = '{instance.tenant}'"
    until = datetime.now(UTC) + timedelta(hours=1)
    async with asyncio.timeout(WAIT_TIMEOUT):
        while await visibility.count_runs(instance.temporal, query) < len(sent):
            await asyncio.sleep(0.05)
    met, after, slices = list[str](), visibility.BEGINNING, 0
    while True:
        part = await visibility.oldest(instance.temporal, query, after, until, at_most=5)
        assert len(part.runs) <= 5
        met += [ids.event_of(run.workflow_id)[1] for run in part.runs]
        slices += 1
        if part.end is None:
            break
        after = part.end
    assert met == sent
    assert slices >= 3


async def test_nothing_is_an_empty_slice(idle_instance: Instance) -> None:
    query = f"{visibility.DELIVERING_RUNS} AND {ids.TENANT.name} = '{idle_instance.tenant}'"
    now = datetime.now(UTC)
    for since in (visibility.BEGINNING, now, now + timedelta(days=1)):
        assert await visibility.oldest(idle_instance.temporal, query, since, now, 5) == visibility.Slice([], None)


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
        ids.EVENT, event, id=foreign, task_queue=instance.settings.task_queue
    )
    async with asyncio.timeout(WAIT_TIMEOUT):
        while not await visibility.count_runs(instance.temporal, f"WorkflowId = '{foreign}'"):
            await asyncio.sleep(0.05)
    assert (await instance.http.get("/v1/events")).status_code == 200
    await handle.terminate()
