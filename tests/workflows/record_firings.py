"""Record histories of firings for test_scheduled.py: `python -m pytest tests/workflows/record_firings.py`.

As with record_histories.py: never to make a failing replay pass.
"""

import asyncio
from pathlib import Path

from record_histories import write
from test_scheduled import SELDOM, make, post, show

from hookkeeper import ids
from house import House
from patience import PATIENCE
from receivers import Receiver

HISTORIES = Path(__file__).parent / "histories" / "firings"


async def test_record(home: House, inbox: Receiver) -> None:
    HISTORIES.mkdir(exist_ok=True)
    inbox.fails(503)
    await home.webhook(inbox.url, retry={"schedule": [3600]})
    await make(home, every=SELDOM)
    await post(home, "trigger", overlap="skip")
    event_id = (await inbox.got(1))[0].webhook_id
    await home.until_delivery(event_id, "retrying", 1)
    await asyncio.sleep(1)  # a trigger in the same second would be the same firing
    await post(home, "trigger", overlap="cancel_other")
    await inbox.got(2)
    await save(home, "waited_for", "cancelled")

    await home.http.patch("/v1/schedules/s", params={"tenant": home.tenant}, json={"overlap": "allow_all"})
    await home.http.post("/v1/event-types", json={"name": "report.due"})
    for name, archived in (("not_waited_for", False), ("refused", True)):
        await home.http.patch("/v1/event-types/report.due", json={"archived": archived})
        await asyncio.sleep(1)
        await post(home, "trigger")
        await save(home, name)


async def save(home: House, *named: str) -> None:
    """Save the latest firings, the latest first, once they are over."""
    async with asyncio.timeout(PATIENCE):
        while any(firing["status"] == "running" for firing in (await show(home))["recent"]):
            await asyncio.sleep(0.05)
    schedule = home.temporal.get_schedule_handle(ids.schedule_id(home.tenant, "s"))
    described = (await schedule.describe()).raw_description
    for name, action in zip(named, reversed(described.info.recent_actions), strict=False):
        run = action.start_workflow_result
        handle = home.temporal.get_workflow_handle(run.workflow_id, run_id=run.run_id)
        write(HISTORIES / f"{name}.json", (await handle.fetch_history()).to_json())
