"""The list of a webhook's deliveries shows the status of each delivery, not that of its event."""

from holding import listed, until_listed

from instances import Instance
from receivers import Receiver


async def test_each_delivery_is_listed_with_its_own_status(instance: Instance, inbox: Receiver) -> None:
    """Setup: one webhook fails for good, one is retried, one succeeds, one is paused; all get the same event.
    Proves: each one's list says what became of its own delivery, with and without a filter.
    """
    inbox.fails(410)
    failed = (await instance.webhook(inbox.url, events=["first"]))["id"]
    first = (await instance.until_final((await instance.send("first"))["id"]))["id"]
    await instance.http.patch(
        f"/v1/webhooks/{failed}", json={"enabled": True, "events": ["*"], "retry": {"schedule": []}}
    )
    retried = (await instance.webhook("http://127.0.0.1:65000/hook", retry={"schedule": [3600]}))["id"]
    succeeded = (await instance.webhook(inbox.url))["id"]
    paused = (await instance.webhook(inbox.url))["id"]
    await instance.http.post(f"/v1/webhooks/{paused}/pause")
    event = (await instance.send("second"))["id"]
    await instance.until_delivery(event, "retrying", attempts=1, n=1)
    expected = {failed: "succeeded", retried: "retrying", succeeded: "succeeded", paused: "held"}
    for webhook, status in expected.items():
        (row,) = await until_listed(instance, webhook, status, 1)
        assert (row["event_id"], row["status"], row["type"]) == (event, status, "second")
    assert [(row["event_id"], row["status"]) for row in await listed(instance, failed)] == [
        (event, "succeeded"),
        (first, "failed"),
    ]
    assert await listed(instance, retried, "held") == await listed(instance, retried, "succeeded") == []
    await instance.command(event, "cancel", retried)
    (row,) = await until_listed(instance, retried, "cancelled", 1)
    assert (row["finished_at"], row["attempts"], row["error"]) == (None, 1, "connection_refused")


async def test_the_pages_of_a_list_have_a_redelivered_event_once(instance: Instance, inbox: Receiver) -> None:
    webhook = (await instance.webhook(inbox.url))["id"]
    sent = [(await instance.until_final((await instance.send())["id"]))["id"] for _ in range(3)]
    await until_listed(instance, webhook, "succeeded", 3)
    await instance.command(sent[0], "redeliver")
    await inbox.got(4)
    await instance.until_final(sent[0])
    rows = await until_listed(instance, webhook, "succeeded", 3)
    pages, cursor = [], None
    while True:
        query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await instance.http.get(f"/v1/webhooks/{webhook}/deliveries", params=query)).json()
        pages += page["items"]
        if (cursor := page["next_cursor"]) is None:
            break
    assert sorted(row["event_id"] for row in pages) == sorted(row["event_id"] for row in rows) == sorted(sent)
    wrong = await instance.http.get(f"/v1/webhooks/{webhook}/deliveries", params={"cursor": "nonsense"})
    assert wrong.status_code == 400
