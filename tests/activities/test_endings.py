"""Activities of a stopping worker end when what they said last has arrived; all others end at once."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from temporalio import activity, workflow
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from activities.endings import SETTLED, Unhurried
from patience import PATIENCE


@activity.defn
async def say_and_end(wait: bool) -> str:
    """Give a sign of life, and end while it is on its way."""
    if wait:
        await activity.wait_for_worker_shutdown()
    activity.heartbeat("nearly there")
    return "done"


@workflow.defn
class Saying:
    @workflow.run
    async def run(self, wait: bool) -> str:
        return await workflow.execute_activity(
            say_and_end, wait, start_to_close_timeout=timedelta(minutes=1), heartbeat_timeout=timedelta(minutes=1)
        )


@asynccontextmanager
async def saying(temporal: Client, *, wait: bool) -> AsyncIterator[tuple[Worker, WorkflowHandle[Saying, str]]]:
    queue = f"test-{uuid.uuid4().hex}"
    worker = Worker(
        temporal,
        task_queue=queue,
        workflows=[Saying],
        activities=[say_and_end],
        workflow_runner=UnsandboxedWorkflowRunner(),
        graceful_shutdown_timeout=timedelta(seconds=30),
        interceptors=[Unhurried()],
    )
    async with worker:
        yield worker, await temporal.start_workflow(Saying.run, wait, id=queue, task_queue=queue)


async def is_under_way(handle: WorkflowHandle[Saying, str]) -> bool:
    pending = (await handle.describe()).raw_description.pending_activities
    return bool(pending) and pending[0].HasField("last_started_time")


async def test_the_last_result_of_a_stopping_worker_is_kept(temporal: Client) -> None:
    clock = asyncio.get_running_loop().time
    async with saying(temporal, wait=True) as (worker, handle):
        async with asyncio.timeout(PATIENCE):
            while not await is_under_way(handle):
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.2)  # from here on it waits
            begun = clock()
            await worker.shutdown()
        assert clock() - begun >= SETTLED
    history = await handle.fetch_history()
    assert any(each.HasField("activity_task_completed_event_attributes") for each in history.events)


async def test_others_end_at_once(temporal: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("activities.endings.SETTLED", 30.0)
    async with saying(temporal, wait=False) as (_, handle):
        assert await handle.result() == "done"
    events = (await handle.fetch_history()).events
    started = next(each.event_time for each in events if each.HasField("activity_task_started_event_attributes"))
    ended = next(each.event_time for each in events if each.HasField("activity_task_completed_event_attributes"))
    assert (ended.ToDatetime() - started.ToDatetime()).total_seconds() < 30
