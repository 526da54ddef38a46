"""A batch whose worker dies or is stopped: real worker processes, real signals."""

import asyncio
import signal
from collections.abc import Sequence

from temporalio.api.workflow.v1 import PendingActivityInfo

from crowds import crowd
from hookkeeper.temporal.workers.local import REASON, retry_lost_activities
from instances import Instance
from receivers import Answer, Receiver, receiver
from timeouts import WAIT_TIMEOUT
from worker_processes import SOON_UNSTUCK, worker_process


async def test_requests_sent_by_a_killed_worker_are_not_sent_again(idle_instance: Instance, inbox: Receiver) -> None:
    async with receiver() as slow:
        slow.answers = [Answer(delay=60)]
        for endpoint in (inbox, slow):
            await idle_instance.webhook(endpoint.url, timeout=30)
        accepted = await idle_instance.send()
        async with worker_process(idle_instance, timeouts=SOON_UNSTUCK) as process:
            await inbox.got(1)
            await slow.got(1)
            await until_reported(idle_instance, accepted["id"])
            process.kill()
        async with idle_instance.working():
            event = await idle_instance.until_final(accepted["id"])
        assert event["status"] == "succeeded"
        assert len(inbox.requests) == 1, "its outcome was in a heartbeat"
        assert len(slow.requests) == 2, "it was in flight: only such can arrive twice"
        assert {request.webhook_id for request in slow.requests} == {accepted["id"]}
        assert [len(delivery["attempts"]) for delivery in event["deliveries"]] == [1, 1], (
            "an internal error is no attempt"
        )


async def test_activities_of_a_killed_worker_are_retried_at_once_if_it_is_known(
    idle_instance: Instance, inbox: Receiver
) -> None:
    """They keep what their heartbeats have carried. Those of a living process go on."""
    async with receiver() as slow:
        slow.answers = [Answer(delay=60)]
        for endpoint in (inbox, slow):
            await idle_instance.webhook(endpoint.url, timeout=30)
        accepted = await idle_instance.send()
        async with worker_process(idle_instance, timeouts=SOON_UNSTUCK) as process:
            await slow.got(1)
            await until_reported(idle_instance, accepted["id"])
            await retry_lost_activities(idle_instance.temporal)
            (activity,) = await pending_activities(idle_instance, accepted["id"])
            assert activity.attempt == 1
            process.kill()
            await process.wait()
        await retry_lost_activities(idle_instance.temporal)
        (activity,) = await pending_activities(idle_instance, accepted["id"])
        assert (activity.attempt, activity.last_failure.message) == (2, REASON)
        async with idle_instance.working():
            event = await idle_instance.until_final(accepted["id"])
        assert event["status"] == "succeeded"
        assert (len(inbox.requests), len(slow.requests)) == (1, 2)
        assert [len(delivery["attempts"]) for delivery in event["deliveries"]] == [1, 1]


async def pending_activities(instance: Instance, event_id: str) -> Sequence[PendingActivityInfo]:
    return (await instance.run(event_id).describe()).raw_description.pending_activities


async def until_reported(instance: Instance, event_id: str) -> None:
    """Wait until a heartbeat has carried an outcome to Temporal."""
    async with asyncio.timeout(WAIT_TIMEOUT):
        while True:
            pending = await pending_activities(instance, event_id)
            if any(activity.heartbeat_details.payloads for activity in pending):
                return
            await asyncio.sleep(0.05)


async def test_a_stopping_worker_finishes_attempts_in_flight(idle_instance: Instance, inbox: Receiver) -> None:
    inbox.answers = [Answer(delay=2)]
    await idle_instance.webhook(inbox.url)
    accepted = await idle_instance.send()
    async with worker_process(idle_instance, timeouts=SOON_UNSTUCK) as process:
        await inbox.got(1)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(WAIT_TIMEOUT):
            assert await process.wait() == 0
    async with idle_instance.working():
        event = await idle_instance.until_final(accepted["id"])
    assert event["status"] == "succeeded"
    assert len(inbox.requests) == 1


async def test_a_batch_of_many_is_one_activity(instance: Instance, inbox: Receiver) -> None:
    await crowd(instance, inbox.url, 100)
    event = await instance.until_final((await instance.send())["id"])
    assert event["status"] == "succeeded"
    assert len(event["deliveries"]) == len(inbox.requests) == 100
    history = await instance.run(event["id"]).fetch_history()
    scheduled = [
        accepted_event
        for accepted_event in history.events
        if accepted_event.HasField("activity_task_scheduled_event_attributes")
    ]
    assert len(scheduled) == 1
