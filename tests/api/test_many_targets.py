"""An event with more than a hundred targets, as the API shows it: one event, whichever runs have its deliveries."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from problems import problem

from crowds import crowd, statuses
from hookkeeper import ids
from hookkeeper.policy import RetryPolicy
from instances import Instance
from receivers import Answer, Receiver
from timeouts import WAIT_TIMEOUT

LATER = (datetime.now(UTC) + timedelta(days=1)).isoformat()


async def listed(instance: Instance, **query: Any) -> list[dict[str, Any]]:
    """Return all that a search finds, page by page."""
    items: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        params = {"tenant": instance.tenant, **query} | ({"cursor": cursor} if cursor else {})
        answer = await instance.http.get("/v1/events", params=params)
        assert answer.status_code == 200, answer.text
        items += answer.json()["items"]
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            return items


async def until_listed(instance: Instance, expected: dict[str, str], **query: Any) -> list[dict[str, Any]]:
    """Wait until a search finds these events with their statuses, each once."""
    async with asyncio.timeout(WAIT_TIMEOUT):
        while shown(items := await listed(instance, **query)) != sorted(expected.items()):
            await asyncio.sleep(0.05)
    return items


def shown(items: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return sorted((item["id"], item["status"]) for item in items)


async def test_a_search_by_any_webhook_finds_the_event_once(instance: Instance, inbox: Receiver) -> None:
    """Setup: 101 webhooks, and one that gets a smaller event. Timeline: all fail, the last is to be tried again.
    Proves: the event is found by its first and its 101st webhook, as one row, with its own status; by what is
    true of one of its runs alone it is not.
    """
    webhooks = await crowd(instance, inbox.url, 100, events=["many"])
    last = (await instance.webhook(inbox.url + "/last", events=["many"], retry={"schedule": [3600]}))["id"]
    only = (await instance.webhook(inbox.url, events=["few"]))["id"]
    await instance.send("few", id="few")
    await instance.until_closed("few")
    inbox.otherwise = Answer(500)
    await instance.store.webhooks.update(webhooks[0], None, {"events": ["many", "few"]})
    await instance.send("many", id="many")
    await until(instance, "many", {"failed": 100, "retrying": 1})

    (row,) = await until_listed(instance, {"many": "delivering"}, webhook=last)
    assert last in row["webhooks"]
    assert (row["workflow_id"], row["links"]["self"]) == (
        ids.workflow_id(instance.tenant, "many"),
        f"{instance.settings.public_url}/v1/events/many?tenant={instance.tenant}",
    )
    for webhook in (webhooks[0], webhooks[50]):
        assert [item["id"] for item in await listed(instance, webhook=webhook)] == ["many"]
    assert [item["id"] for item in await listed(instance, webhook=only)] == ["few"]
    await until_listed(instance, {"many": "delivering", "few": "succeeded"})
    assert await listed(instance, webhook=webhooks[0], status="failed") == [], "a run has failed, but not yet the event"
    await until_listed(instance, {}, webhook=last, needs_attention="false")
    assert await listed(instance, webhook=last, until=row["accepted_at"]) == []
    found = await listed(
        instance, webhook=webhooks[0], needs_attention="true", type="many", since=row["accepted_at"], limit=1
    )
    assert len(found) == 1

    assert (await instance.command("many", "cancel")).status_code == 202
    await until_listed(instance, {"many": "failed"}, webhook=last)
    await until_listed(instance, {"many": "failed"}, needs_attention="true")


async def until(instance: Instance, event_id: str, expected: dict[str, int]) -> dict[str, Any]:
    async with asyncio.timeout(WAIT_TIMEOUT):
        while statuses(event := await instance.event(event_id)) != expected:
            await asyncio.sleep(0.1)
    return event


async def test_a_redelivered_large_event_is_one_row(instance: Instance, inbox: Receiver) -> None:
    webhooks = await crowd(instance, inbox.url, 101)
    inbox.fails(500)
    await instance.send(id="e")
    await instance.until_closed("e")
    deliveries = (await instance.event("e"))["deliveries"]
    failing = next(delivery["id"] for delivery in deliveries if delivery["status"] == "failed")
    for command in ("retry", "redeliver"):
        assert (await instance.command("e", command, failing)).status_code == 202
        await instance.until_closed("e")
        for query in ({}, {"webhook": failing}, {"webhook": webhooks[-1]}, {"status": "succeeded"}):
            await until_listed(instance, {"e": "succeeded"}, **query)
    for query in ({"status": "failed"}, {"status": "failed", "webhook": failing}, {"needs_attention": "true"}):
        await until_listed(instance, {}, **query)


async def test_a_scheduled_large_event_is_listed_and_changes_its_status(instance: Instance, inbox: Receiver) -> None:
    webhooks = await crowd(instance, inbox.url, 101)
    await instance.send(id="e", deliver_at=LATER)
    found = await listed(instance, webhook=webhooks[-1], status="scheduled")
    assert shown(found) == [("e", "scheduled")], "with its 202"
    assert (await instance.command("e", "hold", webhooks[-1])).status_code == 202
    await until_listed(instance, {"e": "scheduled"}, delivery_status="held")
    assert (await instance.command("e", "release")).status_code == 202
    await instance.until_closed("e")
    await until_listed(instance, {"e": "succeeded"}, webhook=webhooks[-1])
    await until_listed(instance, {}, status="scheduled")


async def test_a_large_event_that_is_posted_again_is_a_duplicate(idle_instance: Instance, inbox: Receiver) -> None:
    """Proves: a repeated POST gets the whole list, also when the event is final. Other content is refused."""
    webhooks = await crowd(idle_instance, inbox.url, 101)
    first = await idle_instance.send(id="e", data={"a": 1})
    fifty = await asyncio.gather(*(idle_instance.send(id="e", data={"a": 1}) for _ in range(10)))
    assert [(event["duplicate"], event["run_id"], len(event["deliveries"])) for event in fifty] == [
        (True, first["run_id"], 101)
    ] * 10
    other = {"id": "e", "type": "order.paid", "tenant": idle_instance.tenant, "data": {"a": 2}}
    problem(await idle_instance.http.post("/v1/events", json=other), 409)
    async with idle_instance.working():
        await idle_instance.until_closed("e")
    again = await idle_instance.send(id="e", data={"a": 1})
    assert (again["duplicate"], again["status"]) == (True, "succeeded")
    assert [delivery["id"] for delivery in again["deliveries"]] == webhooks
    assert len(inbox.requests) == 101


async def test_a_sibling_cannot_be_addressed_as_an_event(instance: Instance, inbox: Receiver) -> None:
    await crowd(instance, inbox.url, 101)
    event_id = (await instance.send())["id"]
    await instance.until_closed(event_id)
    for path in (f"/v1/events/{event_id}.2", f"/v1/events/{event_id}.2/cancel", f"/v1/events/{event_id}.2/data"):
        method = "get" if path.endswith(".2") else "delete" if path.endswith("data") else "post"
        answer = await instance.http.request(method, path, params={"tenant": instance.tenant})
        problem(answer, 422)
    problem(await instance.http.get(f"/v1/events/{event_id}", params={"tenant": "another"}), 404)


async def test_erasing_a_large_event_deletes_all_its_runs(instance: Instance, inbox: Receiver) -> None:
    """Setup: an event with two runs, the first redelivered by a third, and another event. Timeline: it is erased."""
    webhooks = await crowd(instance, inbox.url, 101, retry=RetryPolicy(schedule=(3600,)))
    await instance.send(id="kept")
    await instance.until_closed("kept")
    inbox.fails(500)
    await instance.send(id="e")
    await until(instance, "e", {"retrying": 1, "succeeded": 100})
    problem(await erase(instance, "e"), 409)
    assert (await instance.command("e", "retry")).status_code == 202
    await instance.until_closed("e")
    assert (await instance.command("e", "redeliver", webhooks[0])).status_code == 202
    await instance.until_closed("e")
    runs = [ids.run_of(instance.tenant, "e", part) for part in (1, 2)]
    query = f"WorkflowId IN ({', '.join(map(repr, runs))})"
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (await instance.temporal.count_workflows(query)).count < 3:
            await asyncio.sleep(0.05)
    answer = await erase(instance, "e")
    assert (answer.status_code, answer.json()) == (202, {"id": "e", "runs": 3})
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (await instance.temporal.count_workflows(query)).count:
            await asyncio.sleep(0.1)
    problem(await instance.http.get("/v1/events/e", params={"tenant": instance.tenant}), 404)
    assert statuses(await instance.event("kept")) == {"succeeded": 101}


async def test_an_erased_large_event_can_be_posted_again(instance: Instance, inbox: Receiver) -> None:
    """The server may not have deleted all its runs yet: none of them counts as a run of the new event."""
    await crowd(instance, inbox.url, 101)
    await instance.send(id="e")
    await instance.until_closed("e")
    assert (await erase(instance, "e")).status_code == 202
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (await instance.send(id="e"))["duplicate"]:
            await asyncio.sleep(0.05)
    event = await instance.until_closed("e")
    assert (event["status"], statuses(event), len(inbox.requests)) == ("succeeded", {"succeeded": 101}, 202)


async def erase(instance: Instance, event_id: str) -> Any:
    return await instance.http.delete(f"/v1/events/{event_id}/data", params={"tenant": instance.tenant})


async def test_a_command_without_a_worker_is_answered_with_503(idle_instance: Instance, inbox: Receiver) -> None:
    await crowd(idle_instance, inbox.url, 101)
    event_id = (await idle_instance.send())["id"]
    commands = ("cancel", "hold", "retry")
    for answer in await asyncio.gather(*(idle_instance.command(event_id, command) for command in commands)):
        problem(answer, 503)
    assert statuses(await idle_instance.event(event_id)) == {"pending": 101}
