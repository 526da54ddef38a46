"""The order is kept when workers are killed during attempts."""

from instances import Instance
from numbered_events import first_numbers, numbers, send_numbered
from receivers import Answer, Receiver
from worker_processes import SOON_UNSTUCK, worker_process

EVENTS = 12


async def test_events_arrive_in_order_although_the_worker_is_killed_twice(
    idle_instance: Instance, inbox: Receiver
) -> None:
    """Setup: an ordered webhook; each third request fails; the worker is a process.
    Timeline: kill -9 in the middle of an attempt, twice; each time another process takes over.
    Proves: all arrive in order, and only what was in the air comes twice.
    """
    inbox.answers = [Answer(503 if n % 3 == 2 else 200, delay=0.1) for n in range(3 * EVENTS)]
    await idle_instance.webhook(inbox.url, ordered=True, retry={"schedule": [0.05] * 20})
    sent = await send_numbered(idle_instance, EVENTS)
    for requests in (5, 11):
        async with worker_process(idle_instance, timeouts=SOON_UNSTUCK) as worker:
            await inbox.got(requests)
            worker.kill()
    async with worker_process(idle_instance, timeouts=SOON_UNSTUCK):
        for event_id in sent:
            assert (await idle_instance.until_final(event_id))["status"] == "succeeded"
    assert first_numbers(inbox) == list(range(EVENTS))
    assert numbers(inbox) == sorted(numbers(inbox))
