"""Runs that wait for a time while their worker is killed.

A new worker's first step of such a run can be given the time of an earlier step as `workflow.now()`
(docs/internals/temporal.md).
"""

import asyncio
import itertools
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.service import RPCError
from temporalio.worker import Replayer

from hookkeeper.messages.batch import BatchResult
from hookkeeper.messages.outcomes import Outcome
from hookkeeper.temporal.server.data_converter import data_converter
from hookkeeper.temporal.workers.serve import WORKFLOW_RUNNER
from instances import Instance
from receivers import Answer, Receiver
from worker import WORKFLOWS
from worker_processes import SOON_UNSTUCK, worker_process


async def timers_of(instance: Instance, event_id: str) -> int:
    """Count the timers of a run, after it has been replayed: that fails where two workers did not agree."""
    history = await instance.run(event_id).fetch_history()
    replayer = Replayer(workflows=WORKFLOWS, data_converter=data_converter(), workflow_runner=WORKFLOW_RUNNER)
    await replayer.replay_workflow(history)
    return sum(event.HasField("timer_started_event_attributes") for event in history.events)


async def attempts(event: dict[str, Any]) -> int:
    return len(event["deliveries"][0]["attempts"])


@pytest.mark.promise("docs/guarantees.md")
async def test_a_retry_that_became_due_without_a_worker_is_made_at_once(
    idle_instance: Instance, inbox: Receiver
) -> None:
    """Setup: a delivery that has failed and is to be tried again in five seconds.
    Timeline: its worker is killed; the five seconds pass; another worker starts.
    Proves: it is tried once more, and does not wait for the same time again.
    """
    inbox.fails(503)
    await idle_instance.webhook(inbox.url, retry={"schedule": [5]})
    event_id = (await idle_instance.send())["id"]
    async with worker_process(idle_instance, timeouts=SOON_UNSTUCK) as process:
        await inbox.got(1)
        await idle_instance.until_in_history(event_id, EventType.EVENT_TYPE_TIMER_STARTED)
        process.kill()
    await idle_instance.until_in_history(event_id, EventType.EVENT_TYPE_TIMER_FIRED)
    async with idle_instance.working():
        event = await idle_instance.until_final(event_id)
    assert (event["status"], await attempts(event)) == ("succeeded", 2)
    assert await timers_of(idle_instance, event_id) == 1


async def test_an_event_whose_time_came_without_a_worker_is_delivered_at_once(
    idle_instance: Instance, inbox: Receiver
) -> None:
    await idle_instance.webhook(inbox.url)
    async with worker_process(idle_instance, timeouts=SOON_UNSTUCK) as process:
        first = (await idle_instance.send())["id"]
        await idle_instance.until_final(first)  # the worker is there
        event_id = (await idle_instance.send(deliver_at=(datetime.now(UTC) + timedelta(seconds=5)).isoformat()))["id"]
        await idle_instance.until_in_history(event_id, EventType.EVENT_TYPE_TIMER_STARTED)  # cached
        process.kill()
    await idle_instance.until_in_history(event_id, EventType.EVENT_TYPE_TIMER_FIRED)
    async with idle_instance.working():
        event = await idle_instance.until_final(event_id)
    assert (event["status"], await attempts(event)) == ("succeeded", 1)
    assert await timers_of(idle_instance, event_id) == 1


async def test_a_delivery_held_beyond_its_time_is_attempted_when_it_is_released(
    idle_instance: Instance, inbox: Receiver
) -> None:
    """Setup: a delivery that has failed, is to be tried again in five seconds, and is held.
    Timeline: its worker is killed; the five seconds pass; it is released; a query wakes another worker.
    Proves: it is tried once more, and the run can be replayed: no step of it went by the clock.
    """
    inbox.fails(503)
    await idle_instance.webhook(inbox.url, retry={"schedule": [5]})
    event_id = (await idle_instance.send())["id"]
    async with worker_process(idle_instance, timeouts=SOON_UNSTUCK) as process:
        event = await idle_instance.until_delivery(event_id, "retrying", 1)
        due = datetime.fromisoformat(event["deliveries"][0]["next_attempt_at"])
        assert (await idle_instance.command(event_id, "hold")).status_code == 202
        await idle_instance.until_delivery(event_id, "held", 1)
        process.kill()
    await asyncio.sleep((due - datetime.now(UTC)).total_seconds() + 0.5)
    await idle_instance.run(event_id).signal("release")
    async with idle_instance.working():
        event = await idle_instance.until_final(event_id)
    assert (event["status"], await attempts(event)) == ("succeeded", 2)
    expected = "for the retry, the moment after the command, the end of the hold, and the moment after the release"
    assert await timers_of(idle_instance, event_id) == 4, expected


