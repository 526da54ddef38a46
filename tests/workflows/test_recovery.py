"""Failed deliveries are redelivered in bulk: all of them, oldest first, once each, by a workflow."""

import asyncio
import statistics
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from holding import event_ids, send_many, until_listed

from instances import Instance
from receivers import Answer, Receiver
from timeouts import WAIT_TIMEOUT

EVENTS = 30
LONG_AGO = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
OVER = ("finished", "cancelled")


async def failing(instance: Instance, inbox: Receiver, count: int) -> tuple[str, list[str]]:
    """Have this many events fail, and then a receiver that is well; give the webhook and the events."""
    inbox.otherwise = Answer(503)
    webhook = (await instance.webhook(inbox.url, retry={"schedule": []}))["id"]
    sent = await send_many(instance, count)
    await until_listed(instance, webhook, "failed", count)
    inbox.otherwise = Answer()
    inbox.requests.clear()
    return webhook, sent


async def ask(instance: Instance, webhook: str, **fields: Any) -> httpx.Response:
    return await instance.http.post(f"/v1/webhooks/{webhook}/recover", json={"since": LONG_AGO, **fields})


async def recover(instance: Instance, webhook: str, **fields: Any) -> dict[str, Any]:
    answer = await ask(instance, webhook, **fields)
    assert answer.status_code == 202, answer.text
    return answer.json()  # type: ignore[no-any-return]


async def until(
    instance: Instance, job: dict[str, Any], *statuses: str, seconds: float = WAIT_TIMEOUT
) -> dict[str, Any]:
    async with asyncio.timeout(seconds):
        while True:
            answer = await instance.http.get(f"/v1/recoveries/{job['id']}")
            assert answer.status_code in (200, 503), answer.text
            if answer.status_code == 200 and answer.json()["status"] in statuses:
                return answer.json()  # type: ignore[no-any-return]
            await asyncio.sleep(0.05)


def counts(job: dict[str, Any]) -> tuple[int, int, int, int]:
    return job["found"], job["done"], job["failed"], job["skipped"]


async def test_a_recovery_of_the_future_is_refused(instance: Instance, inbox: Receiver) -> None:
    webhook = (await instance.webhook(inbox.url))["id"]
    for fields in ({}, {"dry_run": True}, {"until": "2199-01-02T00:00:00Z"}):
        answer = await ask(instance, webhook, since="2199-01-01T00:00:00Z", **fields)
        assert answer.status_code == 422, answer.text
        assert answer.json()["errors"] == [{"path": "since", "detail": "is in the future"}]


@pytest.mark.promise("docs/pause-and-recovery.md")
async def test_what_failed_is_delivered_again_oldest_first(instance: Instance, inbox: Receiver) -> None:
    webhook, sent = await failing(instance, inbox, EVENTS)
    counted = await ask(instance, webhook, dry_run=True)
    assert (counted.status_code, counted.json()["found"], counted.json()["status"]) == (200, EVENTS, "dry_run")
    assert inbox.requests == []
    job = await recover(instance, webhook, rate=50)
    assert job["webhook_id"] == webhook and job["status"] == "running"
    over = await until(instance, job, *OVER)
    assert counts(over) == (EVENTS, EVENTS, 0, 0)
    assert over["status"] == "finished" and over["finished_at"]
    for event in sent:
        (delivery,) = (await instance.until_final(event))["deliveries"]
        assert [attempt["status_code"] for attempt in delivery["attempts"]] == [503, 200]
    assert sorted(event_ids(inbox)) == sorted(sent)
    # Some overtake others on a busy machine. If the order were random, the mean would be a third.
    assert statistics.mean(abs(n - sent.index(event)) for n, event in enumerate(event_ids(inbox))) < EVENTS / 6
    await until_listed(instance, webhook, "succeeded", EVENTS)
    assert (await ask(instance, webhook, dry_run=True)).json()["found"] == 0


@pytest.mark.promise("docs/pause-and-recovery.md")
async def test_what_waits_is_attempted_now(instance: Instance, inbox: Receiver) -> None:
    """Proves: what waits is counted and sent at once, without a time; what has failed for good is left alone."""
    _, (failed,) = await failing(instance, inbox, 1)
    inbox.otherwise = Answer(503)
    webhook = (await instance.webhook(inbox.url, events=["later"], retry={"schedule": [3600]}))["id"]
    sent = await send_many(instance, 5, "later")
    await until_listed(instance, webhook, "retrying", 5)
    inbox.otherwise = Answer()
    inbox.requests.clear()
    path = f"/v1/webhooks/{webhook}/recover"
    counted = await instance.http.post(path, json={"status": "retrying", "dry_run": True})
    assert (counted.json()["found"], counted.json()["since"], counted.json()["changes"]) == (5, None, ["retrying"])
    job = (await instance.http.post(path, json={"status": "retrying"})).json()
    over = await until(instance, job, *OVER)
    assert (over["status"], counts(over)) == ("finished", (5, 5, 0, 0))
    for event in sent:
        deliveries = {each["id"]: each for each in (await instance.until_final(event))["deliveries"]}
        triggers = [attempt["trigger"] for attempt in deliveries[webhook]["attempts"]]
        assert triggers == ["scheduled", "manual"]
    assert sorted(event_ids(inbox)) == sorted(sent)
    assert (await instance.http.get(f"/v1/events/{failed}?tenant={instance.tenant}")).json()["status"] == "failed"


