"""How the health of a webhook affects its deliveries: it is degraded, throttled or disabled, and recovers."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import make_url, update

from hookkeeper import task_queues
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.storage.database import open_engine
from hookkeeper.times import utc_now
from instances import Instance
from receivers import Answer, Receiver, receiver
from timeouts import WAIT_TIMEOUT

ONCE: dict[str, list[float]] = {"schedule": []}
BODY = '{"kind": {{ alert.kind }}, "reason": {{ alert.reason }}, "failures": {{ alert.failures }}}'


@pytest.fixture
async def desk() -> AsyncIterator[Receiver]:
    """Where alerts arrive."""
    async with receiver() as started:
        yield started


def alerts_to(desk: Receiver) -> dict[str, Any]:
    return {"notifications": [{"http": {"url": desk.url, "body": BODY}}]}


def alerts_at(desk: Receiver) -> list[dict[str, Any]]:
    return [json.loads(request.body) for request in desk.requests]


async def show(instance: Instance, webhook: dict[str, Any]) -> dict[str, Any]:
    return (await instance.http.get(f"/v1/webhooks/{webhook['id']}")).json()  # type: ignore[no-any-return]


async def health(instance: Instance, webhook: dict[str, Any]) -> dict[str, Any]:
    return (await show(instance, webhook))["health"]  # type: ignore[no-any-return]


async def until_health(instance: Instance, webhook: dict[str, Any], status: str) -> dict[str, Any]:
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (found := await health(instance, webhook))["status"] != status:
            await asyncio.sleep(0.03)
    return found


async def has_failed_for(instance: Instance, webhook: dict[str, Any], time: timedelta) -> None:
    """Let its first failure have been so long ago."""
    engine = open_engine(instance.settings.database_url)
    async with engine.begin() as connection:
        await connection.execute(
            update(Webhook).where(Webhook.id == webhook["id"]).values(url_failing_since=utc_now() - time)
        )
    await engine.dispose()


async def queues(instance: Instance, event_id: str) -> list[str]:
    """Return the task queues of a run's activities."""
    history = await instance.run(event_id).fetch_history()
    scheduled = [event for event in history.events if event.HasField("activity_task_scheduled_event_attributes")]
    return [activity.activity_task_scheduled_event_attributes.task_queue.name for activity in scheduled]


