"""How a webhook's health decides on its deliveries: slowed down, left alone, disabled; and back again."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import make_url, update

from hookkeeper import ids
from hookkeeper.registry.database import open_engine
from hookkeeper.registry.models import Webhook
from hookkeeper.times import utc_now
from house import House
from patience import PATIENCE
from receivers import Answer, Receiver, receiver

ONCE: dict[str, list[float]] = {"schedule": []}
BODY = (
    '{"kind": {{ alert.kind }}, "reason": {{ alert.reason }}, "failures": {{ alert.failures }}, "id": {{ event.id }}}'
)


@pytest.fixture
async def desk() -> AsyncIterator[Receiver]:
    """Where alerts arrive."""
    async with receiver() as started:
        yield started


def alerts_to(desk: Receiver) -> dict[str, Any]:
    return {"notifications": [{"http": {"url": desk.url, "body": BODY}}]}


def alerts_at(desk: Receiver) -> list[dict[str, Any]]:
    return [json.loads(request.body) for request in desk.requests]


async def show(home: House, webhook: dict[str, Any]) -> dict[str, Any]:
    return (await home.http.get(f"/v1/webhooks/{webhook['id']}")).json()  # type: ignore[no-any-return]


async def health(home: House, webhook: dict[str, Any]) -> dict[str, Any]:
    return (await show(home, webhook))["health"]  # type: ignore[no-any-return]


async def until_health(home: House, webhook: dict[str, Any], status: str) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE):
        while (found := await health(home, webhook))["status"] != status:
            await asyncio.sleep(0.03)
    return found


async def has_failed_for(home: House, webhook: dict[str, Any], time: timedelta) -> None:
    """Let its first failure have been so long ago."""
    engine = open_engine(home.settings.database_url)
    async with engine.begin() as connection:
        await connection.execute(
            update(Webhook).where(Webhook.id == webhook["id"]).values(failing_since=utc_now() - time)
        )
    await engine.dispose()


async def queues(home: House, event_id: str) -> list[str]:
    """Give the task queues of a run's activities."""
    history = await home.run(event_id).fetch_history()
    scheduled = [event for event in history.events if event.HasField("activity_task_scheduled_event_attributes")]
    return [activity.activity_task_scheduled_event_attributes.task_queue.name for activity in scheduled]