async def test_a_query_that_replays_a_run_before_its_next_step_changes_no_step(
    idle_instance: Instance, inbox: Receiver
) -> None:
    """Setup: a delivery is due in eight seconds; a person retries it before, and the endpoint takes longer than that.
    Timeline: the worker is killed; a query waits for another; the time passes; the attempt fails; the query, and then
    the workflow task, reach the other worker.
    Proves: what the query's replay has begun is what each later replay begins.
    """
    inbox.answers += [Answer(503), Answer(503, delay=60)]
    webhook = await idle_instance.webhook(inbox.url, retry={"schedule": [8, 0.1]})
    event_id = (await idle_instance.send())["id"]
    run = idle_instance.run(event_id)
    async with worker_process(idle_instance, timeouts=SOON_UNSTUCK) as process:
        event = await idle_instance.until_delivery(event_id, "retrying", 1)
        await run.signal("retry")
        await inbox.got(2)
        process.kill()
    due = datetime.fromisoformat(event["deliveries"][0]["next_attempt_at"])
    activity_id = (await run.describe()).raw_description.pending_activities[0].activity_id
    attempt = idle_instance.temporal.get_async_activity_handle(workflow_id=run.id, run_id=None, activity_id=activity_id)
    async with idle_instance.working():
        await asyncio.sleep((due - datetime.now(UTC)).total_seconds() + 0.2)
        query = asyncio.create_task(run.query("state"))  # waits until the killed worker's turn is over
        await asyncio.sleep(0.5)
        with suppress(RPCError):  # on a slow machine its next try may have begun
            await attempt.complete(BatchResult(outcomes=((failed(str(webhook["id"])),),)))
        with suppress(RPCError):  # on a slow machine its time may be over
            await query
        event = await idle_instance.until_final(event_id)
    assert event["status"] == "succeeded"
    await timers_of(idle_instance, event_id)


async def test_a_worker_has_ten_seconds_to_continue_a_run_that_it_has_in_memory(
    idle_instance: Instance, inbox: Receiver
) -> None:
    """With two seconds, a worker on a busy machine lost 7 to 16 % of its runs, and replayed each (decision 5).

    Timeline: a run waits in a worker's memory; the worker is killed; a person retries; another worker starts.
    Proves: Temporal keeps the step for the first worker for as long as that, and then gives it to the other one.
    """
    inbox.fails(503)
    await idle_instance.webhook(inbox.url, retry={"schedule": [3600]})
    event_id = (await idle_instance.send())["id"]
    async with worker_process(idle_instance) as process:
        await inbox.got(1)
        # Not read by a query: on a busy machine, Temporal would give the run to another worker.
        await idle_instance.until_in_history(event_id, EventType.EVENT_TYPE_TIMER_STARTED)
        process.kill()
    await idle_instance.run(event_id).signal("retry")
    async with idle_instance.working():
        assert (await idle_instance.until_final(event_id))["status"] == "succeeded"
    history = await idle_instance.run(event_id).fetch_history()
    kept = [
        ended.event_time.ToNanoseconds() - scheduled.event_time.ToNanoseconds()
        for scheduled, ended in itertools.pairwise(history.events)
        if ended.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT
        and scheduled.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED
    ]
    assert len(kept) == 1
    assert kept[0] > 9 * 10**9


def failed(delivery: str) -> Outcome:
    """What an attempt came to that has failed."""
    now = datetime.now(UTC)
    return Outcome(delivery=delivery, verdict="failed", started_at=now, status_code=503, delays=(8.0, 0.1))