@asynccontextmanager
async def write_lock(instance: Instance) -> AsyncIterator[None]:
    """Hold the registry's write lock. A writer of this process may have it first, and needs the event loop to go on."""
    path = make_url(instance.settings.database_url).database
    connection = sqlite3.connect(str(path), isolation_level=None, timeout=WAIT_TIMEOUT, check_same_thread=False)
    await asyncio.to_thread(connection.execute, "BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.close()


async def test_a_webhook_that_hangs_is_slowed_down_until_it_answers(instance: Instance, inbox: Receiver) -> None:
    """Setup: a receiver hangs, another does not, both get all events.

    Timeline: three timeouts; more events; it answers again; one more event.
    Proves: its requests leave by the queue of retries, two a second; the other's do not, and neither does in the end.
    """
    retries, usual = task_queues.retry_queue(instance.settings.task_queue), instance.settings.task_queue
    async with receiver() as hung:
        hung.otherwise = Answer(delay=60)
        webhook = await instance.webhook(hung.url, timeout=1, retry=ONCE)
        await instance.webhook(inbox.url)
        sent = [await instance.send() for _ in range(3)]
        for event in sent:
            await instance.until_final(event["id"])
        assert (await health(instance, webhook))["status"] == "degraded"

        more = [(await instance.send())["id"] for _ in range(6)]
        await inbox.got(9)
        requests = (await hung.got(9))[3:]
        assert requests[-1].at - requests[0].at > (6 - 1) / 2 / 2, "the first may be late by half"
        for event_id in more:
            await instance.until_final(event_id)
        assert {*await queues(instance, more[0])} == {usual, retries}

        hung.otherwise = Answer()
        assert (await instance.until_final((await instance.send())["id"]))["status"] == "succeeded"
        assert (await until_health(instance, webhook, "healthy"))["failures"] == 0
        last = (await instance.until_final((await instance.send())["id"]))["id"]
        assert await queues(instance, last) == [usual]


async def test_a_webhook_that_hangs_hides_no_failure_of_others(instance: Instance, inbox: Receiver) -> None:
    """Setup: both get each event, and their attempts are made together."""
    inbox.otherwise = Answer(500)
    async with receiver() as hung:
        hung.otherwise = Answer(delay=60)
        hangs = await instance.webhook(hung.url, timeout=30)
        fails = await instance.webhook(inbox.url)
        await instance.send()
        await until_health(instance, fails, "degraded")
        assert (await health(instance, hangs))["status"] == "new", "its attempt lasts"


@pytest.mark.promise("docs/retries.md")
async def test_a_busy_webhook_is_left_alone_by_all_events(instance: Instance, inbox: Receiver) -> None:
    """A requested attempt is made at once all the same."""
    inbox.answers = [Answer(429, headers={"retry-after": "3"})]
    webhook = await instance.webhook(inbox.url, retry={"schedule": [0.1]})
    first = (await instance.send())["id"]
    await instance.until_delivery(first, "retrying", attempts=1)
    assert (await until_health(instance, webhook, "degraded"))["throttled_until"]
    second, third = [(await instance.send())["id"] for _ in range(2)]
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (await instance.event(second))["deliveries"][0]["next_attempt_at"] is None:
            await asyncio.sleep(0.03)
    assert (await instance.event(second))["deliveries"][0]["status"] == "pending"
    assert len(inbox.requests) == 1
    assert (await instance.command(third, "retry", webhook["id"])).status_code == 202
    await instance.until(third, "succeeded")
    events = [await instance.until(event_id, "succeeded") for event_id in (first, second)]
    assert [len(event["deliveries"][0]["attempts"]) for event in events] == [2, 1], "to wait is no attempt"
    begin = inbox.requests[0].at
    waited = {request.webhook_id: request.at - begin for request in inbox.requests[1:]}
    assert waited[first] > 2.9 and waited[second] > 2.9
    assert waited[third] < min(waited[first], waited[second])
    assert (await health(instance, webhook))["status"] == "healthy"


@pytest.mark.promise("docs/retries.md")
async def test_a_webhook_that_only_fails_for_days_is_disabled_once_with_one_alert(
    instance: Instance, inbox: Receiver, desk: Receiver
) -> None:
    """Timeline: a delivery fails, with an alert; after five days two more; the webhook is enabled; it answers."""
    inbox.otherwise = Answer(500)
    webhook = await instance.webhook(inbox.url, retry={"schedule": [0.1]}, on_failure=alerts_to(desk))
    await instance.until_closed((await instance.send())["id"])
    await has_failed_for(instance, webhook, timedelta(days=5))
    noticed = (await instance.send())["id"]
    await instance.until_delivery(noticed, "held", attempts=1)
    other = (await instance.send())["id"]
    await instance.until_delivery(other, "held")
    shown = await show(instance, webhook)
    assert (shown["enabled"], shown["disabled_reason"]) == (False, "failing")
    assert (shown["health"]["status"], shown["health"]["failures"]) == ("disabled", 3)
    await desk.got(2)
    assert alerts_at(desk)[1] == {"kind": "disabled", "reason": "failing", "failures": 3}

    inbox.otherwise = Answer()
    await instance.http.patch(f"/v1/webhooks/{webhook['id']}", json={"enabled": True})
    assert (await health(instance, webhook))["status"] == "degraded", "it has not answered yet"
    for _ in range(2):
        await instance.until_closed((await instance.send())["id"])
    await desk.got(3)
    assert [alert["kind"] for alert in alerts_at(desk)] == ["failed", "disabled", "recovered"]


async def test_the_disable_after_of_a_webhook_takes_precedence(instance: Instance, inbox: Receiver) -> None:
    inbox.otherwise = Answer(500)
    short, never = [await instance.webhook(inbox.url, retry=ONCE, disable_after=after) for after in (3600, 0)]
    for wait in (timedelta(minutes=59), timedelta(hours=1)):
        for webhook in (short, never):
            await has_failed_for(instance, webhook, wait)
        await instance.until_final((await instance.send())["id"])
        if wait < timedelta(hours=1):
            assert (await show(instance, short))["enabled"]
    assert not (await show(instance, short))["enabled"]
    assert (await show(instance, never))["enabled"]


async def test_a_410_of_a_url_that_was_corrected_meanwhile_disables_nothing(
    instance: Instance, inbox: Receiver
) -> None:
    """Timeline: an attempt is in flight; the webhook gets another URL; the old one answers that it is gone.
    Proves: the delivery has failed, and the webhook stays enabled for its new URL.
    """
    webhook = await instance.webhook(inbox.url)
    gate = asyncio.Event()
    inbox.otherwise = Answer(410, gate=gate)
    event_id = (await instance.send())["id"]
    await inbox.got(1)
    answer = await instance.http.patch(f"/v1/webhooks/{webhook['id']}", json={"url": f"{inbox.url}?new"})
    assert answer.status_code == 200
    gate.set()
    assert (await instance.until_closed(event_id))["deliveries"][0]["reason"] == "gone"
    assert (await show(instance, webhook))["enabled"]


@pytest.mark.promise("docs/retries.md")
async def test_a_410_ends_the_delivery_and_disables_the_webhook_with_one_alert(
    instance: Instance, inbox: Receiver, desk: Receiver
) -> None:
    inbox.otherwise = Answer(410)
    webhook = await instance.webhook(inbox.url, on_failure=alerts_to(desk))
    event_id = (await instance.send())["id"]
    event = await instance.until_closed(event_id)
    assert (event["status"], event["deliveries"][0]["reason"]) == ("failed", "gone")
    assert len(inbox.requests) == 1
    shown = (await instance.http.get(f"/v1/webhooks/{webhook['id']}")).json()
    assert (shown["enabled"], shown["disabled_reason"]) == (False, "gone")
    await desk.got(1)  # from the run of the incident, when that of the event may have ended
    assert alerts_at(desk) == [{"kind": "disabled", "reason": "gone", "failures": 1}]


async def test_an_outcome_that_the_registry_cannot_record_is_kept(instance: Instance, inbox: Receiver) -> None:
    """The request was answered: it is not made again, however long it takes until that can be noted."""
    inbox.answers = [Answer(delay=0.5)]
    webhook = await instance.webhook(inbox.url)
    event_id = (await instance.send())["id"]
    await inbox.got(1)
    async with write_lock(instance):
        await asyncio.sleep(5)
        assert (await instance.event(event_id))["status"] == "delivering"
    event = await instance.until_final(event_id)
    assert event["status"] == "succeeded"
    assert [attempt["number"] for attempt in event["deliveries"][0]["attempts"]] == [1]
    assert len(inbox.requests) == 1
    assert (await health(instance, webhook))["status"] == "healthy"


@pytest.mark.promise("docs/retries.md")
async def test_a_test_event_neither_begins_nor_ends_an_incident(
    instance: Instance, inbox: Receiver, desk: Receiver
) -> None:
    webhook = await instance.webhook(
        inbox.url, retry=ONCE, alert_after={"attempts": 1}, on_failure=alerts_to(desk), disable_after=0
    )

    async def test() -> str:
        answer = await instance.http.post(f"/v1/webhooks/{webhook['id']}/test")
        return str((await instance.until_closed(answer.json()["id"]))["status"])

    inbox.otherwise = Answer(500)
    assert await test() == "failed"
    assert (await health(instance, webhook))["status"] == "new"
    failed = await instance.send()
    await until_health(instance, webhook, "failing")
    inbox.otherwise = Answer(200)
    assert await test() == "succeeded"
    assert (await health(instance, webhook))["status"] == "failing", "its events still wait for the cure"
    await instance.http.post(f"/v1/events/{failed['id']}/redeliver")
    await until_health(instance, webhook, "healthy")
    await desk.got(2)
    assert [alert["kind"] for alert in alerts_at(desk)] == ["failing", "recovered"], "none of a test event"
