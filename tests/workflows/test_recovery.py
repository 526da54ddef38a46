"""What has failed is delivered again, in bulk: all of it, oldest first, once, by a run that survives."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from holding import event_ids, send_many, until_listed

from house import House
from patience import PATIENCE
from receivers import Answer, Receiver

EVENTS = 30
LONG_AGO = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
OVER = ("finished", "cancelled")


async def failing(home: House, inbox: Receiver, count: int) -> tuple[str, list[str]]:
    """Have so many events fail, and then a receiver that is well; give the webhook and the events."""
    inbox.otherwise = Answer(503)
    webhook = (await home.webhook(inbox.url, retry={"schedule": []}))["id"]
    sent = await send_many(home, count)
    await until_listed(home, webhook, "failed", count)
    inbox.otherwise = Answer()
    inbox.requests.clear()
    return webhook, sent


async def ask(home: House, webhook: str, **fields: Any) -> httpx.Response:
    return await home.http.post(f"/v1/webhooks/{webhook}/recover", json={"since": LONG_AGO, **fields})


async def recover(home: House, webhook: str, **fields: Any) -> dict[str, Any]:
    answer = await ask(home, webhook, **fields)
    assert answer.status_code == 202, answer.text
    return answer.json()  # type: ignore[no-any-return]


async def until(home: House, job: dict[str, Any], *statuses: str, seconds: float = PATIENCE) -> dict[str, Any]:
    async with asyncio.timeout(seconds):
        while True:
            answer = await home.http.get(f"/v1/recoveries/{job['id']}")
            assert answer.status_code in (200, 503), answer.text
            if answer.status_code == 200 and answer.json()["status"] in statuses:
                return answer.json()  # type: ignore[no-any-return]
            await asyncio.sleep(0.05)


def counts(job: dict[str, Any]) -> tuple[int, int, int, int]:
    return job["found"], job["redelivered"], job["failed"], job["skipped"]


async def test_what_failed_is_delivered_again_oldest_first(home: House, inbox: Receiver) -> None:
    webhook, sent = await failing(home, inbox, EVENTS)
    counted = await ask(home, webhook, dry_run=True)
    assert (counted.status_code, counted.json()["found"], counted.json()["status"]) == (200, EVENTS, "dry_run")
    assert inbox.requests == []
    job = await recover(home, webhook, rate=50)
    assert job["webhook_id"] == webhook and job["status"] == "running"
    over = await until(home, job, *OVER)
    assert counts(over) == (EVENTS, EVENTS, 0, 0)
    assert over["status"] == "finished" and over["finished_at"]
    for event in sent:
        (delivery,) = (await home.until_final(event))["deliveries"]
        assert [attempt["status_code"] for attempt in delivery["attempts"]] == [503, 200]
    assert sorted(event_ids(inbox)) == sorted(sent)
    assert max(abs(n - sent.index(event_id)) for n, event_id in enumerate(event_ids(inbox))) < EVENTS / 4
    await until_listed(home, webhook, "succeeded", EVENTS)
    assert (await ask(home, webhook, dry_run=True)).json()["found"] == 0


async def test_only_what_is_meant_is_delivered_again(home: House, inbox: Receiver) -> None:
    """Setup: events of two types fail for two webhooks; one event does not.
    Timeline: a recovery of one webhook, for one type.
    What this proves: it touches nothing else.
    """
    inbox.otherwise = Answer(503)
    mine = (await home.webhook(f"{inbox.url}/mine", retry={"schedule": []}))["id"]
    others = (await home.webhook(f"{inbox.url}/others", retry={"schedule": []}))["id"]
    wanted = (await home.send("order.paid"))["id"]
    unwanted = (await home.send("order.made"))["id"]
    await until_listed(home, mine, "failed", 2)
    inbox.otherwise = Answer()
    await home.until_final((await home.send("order.paid"))["id"])
    inbox.requests.clear()
    over = await until(home, await recover(home, mine, types=["order.paid"]), *OVER)
    assert counts(over) == (1, 1, 0, 0)
    event = await home.until_final(wanted)
    assert {delivery["id"]: delivery["status"] for delivery in event["deliveries"]} == {
        mine: "succeeded",
        others: "failed",
    }
    assert [request.path for request in inbox.requests] == ["/hook/mine"]
    assert {delivery["status"] for delivery in (await home.event(unwanted))["deliveries"]} == {"failed"}


async def test_a_failed_delivery_of_an_open_event_is_recovered(home: House, inbox: Receiver) -> None:
    inbox.otherwise = Answer(503)
    failed = (await home.webhook(f"{inbox.url}/failed", retry={"schedule": []}))["id"]
    await home.webhook(f"{inbox.url}/retrying", retry={"schedule": [3600]})
    event = (await home.send())["id"]
    await home.until_delivery(event, "failed", attempts=1)
    await until_listed(home, failed, "failed", 1)
    inbox.otherwise = Answer()
    over = await until(home, await recover(home, failed), *OVER)
    assert counts(over) == (1, 1, 0, 0)
    shown = await home.until_delivery(event, "succeeded", attempts=2)
    assert [delivery["status"] for delivery in shown["deliveries"]] == ["succeeded", "retrying"]


async def test_a_whole_tenant_is_recovered_but_what_is_off(home: House, inbox: Receiver) -> None:
    inbox.otherwise = Answer(503)
    webhooks = [(await home.webhook(f"{inbox.url}/{n}", retry={"schedule": []}))["id"] for n in range(3)]
    event = (await home.until_final((await home.send())["id"]))["id"]
    await until_listed(home, webhooks[0], "failed", 1)
    await home.http.post(f"/v1/webhooks/{webhooks[2]}/pause")
    inbox.otherwise = Answer()
    answer = await home.http.post("/v1/recoveries", json={"tenant": home.tenant, "since": LONG_AGO})
    assert answer.status_code == 202
    over = await until(home, answer.json(), *OVER)
    assert counts(over) == (1, 1, 0, 0)
    shown = await home.until_final(event)
    assert [delivery["status"] for delivery in shown["deliveries"]] == ["succeeded", "succeeded", "failed"]


async def test_cancelled_deliveries_can_be_recovered(home: House, inbox: Receiver) -> None:
    inbox.fails(503)
    webhook = (await home.webhook(inbox.url, retry={"schedule": [3600]}))["id"]
    event = (await home.send())["id"]
    await home.until_delivery(event, "retrying", attempts=1)
    await home.command(event, "cancel")
    await until_listed(home, webhook, "cancelled", 1)
    assert (await ask(home, webhook, dry_run=True)).json()["found"] == 0
    assert (await ask(home, webhook, dry_run=True, status="cancelled")).json()["found"] == 1
    await until(home, await recover(home, webhook, status="cancelled"), *OVER)
    assert (await home.until_final(event))["status"] == "succeeded"


async def test_it_can_be_paused_resumed_and_cancelled(home: House, inbox: Receiver) -> None:
    webhook, _ = await failing(home, inbox, 8)
    job = await recover(home, webhook, rate=0.1)
    await inbox.got(1)
    assert (await home.http.post(f"/v1/recoveries/{job['id']}/pause")).status_code == 202
    paused = await until(home, job, "paused")
    assert (await ask(home, webhook)).status_code == 409
    assert (await home.http.post(f"/v1/recoveries/{job['id']}/resume")).status_code == 202
    await until(home, job, "running")
    assert (await home.http.post(f"/v1/recoveries/{job['id']}/cancel")).status_code == 202
    async with asyncio.timeout(PATIENCE):
        while not (over := await until(home, job, "cancelled"))["finished_at"]:
            await asyncio.sleep(0.05)
    assert paused["redelivered"] <= over["redelivered"] < 8
    again = await home.http.post(f"/v1/recoveries/{job['id']}/pause")
    assert again.status_code == 409 and "over" in again.json()["detail"]
    jobs = (await home.http.get("/v1/recoveries", params={"webhook": webhook})).json()["items"]
    assert [item["id"] for item in jobs] == [job["id"]]


async def test_two_recoveries_do_not_overlap(home: House, inbox: Receiver) -> None:
    webhook, _ = await failing(home, inbox, 4)
    job = await recover(home, webhook, rate=0.1)
    refused = await ask(home, webhook)
    assert refused.status_code == 409 and job["id"] in refused.json()["detail"]
    of_tenant = {"tenant": home.tenant, "since": LONG_AGO, "rate": 0.1}
    async with asyncio.timeout(PATIENCE):  # visibility follows
        while (answer := await home.http.post("/v1/recoveries", json=of_tenant)).status_code != 409:
            await home.http.post(f"/v1/recoveries/{answer.json()['id']}/cancel")
            await asyncio.sleep(0.1)
    assert job["id"] in answer.json()["detail"]
    await home.http.post(f"/v1/recoveries/{job['id']}/cancel")


async def test_it_pauses_itself_where_its_webhook_is_paused(home: House, inbox: Receiver) -> None:
    """Redeliveries in flight are finished, four events here; the fifth waits until the recovery is resumed."""
    webhook, sent = await failing(home, inbox, 5)
    job = await recover(home, webhook, rate=0.9)
    await inbox.got(1)
    await home.http.post(f"/v1/webhooks/{webhook}/pause")
    paused = await until(home, job, "paused", *OVER)
    assert (paused["status"], paused["redelivered"], len(inbox.requests)) == ("paused", 4, 4)
    await home.http.post(f"/v1/webhooks/{webhook}/resume")
    await home.http.post(f"/v1/recoveries/{job['id']}/resume")
    assert counts(await until(home, job, *OVER)) == (5, 5, 0, 0)
    for event in sent:
        assert (await home.until_final(event))["status"] == "succeeded"
