"""Events name channels, and webhooks listen to some."""

import json
from typing import Any

import pytest
from problems import problem

from instances import Instance
from receivers import Receiver

URL = "https://acme.example/hook"


async def _hook(instance: Instance, *channels: str, **fields: Any) -> str:
    body = {"url": URL, "tenant": instance.tenant, "channels": channels, **fields}
    answer = await instance.http.post("/v1/webhooks", json=body)
    assert answer.json()["channels"] == list(channels)
    return answer.json()["id"]  # type: ignore[no-any-return]


async def _post(instance: Instance, *channels: str, **fields: Any) -> Any:
    event = {"type": "order.paid", "tenant": instance.tenant, "channels": channels, **fields}
    return await instance.http.post("/v1/events", json=event)


@pytest.mark.promise("docs/events.md")
async def test_an_event_goes_to_webhooks_without_channels_and_to_those_of_its_channels(instance: Instance) -> None:
    every, first, both = await _hook(instance), await _hook(instance, "a.1"), await _hook(instance, "a.1", "b")

    async def got_by(*channels: str) -> set[str]:
        return {delivery["webhook_id"] for delivery in (await _post(instance, *channels)).json()["deliveries"]}

    assert await got_by() == {every}
    assert await got_by("a.1", "c") == {every, first, both}
    assert await got_by("b") == {every, both}
    await instance.http.patch(f"/v1/webhooks/{both}", json={"channels": []})
    assert await got_by() == {every, both}


async def test_events_are_found_by_channel_and_show_theirs(instance: Instance) -> None:
    """Also after steps of their runs have written the rows again."""
    await _hook(instance, "b", enabled=False)
    sent = [(await _post(instance, *channels)).json()["id"] for channels in (("a", "b"), ("b",), ())]
    await instance.until_delivery(sent[1], "held")
    named = {"tenant": instance.tenant}
    listed = (await instance.http.get("/v1/events", params=named)).json()["items"]
    assert {event["id"]: event["channels"] for event in listed} == dict(zip(sent, (["a", "b"], ["b"], []), strict=True))
    for channel, expected in (("a", sent[:1]), ("b", sent[1::-1]), ("c", [])):
        found = await instance.http.get("/v1/events", params=named | {"in_channel": channel})
        assert [event["id"] for event in found.json()["items"]] == expected
    assert (await instance.http.get(f"/v1/events/{sent[0]}", params=named)).json()["channels"] == ["a", "b"]
    both = named | {"in_channel": "b", "type": "order.paid", "q": "no such text"}
    assert (await instance.http.get("/v1/events", params=both)).json()["items"] == []
    answer = problem(await instance.http.get("/v1/events?in_channel=a"), 422)
    assert answer["errors"][0]["path"] == "in_channel"


async def test_the_same_event_in_another_channel_is_another_event(instance: Instance) -> None:
    assert (await _post(instance, "a", "b", id="once")).status_code == 202
    assert (await _post(instance, "b", "a", id="once")).json()["duplicate"]
    problem(await _post(instance, "b", id="once"), 409)


async def test_filters_payloads_and_alerts_see_the_channels_of_the_event(instance: Instance, inbox: Receiver) -> None:
    """The first event is for other channels; the second one fails, which is told with its channels."""
    of = '{"of": {{ event.channels }}}'
    await _hook(
        instance,
        url=inbox.url,
        filter="'eu' in event.channels && size(event.channels) == 2",
        payload={"template": of},
        retry={"schedule": []},
        on_failure={"notifications": [{"http": {"url": f"{inbox.url}/alert", "body": of}}]},
    )
    inbox.fails(500)
    assert (await _post(instance, "eu")).json()["deliveries"] == []
    await _post(instance, "eu", "shop")
    got = await inbox.got(2)
    assert [json.loads(request.body) for request in got] == [{"of": ["eu", "shop"]}] * 2
    assert [request.path for request in got] == ["/hook", "/hook/alert"]


async def test_a_template_is_tried_with_the_channels_of_its_webhook(idle_instance: Instance) -> None:
    example = {"name": "order.paid", "examples": [{"order": 1}]}
    assert (await idle_instance.http.post("/v1/event-types", json=example)).status_code == 201
    hook = {"events": ["order.paid"], "payload": {"template": '{"of": {{ event.channels[0].name }}}'}}
    body = {"url": URL, "tenant": idle_instance.tenant, **hook}
    answer = await idle_instance.http.post("/v1/webhooks", json=body)
    assert problem(answer, 422)["errors"][0]["path"] == "payload"
    body["payload"] = {"template": '{"of": {{ event.channels[0] }}}'}
    assert (await idle_instance.http.post("/v1/webhooks", json=body | {"channels": ["eu"]})).status_code == 201


async def test_a_preview_says_whether_the_channels_match_and_a_test_event_has_those_of_the_webhook(
    instance: Instance,
) -> None:
    hook = await _hook(instance, "a")
    for event, matches in (({}, True), ({"channels": ["a", "b"]}, True), ({"channels": ["b"]}, False)):
        body = {"webhook_id": hook, "event": event}
        assert (await instance.http.post("/v1/webhooks/preview", json=body)).json()["matches"] is matches
    test = (await instance.http.post(f"/v1/webhooks/{hook}/test")).json()["id"]
    shown = await instance.http.get(f"/v1/events/{test}", params={"tenant": instance.tenant})
    assert shown.json()["channels"] == ["a"]


@pytest.mark.parametrize("channels", [["a b"], ["a"] * 11, ["x" * 129], "a"])
async def test_channels_are_names_like_types_and_up_to_ten(instance: Instance, channels: Any) -> None:
    answer = await instance.http.post("/v1/events", json={"type": "order.paid", "channels": channels})
    assert problem(answer, 422)["errors"][0]["path"].startswith("channels")
