"""The filter `webhook` takes an id, a uid or a name; what is none of them is an error, and no empty list."""

from typing import Any

import pytest
from callers import calling, make_key

from instances import Instance
from receivers import Receiver


async def found(instance: Instance, name: str, path: str = "/v1/events") -> Any:
    answer = await instance.http.get(path, params={"tenant": instance.tenant, "webhook": name})
    body = answer.json()
    return [item["id"] for item in body["items"]] if answer.status_code == 200 else body["errors"]


@pytest.mark.promise("docs/api.md")
async def test_it_takes_id_uid_and_name(instance: Instance, inbox: Receiver) -> None:
    webhook = await instance.webhook(inbox.url, name="Order service", uid="orders")
    await instance.webhook(inbox.url, name="Other", events=["none"])
    sent = await instance.send()
    for name in (webhook["id"], "orders", "Order service"):
        assert await found(instance, name) == [sent["id"]]


@pytest.mark.promise("docs/api.md")
async def test_an_unknown_one_is_an_error_with_a_similar_name(instance: Instance) -> None:
    await instance.webhook("http://127.0.0.1:9000/", name="Order service")
    for path in ("/v1/events", "/v1/recoveries", "/v1/stats"):
        (error,) = await found(instance, "Order servise", path)
        assert error == {
            "path": "webhook",
            "detail": "is no id, uid or name of a webhook: did you mean Order service?",
        }
    (error,) = await found(instance, "wh_000000000000")
    assert error["detail"].startswith("is no id, uid or name of a webhook")


async def test_a_name_of_several_is_refused_with_their_ids(instance: Instance) -> None:
    ids = {(await instance.webhook("http://127.0.0.1:9000/", name="Twin"))["id"] for _ in range(2)}
    (error,) = await found(instance, "Twin")
    assert error["detail"].startswith("is the name of several webhooks: ")
    assert {*error["detail"].partition(": ")[2].split(", ")} == ids


async def test_deliveries_of_a_deleted_webhook_are_found(instance: Instance, inbox: Receiver) -> None:
    webhook = await instance.webhook(inbox.url)
    sent = await instance.send()
    await instance.until_final(sent["id"])
    await instance.http.delete(f"/v1/webhooks/{webhook['id']}")
    assert await found(instance, webhook["id"]) == [sent["id"]]


@pytest.mark.parametrize("scopes", [["events:read"], ["events:read", "webhooks:read"]], ids=["no names", "names"])
async def test_only_a_key_that_may_read_webhooks_gets_a_similar_name(instance: Instance, scopes: list[str]) -> None:
    await instance.webhook("http://127.0.0.1:9000/", name="Order service")
    key = await make_key(instance, instance.tenant, scopes=scopes)
    async with calling(instance.app, key["key"]) as http:
        (error,) = (await http.get("/v1/events", params={"webhook": "Order servise"})).json()["errors"]
    assert ("Order service" in error["detail"]) == ("webhooks:read" in scopes)
