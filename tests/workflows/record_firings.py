"""Record histories of firings for test_scheduled.py: `python -m pytest tests/workflows/record_firings.py`.

As with record_histories.py: never to make a failing replay pass.
"""

import asyncio
from pathlib import Path

from record_histories import write
from test_scheduled import SELDOM, make, post, show

from hookkeeper import ids
from instances import Instance
from receivers import Receiver
from timeouts import WAIT_TIMEOUT

HISTORIES = Path(__file__).parent / "histories" / "firings"


async def test_record(instance: Instance, inbox: Receiver) -> None:
    HISTORIES.mkdir(exist_ok=True)
    inbox.fails(503)
    await instance.webhook(inbox.url, retry={"schedule": [3600]})
    await make(instance, every=SELDOM)
    await post(instance, "trigger", overlap="skip")
    event_id = (await inbox.got(1))[0].webhook_id
    await instance.until_delivery(event_id, "retrying", 1)
    await asyncio.sleep(1)  # a trigger in the same second would be the same firing
    await post(instance, "trigger", overlap="cancel_other")
    await inbox.got(2)
    await save(instance, "waited_for", "cancelled")

    await instance.http.patch("/v1/schedules/s", params={"tenant": instance.tenant}, json={"overlap": "allow_all"})
    await instance.http.post("/v1/event-types", json={"name": "report.due"})
    for name, archived in (("not_waited_for", False), ("refused", True)):
        await instance.http.patch("/v1/event-types/report.due", json={"archived": archived})
        await asyncio.sleep(1)
        await post(instance, "trigger")
        await save(instance, name)


async def save(instance: Instance, *named: str) -> None:
    """Save the latest firings, the latest first, once they are over."""
    async with asyncio.timeout(WAIT_TIMEOUT):
        while any(firing["status"] == "running" for firing in (await show(instance))["recent"]):
            await asyncio.sleep(0.05)
    schedule = instance.temporal.get_schedule_handle(ids.schedule_id(instance.tenant, "s"))
    described = (await schedule.describe()).raw_description
    for name, action in zip(named, reversed(described.info.recent_actions), strict=False):
        run = action.start_workflow_result
        handle = instance.temporal.get_workflow_handle(run.workflow_id, run_id=run.run_id)
        write(HISTORIES / f"{name}.json", (await handle.fetch_history()).to_json())