@pytest.mark.promise("docs/pause-and-recovery.md")
async def test_by_default_a_recovery_begins_with_the_latest_incident(instance: Instance, inbox: Receiver) -> None:
    webhook, sent = await failing(instance, inbox, 3)
    other = (await instance.webhook(inbox.url, events=["none"]))["id"]
    counted = await instance.http.post(f"/v1/webhooks/{webhook}/recover", json={"dry_run": True})
    health = (await instance.http.get(f"/v1/webhooks/{webhook}")).json()["health"]
    began = datetime.fromisoformat(health["failing_since"]) - timedelta(minutes=5)
    assert (counted.json()["found"], datetime.fromisoformat(counted.json()["since"])) == (len(sent), began)
    for path in (f"/v1/webhooks/{other}/recover", "/v1/recoveries"):
        answer = await instance.http.post(path, json={"dry_run": True})
        assert (answer.status_code, answer.json()["errors"][0]["path"]) == (422, "since")


@pytest.mark.promise("docs/pause-and-recovery.md")
async def test_only_what_is_meant_is_delivered_again(instance: Instance, inbox: Receiver) -> None:
    """Setup: events of two types fail for two webhooks; one event does not.
    Timeline: a recovery of one webhook, for one type.
    Proves: it touches nothing else.
    """
    inbox.otherwise = Answer(503)
    mine = (await instance.webhook(f"{inbox.url}/mine", retry={"schedule": []}))["id"]
    others = (await instance.webhook(f"{inbox.url}/others", retry={"schedule": []}))["id"]
    wanted = (await instance.send("order.paid"))["id"]
    unwanted = (await instance.send("order.made"))["id"]
    await until_listed(instance, mine, "failed", 2)
    inbox.otherwise = Answer()
    await instance.until_final((await instance.send("order.paid"))["id"])
    inbox.requests.clear()
    over = await until(instance, await recover(instance, mine, types=["order.paid"]), *OVER)
    assert counts(over) == (1, 1, 0, 0)
    event = await instance.until_final(wanted)
    assert {delivery["id"]: delivery["status"] for delivery in event["deliveries"]} == {
        mine: "succeeded",
        others: "failed",
    }
    assert [request.path for request in inbox.requests] == ["/hook/mine"]
    assert {delivery["status"] for delivery in (await instance.event(unwanted))["deliveries"]} == {"failed"}


async def test_a_failed_delivery_of_an_open_event_is_recovered(instance: Instance, inbox: Receiver) -> None:
    inbox.otherwise = Answer(503)
    failed = (await instance.webhook(f"{inbox.url}/failed", retry={"schedule": []}))["id"]
    await instance.webhook(f"{inbox.url}/retrying", retry={"schedule": [3600]})
    event = (await instance.send())["id"]
    await instance.until_delivery(event, "failed", attempts=1)
    await until_listed(instance, failed, "failed", 1)
    inbox.otherwise = Answer()
    over = await until(instance, await recover(instance, failed), *OVER)
    assert counts(over) == (1, 1, 0, 0)
    shown = await instance.until_delivery(event, "succeeded", attempts=2)
    assert [delivery["status"] for delivery in shown["deliveries"]] == ["succeeded", "retrying"]


async def test_a_whole_tenant_is_recovered_but_what_is_off(instance: Instance, inbox: Receiver) -> None:
    inbox.otherwise = Answer(503)
    webhooks = [(await instance.webhook(f"{inbox.url}/{n}", retry={"schedule": []}))["id"] for n in range(4)]
    event = (await instance.until_final((await instance.send())["id"]))["id"]
    await until_listed(instance, webhooks[0], "failed", 1)
    await instance.http.post(f"/v1/webhooks/{webhooks[2]}/pause")
    await instance.http.delete(f"/v1/webhooks/{webhooks[3]}")
    inbox.otherwise = Answer()
    answer = await instance.http.post("/v1/recoveries", json={"tenant": instance.tenant, "since": LONG_AGO})
    assert answer.status_code == 202
    over = await until(instance, answer.json(), *OVER)
    assert counts(over) == (1, 1, 0, 0)
    shown = await instance.until_final(event)
    assert [delivery["status"] for delivery in shown["deliveries"]] == ["succeeded", "succeeded", "failed", "failed"]


