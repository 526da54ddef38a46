"""Events that are known are acknowledged, and are no longer among those that need attention."""

import pytest
from browsers import Page, browsing
from callers import calling, make_key

from index_rows import until_indexed
from instances import Instance
from receivers import Answer, Receiver


async def needing_attention(instance: Instance) -> list[str]:
    given = {"tenant": instance.tenant, "needs_attention": "true"}
    page = (await instance.http.get("/v1/events", params=given)).json()
    return [event["id"] for event in page["items"]]


async def failed(instance: Instance, inbox: Receiver) -> str:
    inbox.otherwise = Answer(500)
    await instance.webhook(inbox.url, retry={"schedule": []})
    event = (await instance.until_final((await instance.send())["id"]))["id"]
    await until_indexed(instance, event)
    return str(event)


@pytest.mark.promise("docs/events.md")
async def test_an_event_is_acknowledged_until_it_fails_again(instance: Instance, inbox: Receiver) -> None:
    event = await failed(instance, inbox)
    assert await needing_attention(instance) == [event]
    path, mine = f"/v1/events/{event}/acknowledge", {"tenant": instance.tenant}
    answer = await instance.http.post(path, params=mine, json={"note": "They move."})
    assert (answer.status_code, answer.json()["command"]) == (200, "acknowledge")
    shown = (await instance.event(event))["acknowledged"]
    assert (shown["by"], shown["note"]) == ("admin", "They move.")
    assert await needing_attention(instance) == []
    listed = (await instance.http.get("/v1/events", params=mine | {"acknowledged": "true"})).json()["items"]
    assert [(item["id"], item["needs_attention"], item["acknowledged"]) for item in listed] == [(event, [], shown)]
    assert (await instance.http.post(path, params=mine)).status_code == 409
    await instance.command(event, "redeliver")
    await instance.until_delivery(event, "failed", attempts=2)
    await until_indexed(instance, event)
    assert await needing_attention(instance) == [event]
    assert (await instance.event(event))["acknowledged"] is None
    actions = [entry["action"] for entry in (await instance.http.get("/v1/audit", params=mine)).json()["items"]]
    assert "event.acknowledge" in actions


async def test_it_can_be_undone(instance: Instance, inbox: Receiver) -> None:
    event = await failed(instance, inbox)
    mine = {"tenant": instance.tenant}
    for _ in range(2):
        assert (await instance.http.post(f"/v1/events/{event}/unacknowledge", params=mine)).status_code == 200
        assert await needing_attention(instance) == [event]
        await instance.http.post(f"/v1/events/{event}/acknowledge", params=mine)
        assert await needing_attention(instance) == []


async def test_only_what_is_known_and_needs_it_is_acknowledged(instance: Instance, inbox: Receiver) -> None:
    await instance.webhook(inbox.url)
    fine = (await instance.until_final((await instance.send())["id"]))["id"]
    await until_indexed(instance, fine)
    theirs = await make_key(instance, "someone-else")
    for event, tenant, note, status in (
        (fine, instance.tenant, "", 409),
        ("evt_nowhere", instance.tenant, "", 404),
        (fine, "someone-else", "", 404),
        (fine, instance.tenant, "two\nlines", 422),
    ):
        path = f"/v1/events/{event}/acknowledge"
        answer = await instance.http.post(path, params={"tenant": tenant}, json={"note": note})
        assert answer.status_code == status, answer.text
    async with calling(instance.app, theirs["key"]) as other:
        assert (await other.post(f"/v1/events/{fine}/acknowledge")).status_code == 404


async def test_it_is_done_on_the_page_of_the_event_and_in_the_list(instance: Instance, inbox: Receiver) -> None:
    event = await failed(instance, inbox)
    path, mine = f"/events/{event}", f"tenant={instance.tenant}"
    async with browsing(instance.app) as browser:
        answer = await browser.submit(f"{path}?{mine}", f"{path}/acknowledge?{mine}", note="<b>known</b>")
        assert answer.headers["location"] == f"{path}?{mine}&sent=acknowledge"
        page = await browser.page(f"{path}?{mine}")
        assert "admin" in page.text and "<b>known</b>" in page.text and "Acknowledged" in page.text
        answer = await browser.submit(f"{path}?{mine}", f"{path}/acknowledge?{mine}", undo="true")
        assert await needing_attention(instance) == [event]
        listed = f"/events?{mine}&needs_attention=true"
        answer = await browser.submit_as_shown(listed, f"{path}/acknowledge?{mine}")
        assert answer.headers["location"] == listed
        assert event not in (await browser.page(listed)).text
        answer = await browser.submit(f"{path}?{mine}", f"{path}/acknowledge?{mine}")
        assert (answer.status_code, "is acknowledged" in Page(answer.text).text) == (409, True)