@contextmanager
def nobody_can_write(home: House) -> Any:
    """Hold the registry's write lock."""
    path = make_url(home.settings.database_url).database
    connection = sqlite3.connect(str(path), isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.close()


async def test_one_that_hangs_is_slowed_down_until_it_answers(home: House, inbox: Receiver) -> None:
    """Setup: a receiver hangs, another does not, both get all events.

    Timeline: three timeouts; more events; it answers again; one more event.
    Proves: its requests leave by the queue that keeps rates, two a second; the other's do not, and neither does in the
    end.
    """
    limited, usual = ids.limited_queue(home.settings.task_queue), home.settings.task_queue
    async with receiver() as hung:
        hung.otherwise = Answer(delay=60)
        webhook = await home.webhook(hung.url, timeout=1, retry=ONCE)
        await home.webhook(inbox.url)
        sent = [await home.send() for _ in range(3)]
        for event in sent:
            await home.until_final(event["id"])
        assert (await health(home, webhook))["status"] == "degraded"

        more = [(await home.send())["id"] for _ in range(6)]
        await inbox.got(9)
        requests = (await hung.got(9))[3:]
        assert requests[-1].at - requests[0].at > (6 - 2 * 1.5) / 2 * 0.8
        for event_id in more:
            await home.until_final(event_id)
        assert sorted(await queues(home, more[0])) == [usual, limited]

        hung.otherwise = Answer()
        assert (await home.until_final((await home.send())["id"]))["status"] == "succeeded"
        assert (await until_health(home, webhook, "healthy"))["failures"] == 0
        last = (await home.until_final((await home.send())["id"]))["id"]
        assert await queues(home, last) == [usual]


async def test_one_that_is_busy_is_left_alone_by_all_events(home: House, inbox: Receiver) -> None:
    """What a person asks for goes at once all the same."""
    inbox.answers = [Answer(429, headers={"retry-after": "3"})]
    webhook = await home.webhook(inbox.url, retry={"schedule": [0.1]})
    first = (await home.send())["id"]
    await home.until_delivery(first, "retrying", attempts=1)
    assert (await until_health(home, webhook, "throttled"))["throttled_until"]
    second, third = [(await home.send())["id"] for _ in range(2)]
    async with asyncio.timeout(PATIENCE):
        while (await home.event(second))["deliveries"][0]["next_attempt_at"] is None:
            await asyncio.sleep(0.03)
    assert (await home.event(second))["deliveries"][0]["status"] == "pending"
    assert len(inbox.requests) == 1
    assert (await home.command(third, "retry", webhook["id"])).status_code == 202
    await home.until(third, "succeeded")
    events = [await home.until(event_id, "succeeded") for event_id in (first, second)]
    assert [len(event["deliveries"][0]["attempts"]) for event in events] == [2, 1], "to wait is no attempt"
    begin = inbox.requests[0].at
    waited = {request.webhook_id: request.at - begin for request in inbox.requests[1:]}
    assert waited[first] > 2.9 and waited[second] > 2.9
    assert waited[third] < min(waited[first], waited[second])
    assert (await health(home, webhook))["status"] == "healthy"


async def test_nothing_but_failures_for_days_disables_once_with_one_alert(
    home: House, inbox: Receiver, desk: Receiver
) -> None:
    """Timeline: a delivery fails, with an alert; after five days two more; the webhook is enabled; it answers."""
    inbox.otherwise = Answer(500)
    webhook = await home.webhook(inbox.url, retry={"schedule": [0.1]}, on_failure=alerts_to(desk))
    await home.until_closed((await home.send())["id"])
    await has_failed_for(home, webhook, timedelta(days=5))
    noticed = (await home.send())["id"]
    await home.until_delivery(noticed, "held", attempts=1)
    other = (await home.send())["id"]
    await home.until_delivery(other, "held")
    shown = await show(home, webhook)
    assert (shown["enabled"], shown["disabled_reason"]) == (False, "failing")
    assert (shown["health"]["status"], shown["health"]["failures"]) == ("failing", 3)
    await desk.got(2)
    assert alerts_at(desk)[1] == {"kind": "disabled", "reason": "failing", "failures": 3, "id": noticed}

    inbox.otherwise = Answer()
    await home.http.patch(f"/v1/webhooks/{webhook['id']}", json={"enabled": True})
    assert (await health(home, webhook))["failing_since"] is None
    for _ in range(2):
        await home.until_closed((await home.send())["id"])
    await desk.got(3)
    assert [alert["kind"] for alert in alerts_at(desk)] == ["failed", "disabled", "recovered"]


async def test_a_webhook_says_for_itself_how_long_it_may_fail(home: House, inbox: Receiver) -> None:
    inbox.otherwise = Answer(500)
    short, never = [await home.webhook(inbox.url, retry=ONCE, disable_after=after) for after in (3600, 0)]
    for wait in (timedelta(minutes=59), timedelta(hours=1)):
        for webhook in (short, never):
            await has_failed_for(home, webhook, wait)
        await home.until_final((await home.send())["id"])
        if wait < timedelta(hours=1):
            assert (await show(home, short))["enabled"]
    assert not (await show(home, short))["enabled"]
    assert (await show(home, never))["enabled"]


async def test_410_has_one_alert(home: House, inbox: Receiver, desk: Receiver) -> None:
    inbox.otherwise = Answer(410)
    await home.webhook(inbox.url, on_failure=alerts_to(desk))
    event_id = (await home.send())["id"]
    event = await home.until_closed(event_id)
    assert (event["status"], event["deliveries"][0]["reason"]) == ("failed", "gone")
    assert alerts_at(desk) == [{"kind": "disabled", "reason": "gone", "failures": 1, "id": event_id}]


async def test_a_registry_that_takes_no_notes_loses_no_outcome(home: House, inbox: Receiver) -> None:
    """The request was answered: it is not made again, however long it takes until that can be noted."""
    inbox.answers = [Answer(delay=0.5)]
    webhook = await home.webhook(inbox.url)
    event_id = (await home.send())["id"]
    await inbox.got(1)
    with nobody_can_write(home):
        await asyncio.sleep(5)
        assert (await home.event(event_id))["status"] == "delivering"
    event = await home.until_final(event_id)
    assert event["status"] == "succeeded"
    assert [attempt["number"] for attempt in event["deliveries"][0]["attempts"]] == [1]
    assert len(inbox.requests) == 1
    assert (await health(home, webhook))["status"] == "healthy"