async def test_cancelled_deliveries_can_be_recovered(instance: Instance, inbox: Receiver) -> None:
    inbox.fails(503)
    webhook = (await instance.webhook(inbox.url, retry={"schedule": [3600]}))["id"]
    event = (await instance.send())["id"]
    await instance.until_delivery(event, "retrying", attempts=1)
    await instance.command(event, "cancel")
    await until_listed(instance, webhook, "cancelled", 1)
    assert (await ask(instance, webhook, dry_run=True)).json()["found"] == 0
    assert (await ask(instance, webhook, dry_run=True, status="cancelled")).json()["found"] == 1
    await until(instance, await recover(instance, webhook, status="cancelled"), *OVER)
    assert (await instance.until_final(event))["status"] == "succeeded"


@pytest.mark.promise("docs/pause-and-recovery.md")
async def test_it_can_be_paused_resumed_and_cancelled(instance: Instance, inbox: Receiver) -> None:
    webhook, _ = await failing(instance, inbox, 8)
    job = await recover(instance, webhook, rate=0.1)
    await inbox.got(1)
    assert (await instance.http.post(f"/v1/recoveries/{job['id']}/pause")).status_code == 202
    paused = await until(instance, job, "paused")
    assert (await ask(instance, webhook)).status_code == 409
    assert (await instance.http.post(f"/v1/recoveries/{job['id']}/resume")).status_code == 202
    await until(instance, job, "running")
    assert (await instance.http.post(f"/v1/recoveries/{job['id']}/cancel")).status_code == 202
    async with asyncio.timeout(WAIT_TIMEOUT):
        while not (over := await until(instance, job, "cancelled"))["finished_at"]:
            await asyncio.sleep(0.05)
    assert paused["done"] <= over["done"] < 8
    again = await instance.http.post(f"/v1/recoveries/{job['id']}/pause")
    assert again.status_code == 409 and "over" in again.json()["detail"]
    jobs = (await instance.http.get("/v1/recoveries", params={"webhook": webhook})).json()["items"]
    assert [item["id"] for item in jobs] == [job["id"]]


@pytest.mark.promise("docs/pause-and-recovery.md")
async def test_two_recoveries_do_not_overlap(instance: Instance, inbox: Receiver) -> None:
    webhook, _ = await failing(instance, inbox, 4)
    job = await recover(instance, webhook, rate=0.1)
    refused = await ask(instance, webhook)
    assert refused.status_code == 409 and job["id"] in refused.json()["detail"]
    of_tenant = {"tenant": instance.tenant, "since": LONG_AGO, "rate": 0.1}
    async with asyncio.timeout(WAIT_TIMEOUT):  # visibility follows
        while (answer := await instance.http.post("/v1/recoveries", json=of_tenant)).status_code != 409:
            await instance.http.post(f"/v1/recoveries/{answer.json()['id']}/cancel")
            await asyncio.sleep(0.1)
    assert job["id"] in answer.json()["detail"]
    await instance.http.post(f"/v1/recoveries/{job['id']}/cancel")


async def test_it_pauses_itself_where_its_webhook_is_paused(instance: Instance, inbox: Receiver) -> None:
    """Redeliveries in flight are finished, four events here; the fifth waits until the recovery is resumed."""
    webhook, sent = await failing(instance, inbox, 5)
    job = await recover(instance, webhook, rate=0.9)
    await inbox.got(1)
    await instance.http.post(f"/v1/webhooks/{webhook}/pause")
    paused = await until(instance, job, "paused", *OVER)
    assert (paused["status"], paused["done"], len(inbox.requests)) == ("paused", 4, 4)
    await instance.http.post(f"/v1/webhooks/{webhook}/resume")
    await instance.http.post(f"/v1/recoveries/{job['id']}/resume")
    assert counts(await until(instance, job, *OVER)) == (5, 5, 0, 0)
    for event in sent:
        assert (await instance.until_final(event))["status"] == "succeeded"


async def test_a_recovery_that_does_not_answer_hides_no_other(
    idle_instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Timeline: one recovery has ended; another is started, and no worker is there to tell how far it is."""
    monkeypatch.setattr("hookkeeper.temporal.bulk.recoveries.ANSWER_TIMEOUT", 0.3)
    async with idle_instance.working():
        webhook, _ = await failing(idle_instance, inbox, 1)
        ended = await until(idle_instance, await recover(idle_instance, webhook), *OVER)
    silent = await recover(idle_instance, webhook, rate=7)
    listed: dict[str, Any] = {}
    async with asyncio.timeout(WAIT_TIMEOUT):
        while len(listed) < 2:
            answer = await idle_instance.http.get("/v1/recoveries", params={"tenant": idle_instance.tenant})
            assert answer.status_code == 200, answer.text
            listed = {item["id"]: item for item in answer.json()["items"]}
    assert listed[ended["id"]] == ended
    assert listed[silent["id"]] == silent | {"status": "unknown", "until": listed[silent["id"]]["until"]}
    assert (await idle_instance.http.get(f"/v1/recoveries/{silent['id']}")).status_code == 503
    for command in ("pause", "cancel"):
        answer = await idle_instance.http.post(f"/v1/recoveries/{silent['id']}/{command}")
        assert answer.status_code == 202, answer.text
    async with idle_instance.working():
        over = await until(idle_instance, silent, *OVER)
        assert (over["status"], over["done"]) == ("cancelled", 0)
